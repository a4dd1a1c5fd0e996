//! Calling a function and waiting for its answer.

use std::fmt::Write as _;
use std::time::Duration;

use falco_core::{Activation, Deployment, Invocation, Operation, Result};
use falco_http::Reply;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};

use super::describe::attribute;
use super::record::{self, Record};
use super::{Inner, MAX_BODY, names, sizes};
use crate::config::Access;
use crate::refusal::{self, Refusal};
use crate::token::Token;

/// How much longer than function and start may take its answer is waited for: the instance itself, and the way back.
pub(super) const MARGIN: Duration = Duration::from_secs(35);
/// The longest that a call is held open.
pub(super) const LONGEST: Duration = Duration::from_secs(3600 + 2 * 60);
/// A record is longer than its result.
const MAX_REPLY: u64 = MAX_BODY + (1 << 20);

impl Inner {
    pub(super) async fn invoke(
        &self,
        deployment: &Deployment,
        invocation: &Invocation,
    ) -> Result<Activation> {
        let id = names::activation_id();
        self.call(deployment, invocation, &id).await.map_err(|e| {
            e.at(Operation::new(crate::NAME, "invoke").on(&deployment.name)).with_request_id(id)
        })
    }

    async fn call(
        &self,
        deployment: &Deployment,
        invocation: &Invocation,
        id: &str,
    ) -> Result<Activation> {
        invocation.payload().check_argument(self.capabilities.max_payload)?;
        let uri = self.uri(deployment)?;
        let timeout = deployment.scaling.timeout.unwrap_or(LONGEST)
            + Self::start_timeout_of(deployment)
            + MARGIN;
        let mut refused_before = false;
        loop {
            let token = self.id_token(deployment).await?;
            let mut request = self
                .functions
                .request(Method::POST, uri.clone())
                .header(CONTENT_TYPE, "application/json")
                .timeout(timeout.min(LONGEST));
            for (name, value) in headers(deployment, invocation, id) {
                request = request.header(name, value);
            }
            if let Some((_, token)) = &token {
                request = request.header(AUTHORIZATION, token.bearer()?);
            }
            let request = request.body(invocation.payload().to_bytes());
            let reply = self.functions.send(request, MAX_REPLY).await?;
            if reply.status == 200
                && let Some(record) = Record::parse(reply.whole_body()?)
            {
                return Ok(self.activation(deployment, id, record));
            }
            let Some((audience, token)) = token else {
                return self.map_non_record(deployment, id, &reply, "");
            };
            // The front end refuses a token before it starts anything.
            if reply.status == 401 && !refused_before {
                refused_before = true;
                self.api.tokens.forget_id(&audience, &token);
                continue;
            }
            return self.map_non_record(deployment, id, &reply, token.expose());
        }
    }

    /// The ID token for a function and its audience; none for a public one.
    ///
    /// The audience is the URL exactly as Google reports it: a parsed one would end in a slash.
    pub(super) async fn id_token(
        &self,
        deployment: &Deployment,
    ) -> Result<Option<(String, Token)>> {
        if self.access == Access::Public {
            return Ok(None);
        }
        let audience = deployment.attribute(attribute::URI).unwrap_or_default();
        let token = self.api.tokens.id_token(audience).await?;
        Ok(Some((audience.to_owned(), token)))
    }

    /// The function's failure or the platform's, for an answer that is not a record.
    fn map_non_record(
        &self,
        deployment: &Deployment,
        id: &str,
        reply: &Reply,
        secret: &str,
    ) -> Result<Activation> {
        let timeout = deployment.scaling.timeout.unwrap_or(sizes::DEFAULT_TIMEOUT);
        match refusal::of_call(reply, record::BEGINNING, timeout, secret) {
            Refusal::Platform(error) => Err(error),
            Refusal::Function(error) => {
                let mut activation = Activation::failed(id, error);
                activation.region = Some(self.api.location.clone());
                activation.request_id = Some(id.to_owned());
                Ok(activation)
            }
        }
    }
}

/// The headers that every call carries besides its argument.
pub(super) fn headers(
    deployment: &Deployment,
    invocation: &Invocation,
    id: &str,
) -> [(&'static str, String); 4] {
    let timeout = deployment.scaling.timeout.unwrap_or(sizes::DEFAULT_TIMEOUT);
    [
        ("X-Falco-Timeout", timeout.as_secs_f64().to_string()),
        ("X-Falco-Activation", id.to_owned()),
        ("X-Falco-Invocation", identity(invocation)),
        ("traceparent", invocation.trace_context().to_string()),
    ]
}

/// Run, stage, invocation and attempt, as a header can hold them.
fn identity(invocation: &Invocation) -> String {
    let mut identity = String::new();
    for part in [invocation.run().as_str(), invocation.stage().as_str(), invocation.id().as_str()] {
        for byte in part.bytes() {
            if byte.is_ascii_graphic() && byte != b'/' && byte != b'%' {
                identity.push(char::from(byte));
            } else {
                // Writing to a string cannot fail.
                let _ = write!(identity, "%{byte:02X}");
            }
        }
        identity.push('/');
    }
    identity + &invocation.attempt().to_string()
}
