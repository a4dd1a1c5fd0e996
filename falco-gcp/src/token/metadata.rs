//! Tokens, project and location by the metadata server of the machine this runs on.

use async_trait::async_trait;
use falco_core::{ErrorKind, Result};
use reqwest::Url;

use super::reply::{self, from_jwt};
use super::{SCOPE, Token, TokenSource, refused};
use crate::http::Http;
use crate::refusal;

const ACCOUNT: &str = "computeMetadata/v1/instance/service-accounts/default/";

#[derive(Debug)]
pub(crate) struct Metadata {
    base: Url,
    http: Http,
}

impl Metadata {
    pub(crate) fn new(base: Url, http: Http) -> Self {
        Self { base, http }
    }

    /// The project of this machine.
    pub(crate) async fn project(&self) -> Result<String> {
        self.text("computeMetadata/v1/project/project-id", &[]).await
    }

    /// The region of this machine; on a virtual machine its zone's.
    pub(crate) async fn location(&self) -> Result<String> {
        match self.text("computeMetadata/v1/instance/region", &[]).await {
            Ok(region) => Ok(last_segment(&region).to_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let zone = self.text("computeMetadata/v1/instance/zone", &[]).await?;
                let zone = last_segment(&zone);
                Ok(zone.rsplit_once('-').map_or(zone, |(region, _)| region).to_owned())
            }
            Err(error) => Err(error),
        }
    }

    async fn body(&self, path: &str, query: &[(&str, &str)]) -> Result<bytes::Bytes> {
        let url = self.base.join(path).map_err(|e| {
            refused(ErrorKind::InvalidInput, "the metadata server's URL cannot be used")
                .with_source(&e)
        })?;
        let request = self.http.get(url).query(query).header("Metadata-Flavor", "Google");
        let reply = self.http.send(request, "authenticate").await.map_err(|e| {
            e.with_may_have_run(false).with_hint(
                "the metadata server is there on Google Cloud only; elsewhere set \
                 GOOGLE_APPLICATION_CREDENTIALS or run `gcloud auth application-default login`",
            )
        })?;
        if reply.status.is_success() {
            // Whatever answers without this header is a captive portal or a proxy, and no metadata server.
            if reply.headers.get("metadata-flavor").is_none_or(|flavor| flavor != "Google") {
                return Err(refused(
                    ErrorKind::Protocol,
                    "this is not a metadata server of Google",
                )
                .with_hint("check GCE_METADATA_HOST, or set GOOGLE_APPLICATION_CREDENTIALS"));
            }
            return Ok(reply.body);
        }
        Err(refusal::of_token_endpoint(&reply, &[]))
    }

    async fn text(&self, path: &str, query: &[(&str, &str)]) -> Result<String> {
        let body = self.body(path, query).await?;
        match std::str::from_utf8(&body).map(str::trim) {
            Ok(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(refused(ErrorKind::Protocol, format!("the metadata server has no {path}"))),
        }
    }
}

#[async_trait]
impl TokenSource for Metadata {
    async fn access_token(&self) -> Result<Token> {
        let body = self.body(&format!("{ACCOUNT}token"), &[("scopes", SCOPE)]).await?;
        reply::parse(&body)?.access_token()
    }

    async fn id_token(&self, audience: &str) -> Result<Token> {
        let query = [("audience", audience), ("format", "full")];
        from_jwt(&self.text(&format!("{ACCOUNT}identity"), &query).await?)
    }

    async fn email(&self) -> Result<String> {
        self.text(&format!("{ACCOUNT}email"), &[]).await
    }
}

fn last_segment(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
