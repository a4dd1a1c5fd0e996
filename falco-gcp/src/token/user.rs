//! Access tokens by a person's refresh token.

use async_trait::async_trait;
use falco_core::{Error, ErrorKind, Result};

use super::{Token, TokenSource, refused, reply};
use crate::config::AuthorizedUser;
use crate::http::Http;

#[derive(Debug)]
pub(super) struct UserSource {
    user: AuthorizedUser,
    http: Http,
}

impl UserSource {
    pub(super) fn new(user: AuthorizedUser, http: Http) -> Self {
        Self { user, http }
    }
}

#[async_trait]
impl TokenSource for UserSource {
    async fn access_token(&self) -> Result<Token> {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", self.user.client_id.as_str()),
            ("client_secret", self.user.client_secret.expose()),
            ("refresh_token", self.user.refresh_token.expose()),
        ];
        let request = self.http.post(self.user.token_uri.clone()).form(&form);
        let secrets = [self.user.client_secret.expose(), self.user.refresh_token.expose()];
        reply::read(&self.http, request, &secrets).await?.access_token()
    }

    async fn id_token(&self, _: &str) -> Result<Token> {
        Err(no_id_token())
    }

    async fn email(&self) -> Result<String> {
        Err(no_id_token())
    }
}

/// The ID token that comes with a person's access token is for the OAuth client that the person logged in with.
fn no_id_token() -> Error {
    refused(
        ErrorKind::Unsupported,
        "a person's credentials cannot mint the ID token that a private function demands",
    )
    .with_hint(
        "impersonate a service account (CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT or GcpConfigBuilder::impersonate), \
         use a service account's key, or deploy with Access::Public",
    )
}
