//! Handing an invocation over.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use falco_core::{Deployment, Error, ErrorKind, Invocation, Pending, Result};

use super::AwsLambda;
use super::names;
use super::queue::Queue;
use super::wait::retry_until;
use crate::client::{EventInvokeConfig, RequestError};

/// Lambda does not repeat what fails: executors do, by their own policy, and distinguish a new attempt from an old one.
const RETRIES: u32 = 0;

/// The event of an invocation: its argument, with its trace context around it unless that makes it too long. The shims
/// take it off again; there is no other way, since Lambda passes on no header of an event.
fn with_trace(invocation: &Invocation, limit: u64) -> Bytes {
    let argument = invocation.payload().as_str();
    let trace = invocation.trace_context();
    // The bootstrap of executables relies on this very form.
    let event = format!(r#"{{"falco:tp":"{trace}","falco:args":{argument}}}"#);
    if event.len() as u64 > limit { invocation.payload().to_bytes() } else { event.into() }
}

impl AwsLambda {
    pub(super) async fn submit_event(
        &self,
        deployment: &Deployment,
        invocation: &Invocation,
    ) -> Result<Pending> {
        invocation
            .payload()
            .check_argument(Some(self.config.limits.submit_payload))
            .map_err(|e| e.with_platform(crate::NAME))?;
        let queue = self.result_queue(deployment).await?;
        let name = &deployment.name;
        let body = with_trace(invocation, self.config.limits.submit_payload);
        let event = || self.client.invoke_event(name, body.clone());
        let id = match event().await {
            Err(failure) if failure.is_busy() => {
                let waiting = tokio::time::Instant::now();
                self.wait_until_ready(name).await?;
                self.report_wait(invocation, waiting.elapsed());
                event().await?
            }
            id => id?,
        };
        let id = id.ok_or_else(|| {
            let message = "the event was accepted without an x-amzn-RequestId to collect it by";
            Error::new(ErrorKind::Protocol, message).with_platform(crate::NAME)
        })?;
        let pending = Pending::new(id, SystemTime::now());
        queue.inbox.expect(pending.id.clone());
        Ok(pending)
    }

    /// The queue that the function's results go to, set up for the first who submits.
    ///
    /// An earlier process may have made the queue and been stopped before it configured Lambda to use it.
    async fn result_queue(&self, deployment: &Deployment) -> Result<Arc<Queue>> {
        let Some(arn) = names::queue_arn(&deployment.id, &deployment.name) else {
            let message = format!("invalid function ARN {:?}", deployment.id);
            return Err(Error::invalid_input(message).with_platform(crate::NAME));
        };
        let queue = self.queues.get(&deployment.name, || self.make_queue(deployment)).await?;
        let destination = || self.set_destination(&deployment.name, &queue.url, &arn);
        queue.destination.get_or_try_init(destination).await?;
        Ok(queue)
    }

    async fn make_queue(&self, deployment: &Deployment) -> Result<String> {
        let (queue, tags) = (names::queue(&deployment.name), names::tags_of(deployment));
        let waits = &self.config.waits;
        let deleted_just_now =
            |failure: &RequestError| failure.code() == Some("QueueDeletedRecently");
        let made = retry_until(waits.role_interval, waits.role_timeout, deleted_just_now, || {
            self.client.create_queue(&queue, waits.queue_visibility, &tags)
        });
        Ok(made.await?)
    }

    async fn set_destination(&self, name: &str, url: &str, arn: &str) -> Result<()> {
        let waits = &self.config.waits;
        let config = EventInvokeConfig { retries: RETRIES, age: waits.event_age, destination: arn };
        // IAM may not know everywhere yet that the role may write into the queue, nor Lambda that there is one.
        let not_known_yet = |failure: &RequestError| {
            failure.is_busy()
                || failure.says(&["permissions to call SendMessage", "destination ARN"])
        };
        let set = retry_until(waits.role_interval, waits.role_timeout, not_known_yet, || {
            self.client.put_event_invoke_config(name, &config)
        });
        match set.await {
            Ok(()) => Ok(()),
            Err(failure) => {
                if failure.is_not_found() {
                    self.queues.forget(name);
                }
                Err(self.without_queue(url, failure).await)
            }
        }
    }

    /// The error of a set-up that failed, with the queue gone when there is no function that it could belong to.
    async fn without_queue(&self, url: &str, failure: RequestError) -> Error {
        if failure.is_not_found()
            && let Err(left) = self.client.delete_queue(url).await
        {
            tracing::warn!(?left, "a queue was left behind");
        }
        let lacks_permission = failure.says(&["permissions to call SendMessage"]);
        let error = Error::from(failure);
        if lacks_permission {
            return error.with_hint(
                "allow sqs:SendMessage on queues named falco-* in the execution role's policy",
            );
        }
        error
    }
}
