//! Waiting, where AWS's own protocol demands it.

use std::future::Future;
use std::time::Duration;

use falco_core::{Error, ErrorKind, Result};
use tokio::time::{Instant, sleep};

use super::AwsLambda;
use crate::client::{Configuration, Function, RequestError};

/// A function's state, for a caller that waits for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    /// It is being created or updated.
    Busy,
    /// It could not be created, and why.
    Failed(String),
    /// The last change to it has failed, and why: it still is what it was before.
    NotUpdated(String),
}

impl Readiness {
    /// Unknown words count as ready: the next request to the function finds out, which is better than a guess.
    pub(super) fn of(configuration: &Configuration) -> Self {
        let reason = |reason: &Option<String>| {
            reason.clone().unwrap_or_else(|| "Lambda gives no reason".into())
        };
        match configuration.state.as_deref() {
            Some("Pending") => return Self::Busy,
            Some("Failed") => return Self::Failed(reason(&configuration.state_reason)),
            _ => {}
        }
        match configuration.last_update_status.as_deref() {
            Some("InProgress") => Self::Busy,
            Some("Failed") => Self::NotUpdated(reason(&configuration.last_update_status_reason)),
            _ => Self::Ready,
        }
    }
}

/// Repeats `request` every `interval`, until it succeeds, fails in another way than `passes` accepts, or `timeout`
/// is over.
pub(super) async fn retry_until<T, F>(
    interval: Duration,
    timeout: Duration,
    passes: impl Fn(&RequestError) -> bool,
    mut request: impl FnMut() -> F,
) -> Result<T, RequestError>
where
    F: Future<Output = Result<T, RequestError>>,
{
    let deadline = Instant::now() + timeout;
    loop {
        match request().await {
            Err(failure) if passes(&failure) && Instant::now() + interval < deadline => {
                sleep(interval).await;
            }
            result => return result,
        }
    }
}

impl AwsLambda {
    /// Waits until a function has been created, and its last change has succeeded.
    ///
    /// Each update needs it: while one is in progress, the next is refused.
    pub(super) async fn wait_until_ready(&self, name: &str) -> Result<Function> {
        let function = self.wait_until_settled(name).await?;
        match Readiness::of(&function.configuration) {
            Readiness::NotUpdated(reason) => Err(not_ready(&reason)),
            _ => Ok(function),
        }
    }

    /// Waits until a function has been created, and its last change has succeeded or failed.
    pub(super) async fn wait_until_settled(&self, name: &str) -> Result<Function> {
        let waits = &self.config.waits;
        let deadline = Instant::now() + waits.state_timeout;
        loop {
            let state = match self.client.get_function(name).await {
                Ok(function) => match Readiness::of(&function.configuration) {
                    Readiness::Ready | Readiness::NotUpdated(_) => return Ok(function),
                    Readiness::Failed(reason) => return Err(not_ready(&reason)),
                    Readiness::Busy => "is still being created or updated",
                },
                // Reads right after writes may not see them yet, and the control plane's rate is low.
                Err(failure) if failure.is_not_found() => "cannot be found yet",
                Err(failure) if failure.is_throttled() => {
                    "cannot be looked at, since Lambda throttles the requests"
                }
                Err(failure) => return Err(failure.into()),
            };
            if Instant::now() + waits.state_interval >= deadline {
                let message =
                    format!("after {:?} the function {state}", self.config.waits.state_timeout);
                return Err(Error::new(ErrorKind::Timeout, message)
                    .with_platform(crate::NAME)
                    .with_may_have_run(false)
                    .with_hint("deploy again, or wait longer with AwsWaits::with_state_timeout"));
            }
            sleep(waits.state_interval).await;
        }
    }

    /// Sends a request that changes a function, and again while the function is busy with the last change.
    pub(super) async fn when_idle<T, F>(
        &self,
        request: impl FnMut() -> F,
    ) -> Result<T, RequestError>
    where
        F: Future<Output = Result<T, RequestError>>,
    {
        let waits = &self.config.waits;
        let busy = |failure: &RequestError| failure.is_busy() || failure.is_throttled();
        retry_until(waits.state_interval, waits.state_timeout, busy, request).await
    }
}

fn not_ready(reason: &str) -> Error {
    let message = format!("Lambda could not make the function ready: {reason}");
    Error::invalid_input(message).with_platform(crate::NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_words_stop_nothing() {
        for (state, update, expected) in [
            (Some("Pending"), None, Readiness::Busy),
            (Some("Active"), Some("InProgress"), Readiness::Busy),
            (Some("Active"), Some("Successful"), Readiness::Ready),
            (Some("ActiveNonInvocable"), Some("Whatever"), Readiness::Ready),
            (Some("Inactive"), None, Readiness::Ready),
            (None, None, Readiness::Ready),
        ] {
            let configuration = Configuration {
                state: state.map(str::to_owned),
                last_update_status: update.map(str::to_owned),
                ..Configuration::default()
            };
            assert_eq!(Readiness::of(&configuration), expected, "{state:?} {update:?}");
        }
    }

    #[test]
    fn a_failure_is_reported_with_lambdas_reason() {
        let configuration = Configuration {
            state: Some("Active".into()),
            last_update_status: Some("Failed".into()),
            last_update_status_reason: Some("ImageDeleted".into()),
            ..Configuration::default()
        };
        assert_eq!(Readiness::of(&configuration), Readiness::NotUpdated("ImageDeleted".into()));
    }
}
