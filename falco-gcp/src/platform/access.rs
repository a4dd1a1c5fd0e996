//! Letting the caller in, and waiting until it is.

use falco_core::{Deployment, Error, ErrorKind, Result};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::describe::attribute;
use super::{Inner, invoke};
use crate::config::Access;
use crate::refusal;

/// A shim's answer to a probe.
#[derive(Deserialize)]
struct Probe {
    falco: u32,
    probe: bool,
    /// Why it cannot store results.
    storage: Option<String>,
}

/// A new bucket's permissions act at once, mostly.
const STORAGE_FAILURES: u32 = 3;

impl Inner {
    /// Grants access to `members` and waits until this caller is let in, and, where the function has to store its
    /// results, until it can.
    pub(super) async fn grant_invoker(
        &self,
        deployment: &Deployment,
        members: &[String],
    ) -> Result<()> {
        if self.access == Access::Unchanged {
            return Ok(());
        }
        let service = deployment.attribute(attribute::SERVICE).unwrap_or_default();
        let service = Self::checked_name(service, "Run service")?;
        self.api.grant_invoker(self.id_of(deployment), service, members).await?;

        let until = Instant::now() + self.waits.grant;
        let mut wait = self.waits.first;
        let mut storage_failures = 0;
        loop {
            let last = match self.probe(deployment).await {
                Ok(Probe { storage: None, .. }) => return Ok(()),
                Ok(Probe { storage: Some(failure), .. }) => {
                    storage_failures += 1;
                    if storage_failures == STORAGE_FAILURES {
                        return Err(self.cannot_store(&failure));
                    }
                    failure
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) =>
                {
                    return Err(error);
                }
                Err(error) => error.to_string(),
            };
            if Instant::now() + wait > until {
                let message = format!("the grant of access does not act: {last}");
                return Err(Error::new(ErrorKind::Forbidden, message).with_hint(
                    "look for a deny policy or ingress setting of the project, or deploy with Access::Unchanged",
                ));
            }
            sleep(wait).await;
            wait = self.waits.next(wait);
        }
    }

    /// Asks the shim whether it is reached. The user's function is not called.
    async fn probe(&self, deployment: &Deployment) -> Result<Probe> {
        let uri = self.uri(deployment)?;
        let token = self.id_token(deployment).await?;
        let request = self
            .functions
            .request(Method::POST, uri)
            .header("X-Falco-Probe", "1")
            .header(CONTENT_TYPE, "application/json")
            .timeout(self.waits.grant.max(invoke::MARGIN))
            .body("{}");
        let request = match &token {
            Some((_, token)) => request.header(AUTHORIZATION, token.bearer()?),
            None => request,
        };
        let reply = self.functions.send(request, 1 << 16).await?;
        if let Some((audience, token)) = token.as_ref().filter(|_| reply.status == 401) {
            self.api.tokens.forget_id(audience, token);
        }
        let probe =
            reply.whole_body().ok().and_then(|body| serde_json::from_slice::<Probe>(body).ok());
        match probe.filter(|probe| reply.status.is_success() && probe.falco == 1 && probe.probe) {
            Some(probe) => Ok(probe),
            None => {
                let secret = token.as_ref().map_or("", |(_, token)| token.expose());
                let text = refusal::redacted_excerpt(&reply.body, &[secret]);
                Err(Error::new(ErrorKind::Protocol, format!("HTTP {}: {text}", reply.status)))
            }
        }
    }

    fn cannot_store(&self, failure: &str) -> Error {
        let bucket = self.shared.as_ref().map_or("", |shared| &shared.bucket);
        let account =
            self.service_account.as_deref().unwrap_or("the project's default compute account");
        Error::new(ErrorKind::Forbidden, format!("the function cannot store results: {failure}"))
            .with_hint(format!("grant {account} roles/storage.objectUser on the bucket {bucket}"))
    }
}
