//! Tokens by a service account's key: a signed assertion, exchanged at the key's token endpoint.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use falco_core::{Error, Result};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use super::{SCOPE, Token, TokenSource, refused, reply};
use crate::client::Http;
use crate::config::ServiceAccountKey;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The longest that Google grants.
const LIFETIME: Duration = Duration::from_secs(3600);

pub(super) struct KeySource {
    key: ServiceAccountKey,
    signer: EncodingKey,
    http: Http,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    /// The endpoint that the assertion is sent to, as most clients sign; google-auth signs Google's own always.
    aud: &'a str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_audience: Option<&'a str>,
}

impl KeySource {
    pub(super) fn new(key: ServiceAccountKey, http: Http) -> Result<Self> {
        let pem = key.private_key.expose();
        // The cause is not shown: it might quote the key.
        let signer = EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| {
            Error::invalid_input(format!(
                "the private key of {} is no RSA key in PEM",
                key.client_email
            ))
            .with_platform(crate::NAME)
            .with_hint("use the JSON key file as Google made it")
        })?;
        Ok(Self { key, signer, http })
    }

    async fn exchange(&self, scope: Option<&str>, audience: Option<&str>) -> Result<reply::Reply> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = Claims {
            iss: &self.key.client_email,
            aud: self.key.token_uri.as_str(),
            iat: now,
            exp: now + LIFETIME.as_secs(),
            scope,
            target_audience: audience,
        };
        let header =
            Header { kid: self.key.private_key_id.clone(), ..Header::new(Algorithm::RS256) };
        let assertion = jsonwebtoken::encode(&header, &claims, &self.signer).map_err(|_| {
            refused(
                falco_core::ErrorKind::Unauthorized,
                format!("the private key of {} cannot sign", self.key.client_email),
            )
        })?;
        let form = [("grant_type", GRANT), ("assertion", assertion.as_str())];
        let request = self.http.post(self.key.token_uri.clone()).form(&form);
        reply::read(&self.http, request, &[assertion.as_str()]).await
    }
}

#[async_trait]
impl TokenSource for KeySource {
    async fn access_token(&self) -> Result<Token> {
        self.exchange(Some(SCOPE), None).await?.access_token()
    }

    async fn id_token(&self, audience: &str) -> Result<Token> {
        self.exchange(None, Some(audience)).await?.id_token()
    }

    async fn email(&self) -> Result<String> {
        Ok(self.key.client_email.clone())
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeySource").field(&self.key).finish()
    }
}
