//! Waiting for Google's long-running operations, which can be neither waited for nor cancelled there.

use falco_core::{Error, ErrorKind, Operation, Result};
use tokio::time::{Instant, sleep};

use super::Inner;
use crate::client::LongRunning;
use crate::refusal;

/// The number of unanswered looks in a row at an operation after which the wait fails: the layers
/// then report an outage, pause, and begin the operation again.
const UNANSWERED_LOOKS: u32 = 5;

/// Counts the looks in a row to which nobody has answered.
#[derive(Debug, Default)]
pub(super) struct Looks(u32);

impl Looks {
    /// Takes note of an answer.
    pub(super) fn answered(&mut self) {
        self.0 = 0;
    }

    /// Whether to look again although a look has failed.
    pub(super) fn go_on_after(&mut self, error: &Error) -> bool {
        if !error.is_unreachable() {
            self.answered();
            return error.is_retryable();
        }
        self.0 += 1;
        self.0 < UNANSWERED_LOOKS
    }
}

impl Inner {
    /// Waits until an operation has ended.
    ///
    /// A look that fails is not a failure of the operation, unless several in a row are not answered. Dropped, the operation goes on.
    pub(super) async fn finish(
        &self,
        operation: &'static str,
        id: &str,
        mut running: LongRunning,
        secrets: &[&str],
    ) -> Result<()> {
        let until = Instant::now() + self.waits.operation;
        let mut wait = self.waits.first;
        let mut looks = Looks::default();
        loop {
            if running.done {
                return match &running.error {
                    Some(status) => {
                        let error = refusal::of_operation(status, secrets);
                        Err(error.at(Operation::new(crate::NAME, operation).on(id)))
                    }
                    None => Ok(()),
                };
            }
            let name = Self::checked_name(&running.name, "operation")
                .map_err(|e| e.at(Operation::new(crate::NAME, operation).on(id)))?;
            if Instant::now() + wait > until {
                let waited = self.waits.operation;
                let error =
                    Error::new(ErrorKind::Timeout, format!("{name} has not ended in {waited:?}"))
                        .with_may_have_run(false)
                        .with_hint(
                            "it goes on at Google: look at it in the console, then try again",
                        );
                return Err(error.at(Operation::new(crate::NAME, operation).on(id)));
            }
            sleep(wait).await;
            wait = self.waits.next(wait);
            match self.api.get_operation(operation, id, name).await {
                Ok(seen) => {
                    looks.answered();
                    running = LongRunning { name: running.name, ..seen };
                }
                Err(error) if looks.go_on_after(&error) => {
                    tracing::debug!(%error, "the operation could not be looked at");
                    wait = wait.max(error.retry_after().unwrap_or_default());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Repeats `start` while another operation on the same function is running.
    pub(super) async fn when_free<T, R>(&self, mut start: impl FnMut() -> R) -> Result<T>
    where
        R: Future<Output = Result<T>>,
    {
        let until = Instant::now() + self.waits.operation;
        let mut wait = self.waits.first;
        loop {
            match start().await {
                Err(error)
                    if error.kind() == ErrorKind::Conflict
                        && error.is_retryable()
                        && Instant::now() + wait < until =>
                {
                    tracing::debug!(%error, "another operation on the function is running");
                    sleep(wait).await;
                    wait = self.waits.next(wait);
                }
                other => return other,
            }
        }
    }
}
