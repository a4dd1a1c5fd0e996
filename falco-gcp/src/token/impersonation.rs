//! Tokens of a service account, minted on behalf of other credentials.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use falco_core::{ErrorKind, Result};
use reqwest::Url;
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;
use serde_json::{Value, json};

use super::reply::from_jwt;
use super::{SCOPE, Token, TokenCache, TokenSource, refused};
use crate::config::check_segment;
use crate::http::Http;
use crate::refusal;

#[derive(Debug)]
pub(super) struct ImpersonatedSource {
    source: TokenCache,
    email: String,
    delegates: Vec<String>,
    base: Url,
    http: Http,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccessReply {
    access_token: String,
    expire_time: String,
}

#[derive(Deserialize)]
struct IdReply {
    token: String,
}

impl ImpersonatedSource {
    pub(super) fn new(
        source: Arc<dyn TokenSource>,
        email: &str,
        delegates: &[String],
        base: Url,
        http: Http,
    ) -> Result<Self> {
        let name = |email: &String| format!("projects/-/serviceAccounts/{email}");
        check_segment("service account", &email.replace('@', "-"))?;
        Ok(Self {
            source: TokenCache::new(source),
            email: email.to_owned(),
            delegates: delegates.iter().map(name).collect(),
            base,
            http,
        })
    }

    async fn generate<T: for<'de> Deserialize<'de>>(
        &self,
        method: &str,
        mut body: Value,
    ) -> Result<T> {
        if !self.delegates.is_empty() {
            body["delegates"] = json!(self.delegates);
        }
        let path = format!("v1/projects/-/serviceAccounts/{}:{method}", self.email);
        let url = self.base.join(&path).map_err(|e| {
            refused(ErrorKind::InvalidInput, "the URL of IAM credentials cannot be used")
                .with_source(&e)
        })?;
        for is_last_try in [false, true] {
            let token = self.source.access_token().await?;
            let request =
                self.http.post(url.clone()).header(AUTHORIZATION, token.bearer()?).json(&body);
            let reply = self.http.send(request, "authenticate").await;
            let reply = reply.map_err(|e| e.with_may_have_run(false))?;
            if reply.status == 401 && !is_last_try {
                self.source.forget_access(&token);
                continue;
            }
            if !reply.status.is_success() {
                let error = refusal::of_token_endpoint(&reply, &[token.expose()]);
                return Err(if error.kind() == ErrorKind::Forbidden {
                    error.with_hint(format!(
                        "grant the caller roles/iam.serviceAccountTokenCreator on {}",
                        self.email
                    ))
                } else {
                    error
                });
            }
            return serde_json::from_slice(&reply.body).map_err(|_| {
                refused(ErrorKind::Protocol, format!("the reply to {method} holds no token"))
            });
        }
        Err(refused(ErrorKind::Unauthorized, "the caller's own token was refused twice"))
    }
}

#[async_trait]
impl TokenSource for ImpersonatedSource {
    async fn access_token(&self) -> Result<Token> {
        let body = json!({"scope": [SCOPE], "lifetime": "3600s"});
        let reply: AccessReply = self.generate("generateAccessToken", body).await?;
        let until = humantime::parse_rfc3339(&reply.expire_time).map_err(|_| {
            refused(ErrorKind::Protocol, "the reply to generateAccessToken has no expiry")
        })?;
        let left = until.duration_since(SystemTime::now()).unwrap_or_default();
        let left = left.min(Duration::from_secs(12 * 3600));
        Ok(Token::new(reply.access_token, left))
    }

    async fn id_token(&self, audience: &str) -> Result<Token> {
        let body = json!({"audience": audience, "includeEmail": true});
        let reply: IdReply = self.generate("generateIdToken", body).await?;
        from_jwt(&reply.token)
    }

    async fn email(&self) -> Result<String> {
        Ok(self.email.clone())
    }
}
