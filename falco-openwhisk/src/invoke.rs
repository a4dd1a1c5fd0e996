//! Invoking, and following what the server does not wait for.

use std::time::Duration;

use falco_core::{Activation, Deployment, Error, ErrorKind, Invocation, Result};
use falco_http::Reply;
use falco_http::reqwest::{Method, StatusCode};
use tokio::time::Instant;

use crate::OpenWhisk;
use crate::activation::{array_result, to_activation};
use crate::call::Call;
use crate::client::{parse, with_json};
use crate::collect::MAX_RECORD_BYTES;
use crate::deployments::location;
use crate::limits::DEFAULT_TIMEOUT;
use crate::refusal::short;
use crate::wire::{Accepted, Record, is_activation_id, object};

/// The first pause between two looks for a record.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

impl OpenWhisk {
    pub(crate) async fn invoke_and_wait(
        &self,
        deployment: &Deployment,
        invocation: &Invocation,
    ) -> Result<Activation> {
        let call = Call::running("invoke", &deployment.name);
        let reply = self.post(&call, deployment, invocation, true).await?;
        let id = activation_id(&reply);
        match reply.status {
            StatusCode::OK | StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY => {
                if let Some(record) = record_in(&reply, id.as_deref()) {
                    return self.finish(&call, &record, &reply);
                }
            }
            _ => {}
        }
        match id {
            // A result that is an array stands for itself, without its record.
            Some(id) if reply.json::<Vec<serde::de::IgnoredAny>>().is_ok() => {
                Ok(array_result(&id, &reply.body))
            }
            Some(id) => {
                tracing::debug!(%id, status = reply.status.as_u16(), "the answer has no record; following");
                self.follow(&call, deployment, &id).await
            }
            None if reply.status.is_success() => Err(no_activation(&call, &reply)),
            None => Err(self.api().refusal(&call, &reply)),
        }
    }

    /// Posts an invocation; the answer may be any.
    pub(crate) async fn post(
        &self,
        call: &Call<'_>,
        deployment: &Deployment,
        invocation: &Invocation,
        blocking: bool,
    ) -> Result<Reply> {
        let payload = invocation.payload();
        let limit = self.inner.server.limits.max_payload();
        payload.check_argument(Some(limit)).map_err(|e| call.apply(e))?;
        let name = location(call, deployment)?;
        let query = [("blocking", blocking), ("result", false)];
        // The runtimes hand it on as `__OW_TRANSACTION_ID`, unless an edge has replaced it.
        let trace = invocation.trace_context().to_string();
        let request = self.api().action(Method::POST, &name).query(&query);
        let request = request.header("x-request-id", trace);
        self.api().send(call, with_json(request, payload.to_bytes()), MAX_RECORD_BYTES).await
    }

    /// The activation that a blocking call, or a record's request, has answered with.
    fn finish(&self, call: &Call<'_>, record: &Record<'_>, reply: &Reply) -> Result<Activation> {
        let request_id = reply.header("x-request-id").map(short);
        match to_activation(record) {
            Ok(mut activation) => {
                activation.request_id = request_id;
                Ok(activation)
            }
            Err(e) => Err(call.apply(e)),
        }
    }

    /// Waits for the record of an activation that the server has accepted and not finished in time.
    async fn follow(
        &self,
        call: &Call<'_>,
        deployment: &Deployment,
        id: &str,
    ) -> Result<Activation> {
        let function_timeout = deployment.scaling.timeout.unwrap_or(DEFAULT_TIMEOUT);
        // Starting and running each get the function's timeout.
        let left = function_timeout * 2 + self.inner.config.waits.follow_grace;
        let deadline = Instant::now() + left;
        let mut pause = FIRST_PAUSE;
        let lost = |cause: Option<Error>| {
            let message = format!(
                "activation {id} was accepted, and no record of it appeared within {left:?}"
            );
            let error = Error::new(ErrorKind::Lost, message).with_request_id(id);
            call.apply(match cause {
                Some(cause) => error.with_source(&cause),
                None => error,
            })
        };
        let mut failure = None;
        loop {
            let wake = Instant::now() + pause;
            if wake > deadline {
                return Err(lost(failure));
            }
            tokio::time::sleep_until(wake).await;
            pause = (pause * 3 / 2).min(self.inner.config.waits.max_poll_interval).max(FIRST_PAUSE);
            let request = self.api().own(Method::GET, ["activations", id]);
            match self.api().find(call, request, MAX_RECORD_BYTES).await {
                Ok(None) => {}
                Ok(Some(reply)) => {
                    let record: Record<'_> = parse(call, &reply)?;
                    return self.finish(call, &record, &reply);
                }
                Err(e) if e.is_retryable() => failure = Some(e),
                Err(e) => return Err(e.with_may_have_run(true).with_request_id(id)),
            }
        }
    }
}

/// A success that does not name its activation: the answer broke off, or is not one of OpenWhisk's.
pub(crate) fn no_activation(call: &Call<'_>, reply: &Reply) -> Error {
    let error = reply.whole_body().err().unwrap_or_else(|| reply.unexpected());
    call.apply(error.with_may_have_run(true))
}

/// The record that a blocking call was answered with. A function that returns an array is answered with the bare array.
fn record_in<'a>(reply: &'a Reply, id: Option<&str>) -> Option<Record<'a>> {
    let record: Record<'_> = object(reply.whole_body().ok()?).ok()?;
    id.is_none_or(|id| id == record.id).then_some(record)
}

/// The id that an answer is about: the header is there whatever the body is.
pub(crate) fn activation_id(reply: &Reply) -> Option<String> {
    let named = reply.header("x-openwhisk-activation-id").map(str::to_owned).or_else(|| {
        let accepted: Accepted<'_> = object(&reply.body).ok()?;
        Some(accepted.id.into_owned())
    })?;
    is_activation_id(&named).then_some(named)
}
