//! The answers of token endpoints: OAuth's JSON, with an ID token that carries its own expiry.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use falco_core::{ErrorKind, Result};
use reqwest::RequestBuilder;
use serde::Deserialize;

use super::{Token, refused};
use crate::http::Http;
use crate::refusal;

#[derive(Deserialize)]
pub(super) struct Reply {
    access_token: Option<String>,
    expires_in: Option<u64>,
    id_token: Option<String>,
}

/// Sends a request to a token endpoint and reads what it answers. `secrets` are in the request.
pub(super) async fn read(http: &Http, request: RequestBuilder, secrets: &[&str]) -> Result<Reply> {
    let reply = http.send(request, "authenticate").await.map_err(|e| e.with_may_have_run(false))?;
    if !reply.status.is_success() {
        return Err(refusal::of_token_endpoint(&reply, secrets));
    }
    parse(&reply.body)
}

pub(super) fn parse(body: &[u8]) -> Result<Reply> {
    // The cause would quote the reply, and the reply may hold a token.
    serde_json::from_slice(body)
        .map_err(|_| refused(ErrorKind::Protocol, "the token endpoint's reply is not understood"))
}

impl Reply {
    pub(super) fn access_token(self) -> Result<Token> {
        match (self.access_token, self.expires_in) {
            (Some(token), Some(seconds)) if !token.is_empty() => {
                Ok(Token::new(token, Duration::from_secs(seconds.min(12 * 3600))))
            }
            _ => Err(refused(
                ErrorKind::Protocol,
                "the token endpoint answered without an access token",
            )),
        }
    }

    /// The reply to an assertion with `target_audience` has no `expires_in`.
    pub(super) fn id_token(self) -> Result<Token> {
        match self.id_token {
            Some(token) => from_jwt(&token),
            None => {
                Err(refused(ErrorKind::Protocol, "the token endpoint answered without an ID token"))
            }
        }
    }
}

/// An ID token, good until the expiry in its own payload.
pub(super) fn from_jwt(jwt: &str) -> Result<Token> {
    #[derive(Deserialize)]
    struct Expiry {
        exp: u64,
    }
    let payload = jwt.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let expiry = payload.and_then(|json| serde_json::from_slice::<Expiry>(&json).ok());
    let Some(Expiry { exp }) = expiry else {
        return Err(refused(ErrorKind::Protocol, "the ID token is not a JWT with an expiry"));
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = Duration::from_secs(exp.min(1 << 40)).saturating_sub(now);
    Ok(Token::new(jwt, left.min(Duration::from_secs(12 * 3600))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(payload: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn an_id_token_is_good_until_the_expiry_that_it_carries() {
        let soon = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600;
        let left = from_jwt(&jwt(&format!(r#"{{"exp":{soon}}}"#))).unwrap().valid_for();
        assert!((590..=600).contains(&left.as_secs()), "{left:?}");
        assert_eq!(from_jwt(&jwt(r#"{"exp":1}"#)).unwrap().valid_for(), Duration::ZERO);
        from_jwt(&jwt(&format!(r#"{{"exp":{}}}"#, u64::MAX))).unwrap();
    }

    #[test]
    fn an_invalid_jwt_is_refused_and_not_shown() {
        for text in ["marked-secret", "marked-secret.%%.x", &jwt("{}"), &jwt("marked-secret"), ""] {
            let error = from_jwt(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol);
            assert!(!format!("{error} {error:?}").contains("marked"), "{error}");
        }
    }

    #[test]
    fn a_reply_without_a_token_is_an_error() {
        for body in ["{}", r#"{"access_token":"","expires_in":1}"#, r#"{"access_token":"x"}"#] {
            assert!(parse(body.as_bytes()).unwrap().access_token().is_err(), "{body}");
        }
        assert!(parse(b"<html>").is_err());
    }
}
