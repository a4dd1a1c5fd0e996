//! Credentials as they are configured, before any token is asked for.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use falco_core::{Error, Result};
use falco_http::Secret;
use reqwest::Url;
use serde::{Deserialize, Deserializer};

use super::invalid;
use crate::token::TokenSource;

pub(crate) const TOKEN_ENDPOINT: &str = "https://oauth2.googleapis.com/token";

/// The identity that calls Google's services.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Credentials {
    /// A service account, by its key.
    ServiceAccountKey(ServiceAccountKey),
    /// A person, by what `gcloud auth application-default login` has stored. Good for Google's APIs; a private
    /// function needs an ID token, which a person's credentials cannot mint: impersonate a service account.
    AuthorizedUser(AuthorizedUser),
    /// The service account of the machine this runs on, by the metadata server.
    Metadata,
    /// A service account on whose behalf `source` may mint tokens.
    Impersonated {
        /// The identity that asks.
        source: Box<Self>,
        /// The account on whose behalf it asks.
        email: String,
        /// The accounts in between, if any, from `source` to `email`.
        delegates: Vec<String>,
    },
    /// Credentials that were read from a file, and are read again when Google refuses them: somebody may have renewed them.
    File {
        /// The file.
        path: PathBuf,
        /// Its content when it was read.
        content: Box<Self>,
    },
    /// Tokens from another library.
    Source(Arc<dyn TokenSource>),
}

impl Credentials {
    /// Reads a credentials file of Google's: a service account's key, `gcloud`'s application default credentials,
    /// or an impersonated service account.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names the file when it cannot be read or understood; `Unsupported` for the types that
    /// need a token exchange, which [`Credentials::Source`] brings in.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|e| {
            invalid(format!("the credentials file {} cannot be read", path.display()))
                .with_source(&e)
        })?;
        let content = Self::from_json(&text).map_err(|error| {
            error.context(format_args!("the credentials file {}", path.display()))
        })?;
        Ok(Self::File { path: path.to_owned(), content: Box::new(content) })
    }

    /// As [`from_file`](Self::from_file), from the file's text.
    ///
    /// # Errors
    ///
    /// As [`from_file`](Self::from_file).
    pub fn from_json(json: &str) -> Result<Self> {
        match parse::<TypeOnly>(json)?.kind.as_str() {
            "service_account" => ServiceAccountKey::from_json(json).map(Self::ServiceAccountKey),
            "authorized_user" => parse(json).map(Self::AuthorizedUser),
            "impersonated_service_account" => Self::impersonated(parse(json)?),
            kind @ ("external_account"
            | "external_account_authorized_user"
            | "gdch_service_account") => Err(Error::unsupported(format!(
                "credentials of type {kind} need a token exchange"
            ))
            .with_platform(crate::NAME)
            .with_hint(
                "bring a library that does it as Credentials::Source, or use a service account",
            )),
            kind => Err(invalid(format!("credentials of type {kind:?} are unknown"))),
        }
    }

    fn impersonated(file: ImpersonatedFile) -> Result<Self> {
        let email = file
            .service_account_impersonation_url
            .rsplit_once("/serviceAccounts/")
            .and_then(|(_, rest)| rest.split_once(':'))
            .map(|(email, _)| email.to_owned())
            .ok_or_else(|| {
                invalid("service_account_impersonation_url names no service account".into())
            })?;
        Ok(Self::Impersonated {
            source: Box::new(Self::from_json(&file.source_credentials.to_string())?),
            email,
            delegates: file.delegates,
        })
    }

    /// The same credentials, used to act as the service account `email`.
    pub(super) fn impersonating(self, email: String) -> Self {
        Self::Impersonated { source: Box::new(self), email, delegates: Vec::new() }
    }

    /// Whether the metadata server is there, then, and knows where this is.
    pub(crate) fn are_the_metadata_servers(&self) -> bool {
        match self {
            Self::Metadata => true,
            Self::Impersonated { source, .. } => source.are_the_metadata_servers(),
            Self::File { content, .. } => content.are_the_metadata_servers(),
            _ => false,
        }
    }

    pub(super) fn project(&self) -> Option<&str> {
        match self {
            Self::ServiceAccountKey(key) => key.project_id.as_deref(),
            Self::Impersonated { source, .. } => source.project(),
            Self::File { content, .. } => content.project(),
            _ => None,
        }
    }

    pub(super) fn quota_project(&self) -> Option<&str> {
        match self {
            Self::AuthorizedUser(user) => user.quota_project_id.as_deref(),
            Self::Impersonated { source, .. } => source.quota_project(),
            Self::File { content, .. } => content.quota_project(),
            _ => None,
        }
    }
}

/// The key of a service account. `Debug` shows whose it is.
#[derive(Clone, Deserialize)]
pub struct ServiceAccountKey {
    pub(crate) client_email: String,
    #[serde(deserialize_with = "secret")]
    pub(crate) private_key: Secret,
    #[serde(default)]
    pub(crate) private_key_id: Option<String>,
    #[serde(default)]
    pub(crate) project_id: Option<String>,
    #[serde(default = "token_endpoint", deserialize_with = "url")]
    pub(crate) token_uri: Url,
}

impl ServiceAccountKey {
    /// Reads the JSON of a key file.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names what is missing.
    pub fn from_json(json: &str) -> Result<Self> {
        parse(json)
    }

    /// The owner of the key.
    pub fn email(&self) -> &str {
        &self.client_email
    }
}

impl fmt::Debug for ServiceAccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccountKey")
            .field("client_email", &self.client_email)
            .field("token_uri", &self.token_uri.as_str())
            .finish_non_exhaustive()
    }
}

/// A person's credentials, as `gcloud auth application-default login` stores them. `Debug` shows no secret.
#[derive(Clone, Deserialize)]
pub struct AuthorizedUser {
    pub(crate) client_id: String,
    #[serde(deserialize_with = "secret")]
    pub(crate) client_secret: Secret,
    #[serde(deserialize_with = "secret")]
    pub(crate) refresh_token: Secret,
    #[serde(default)]
    pub(crate) quota_project_id: Option<String>,
    #[serde(default = "token_endpoint", deserialize_with = "url")]
    pub(crate) token_uri: Url,
}

impl fmt::Debug for AuthorizedUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizedUser")
            .field("quota_project_id", &self.quota_project_id)
            .field("token_uri", &self.token_uri.as_str())
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct TypeOnly {
    #[serde(rename = "type", default)]
    kind: String,
}

#[derive(Deserialize)]
struct ImpersonatedFile {
    service_account_impersonation_url: String,
    source_credentials: serde_json::Value,
    #[serde(default)]
    delegates: Vec<String>,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::from)
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    Url::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn token_endpoint() -> Url {
    #[expect(clippy::expect_used, reason = "a constant, parsed by the tests below")]
    Url::parse(TOKEN_ENDPOINT).expect("a constant URL")
}

/// serde's message names the field; the position would be noise, and no value of the file may be shown.
fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T> {
    serde_json::from_str(json).map_err(|e| {
        let why = match e.classify() {
            serde_json::error::Category::Data if e.to_string().starts_with("missing field") => {
                e.to_string()
            }
            _ => format!("no credentials in JSON (line {}, column {})", e.line(), e.column()),
        };
        invalid(why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_of_file_is_distinguished() {
        let user = r#"{"type":"authorized_user","client_id":"i","client_secret":"marked-secret",
                       "refresh_token":"marked-secret","quota_project_id":"q"}"#;
        let credentials = Credentials::from_json(user).unwrap();
        assert_eq!(credentials.quota_project(), Some("q"));
        assert!(!format!("{credentials:?}").contains("marked"), "{credentials:?}");

        let impersonated = format!(
            r#"{{"type":"impersonated_service_account","delegates":["d@p"],"source_credentials":{user},
                "service_account_impersonation_url":
                "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/sa@p.iam:generateAccessToken"}}"#
        );
        match Credentials::from_json(&impersonated).unwrap() {
            Credentials::Impersonated { source, email, delegates } => {
                assert!(matches!(*source, Credentials::AuthorizedUser(_)));
                assert_eq!((email.as_str(), delegates), ("sa@p.iam", vec!["d@p".to_owned()]));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_cannot_be_used_says_why_and_shows_no_secret() {
        for (json, word) in [
            ("{", "no credentials in JSON"),
            ("{}", "unknown"),
            (r#"{"type":"external_account"}"#, "token exchange"),
            (r#"{"type":"service_account","private_key":"marked-secret"}"#, "client_email"),
            (r#"{"type":"service_account","client_email":{"marked-secret":1}}"#, "no credentials"),
        ] {
            let error = Credentials::from_json(json).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("marked"), "{json}: {error}");
        }
    }

    #[test]
    fn a_keys_own_token_uri_is_used_as_it_stands() {
        let json =
            r#"{"client_email":"e","private_key":"k","token_uri":"http://127.0.0.1:9/token"}"#;
        let key = ServiceAccountKey::from_json(json).unwrap();
        assert_eq!(key.token_uri.as_str(), "http://127.0.0.1:9/token");
        assert_eq!(token_endpoint().as_str(), TOKEN_ENDPOINT);
    }
}
