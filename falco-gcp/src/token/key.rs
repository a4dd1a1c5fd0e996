//! Tokens by a service account's key: a signed assertion, exchanged at the key's token endpoint.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use falco_core::{Error, ErrorKind, Result};
use serde::Serialize;

use super::signer::{BadKey, Signer};
use super::{SCOPE, Token, TokenSource, refused, reply};
use crate::config::ServiceAccountKey;
use crate::http::Http;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The longest that Google grants.
const LIFETIME: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct KeySource {
    key: ServiceAccountKey,
    signer: Signer,
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
        let signer = Signer::from_pem(key.private_key.expose()).map_err(|bad| {
            let what = match bad {
                BadKey::NoPem => "is not in PEM",
                BadKey::NoRsa => "is not an RSA key of 2048 bits or more",
            };
            Error::invalid_input(format!("the private key of {} {what}", key.client_email))
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
        let assertion = self.signer.jwt(self.key.private_key_id.as_deref(), &claims);
        let assertion = assertion.ok_or_else(|| {
            let email = &self.key.client_email;
            refused(ErrorKind::Unauthorized, format!("the private key of {email} cannot sign"))
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
