//! One stage at work.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll};

use falco_core::{BoxStream, Completion, Deployment, Error, ErrorKind, Event, Monitor};
use futures_core::Stream;
use tokio::sync::mpsc;

use super::control::{Inputs, StageControl};
use super::cut::Unsuccessful;
use super::guard::guard;
use super::hub::Hub;
use super::logs::FailedLogs;
use crate::report::StageReport;

/// One stage at work: a stream of its completions, and a report at the end.
///
/// [`Session::execute`](super::Session::execute) makes it. Dropping it stops the stage without completions.
#[must_use = "a stage stops when this is dropped"]
pub struct StageRun {
    pub(super) completions: Option<BoxStream<'static, Completion>>,
    /// Completions of earlier processes, which the strategy has not seen.
    pub(super) recalled: Option<mpsc::Receiver<Completion>>,
    pub(super) control: Arc<StageControl>,
    pub(super) hub: Arc<Hub>,
    /// Fetches the logs of what failed, on this deployment.
    pub(super) logs: Option<(Arc<FailedLogs>, Arc<Deployment>)>,
    /// How many completions came out.
    pub(super) delivered: u64,
}

impl StageRun {
    /// A stage that does not start: its inputs are counted as skipped.
    pub(super) fn not_started(inputs: Inputs, control: Arc<StageControl>, hub: Arc<Hub>) -> Self {
        control.return_inputs(Some(inputs));
        Self { completions: None, recalled: None, control, hub, logs: None, delivered: 0 }
    }

    /// Stops the stage cleanly: nothing more is taken in, and what is in flight leaves as cancelled.
    pub fn stop(&self) {
        self.control.stop.cancel();
    }

    /// Ends the stage and says what came of it. Before the completions have come to their end it stops the stage:
    /// what was in flight is counted as unknown then, since nobody waits for it.
    pub async fn finish(mut self) -> StageReport {
        self.close().await;
        self.conclude().0
    }

    /// Lets go of the strategy, and counts the inputs that it has not taken.
    pub(super) async fn close(&mut self) {
        (self.completions, self.recalled) = (None, None);
        let missing = self.control.entered.load(SeqCst).saturating_sub(self.delivered);
        if missing > 0 {
            self.control.recorder.unreported(missing);
        }
        self.control.recorder.ended();
        let (skipped, is_lower_bound) = self.control.count_left_over().await;
        if skipped > 0 || is_lower_bound {
            self.control.recorder.skipped(skipped, is_lower_bound);
        } else if !self.control.has_failed() {
            // The strategy has taken all inputs, whether or not it has looked for more.
            self.control.exhausted.store(true, SeqCst);
        }
    }

    /// Reports the end of the stage, and begins to fetch the logs of what failed.
    pub(super) fn conclude(&self) -> (StageReport, Option<Unsuccessful>) {
        let (report, end) = self.control.report(self.hub.reason());
        let stage = &self.control.stage;
        let skipped = report.invocations.skipped;
        if skipped > 0 {
            let _ = self.hub.event(&Event::Skipped { stage, invocations: skipped });
        }
        let _ = self.hub.event(&Event::StageFinished { stage, error: report.error.as_ref() });
        if let Some((logs, deployment)) = &self.logs {
            logs.begin(stage, deployment, &report.failures);
        }
        (report, end)
    }

    /// The next completion of an earlier process.
    fn poll_recalled(&mut self, cx: &mut Context<'_>) -> Poll<Option<Completion>> {
        let Some(recalled) = &mut self.recalled else { return Poll::Ready(None) };
        let next = recalled.poll_recv(cx);
        match &next {
            Poll::Ready(Some(completion)) => {
                self.delivered += 1;
                self.control.recorder.recalled(completion);
            }
            Poll::Ready(None) => self.recalled = None,
            Poll::Pending => {}
        }
        next
    }

    /// The completions of an earlier process that are left once the strategy has ended.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Completion>> {
        if let Poll::Ready(Some(completion)) = self.poll_recalled(cx) {
            return Poll::Ready(Some(completion));
        }
        self.check_conservation();
        Poll::Ready(None)
    }

    /// Checks, when the strategy has ended, that each invocation has left it once.
    fn check_conservation(&self) {
        let (entered, delivered) = (self.control.entered.load(SeqCst), self.delivered);
        if entered != delivered && !self.control.has_failed() {
            let message = format!(
                "the strategy of stage {:?} made {delivered} completions of {entered} invocations",
                self.control.stage
            );
            self.control.fail(Error::new(ErrorKind::Other, message));
        }
    }
}

impl Stream for StageRun {
    type Item = Completion;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Completion>> {
        let this = &mut *self;
        if let Poll::Ready(Some(completion)) = this.poll_recalled(cx) {
            return Poll::Ready(Some(completion));
        }
        // It has ended, and nothing says that it may be polled again.
        let Some(completions) = &mut this.completions else { return this.poll_rest(cx) };
        let what = || format!("the strategy of stage {:?}", this.control.stage);
        match guard(what, || completions.as_mut().poll_next(cx)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(Some(completion))) => {
                this.delivered += 1;
                this.control.recorder.completion(&completion);
                Poll::Ready(Some(completion))
            }
            Ok(Poll::Ready(None)) => {
                this.completions = None;
                // The strategy takes nothing more, so that no more are recalled: what is there comes first.
                if let Some(recalled) = &mut this.recalled {
                    recalled.close();
                }
                this.poll_rest(cx)
            }
            Err(panic) => {
                this.control.fail(panic);
                this.completions = None;
                Poll::Ready(None)
            }
        }
    }
}

impl fmt::Debug for StageRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageRun").field("stage", &self.control.stage).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use falco_core::{Attempts, Invocation, Outcome, Payload};
    use futures_util::StreamExt as _;
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn a_strategy_that_has_ended_is_not_polled_again_for_completions_of_an_earlier_process() {
        let (sender, recalled) = mpsc::channel(3);
        // It hands over what is recalled as it ends, and panics when it is polled after that, as many streams may.
        let strategy = futures_util::stream::unfold(sender, |sender| async move {
            for id in ["1", "2", "3"] {
                let invocation = Invocation::new("run", "stage", id, Payload::empty());
                let (attempts, now) = (Attempts::new(1), SystemTime::now());
                let outcome = Outcome::Cancelled;
                let completion = invocation.complete(outcome, attempts, now, Duration::ZERO);
                sender.try_send(completion).unwrap();
            }
            None
        });
        let mut stage = StageRun {
            completions: Some(strategy.boxed()),
            recalled: Some(recalled),
            control: Arc::new(StageControl::new("stage".into(), &CancellationToken::new())),
            hub: Arc::new(Hub::new(Vec::new(), None, false)),
            logs: None,
            delivered: 0,
        };
        stage.control.entered.store(3, SeqCst);
        let completions = stage.by_ref().count().await;
        assert_eq!((completions, stage.control.has_failed()), (3, false));
    }
}
