//! Running a function and waiting for its result.

use std::time::Duration;

use falco_core::{Activation, Deployment, Error, ErrorKind, Event, Invocation, Result, WaitReason};
use tokio::time::Instant;

use super::AwsLambda;
use super::activation::outcome;
use super::report::Report;
use crate::client::{InvokeReply, LONGEST_RUN, RequestError};

/// The bytes that a result may have beyond the limit: the error object of a failed function is not counted.
const SLACK: u64 = 64 << 10;

impl AwsLambda {
    pub(super) async fn invoke_and_wait(
        &self,
        deployment: &Deployment,
        invocation: &Invocation,
    ) -> Result<Activation> {
        invocation
            .payload()
            .check_argument(Some(self.config.limits.payload))
            .map_err(|e| e.with_platform(crate::NAME))?;
        let reply = match self.invoke_once(deployment, invocation).await {
            // Still being created, or woken from having been idle for weeks: Lambda's own protocol demands waiting.
            Err(failure) if failure.is_busy() => {
                let waiting = Instant::now();
                self.wait_until_ready(&deployment.name).await?;
                self.report_wait(invocation, waiting.elapsed());
                self.invoke_once(deployment, invocation).await?
            }
            reply => reply?,
        };
        self.activation_of(deployment, &reply)
    }

    async fn invoke_once(
        &self,
        deployment: &Deployment,
        invocation: &Invocation,
    ) -> Result<InvokeReply, RequestError> {
        // The connection is silent for the whole run: a shorter timeout would give up on what is still running.
        let run = deployment.scaling.timeout.unwrap_or(LONGEST_RUN);
        let timeout = run + self.config.waits.invoke_margin;
        let limit = self.config.limits.result + SLACK;
        let event = invocation.payload().to_bytes();
        let trace = invocation.trace_context().to_string();
        self.client.invoke(&deployment.name, event, &trace, timeout, limit).await
    }

    fn activation_of(&self, deployment: &Deployment, reply: &InvokeReply) -> Result<Activation> {
        let with_id = |e: Error| match reply.request_id() {
            Some(id) => e.with_platform(crate::NAME).with_request_id(id),
            None => e.with_platform(crate::NAME),
        };
        let body = reply.reply.whole_body().map_err(with_id)?;
        // It is the id that the function sees and that its log carries.
        let Some(id) = reply.request_id() else {
            let message = "the answer to an invocation has no x-amzn-RequestId";
            return Err(with_id(Error::new(ErrorKind::Protocol, message)));
        };
        let (outcome, measured) = outcome(deployment, body, reply.function_error().is_some());
        let mut activation = Activation::new(id, outcome);
        activation.request_id = Some(id.to_owned());
        activation.region = Some(self.config.region.clone());
        activation.code_version = reply.version().map(str::to_owned);
        if let Some(measured) = &measured {
            measured.add_instance(&mut activation);
        }
        match reply.log_tail().as_deref().and_then(Report::find) {
            Some(report) => self.add_report(&mut activation, &report, deployment),
            None => self.add_measured(&mut activation, measured.as_ref(), deployment),
        }
        Ok(activation)
    }

    /// Reports to the run's monitor a wait that was Lambda's, not a layer's.
    pub(super) fn report_wait(&self, invocation: &Invocation, wait: Duration) {
        let event = Event::Waiting { invocation, reason: WaitReason::Platform, wait };
        invocation.report(&event);
    }
}
