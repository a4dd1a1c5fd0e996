//! What the parts of a running stage share: its stop, its first error, its numbers.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use falco_core::{BoxStream, Error, ErrorKind, Input, Result, StageName};
use futures_util::{FutureExt, Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use crate::report::{StageRecorder, StageReport, StageState};

/// How long the end of a stage waits for the number of inputs that never entered.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many inputs it counts one by one.
const COUNTED_AT_MOST: u64 = 1_000_000;
/// After so many inputs in a row the clock is looked at.
const BURST: u64 = 256;

/// A stage's inputs.
pub(super) type Inputs = BoxStream<'static, Result<Input>>;

/// What the parts of a running stage share.
pub(super) struct StageControl {
    pub(super) stage: StageName,
    /// Cancelled when the stage is to stop; a child of the run's.
    pub(super) stop: CancellationToken,
    pub(super) recorder: Arc<StageRecorder>,
    /// How many inputs have entered the strategy.
    pub(super) entered: AtomicU64,
    /// Whether the inputs have come to their end.
    pub(super) exhausted: AtomicBool,
    /// The inputs that the strategy has not taken, once it has let go of them.
    left_over: Mutex<Option<Inputs>>,
    /// Cancelled once the strategy has let go of the inputs.
    let_go: CancellationToken,
    error: OnceLock<Error>,
    upstream_failed: OnceLock<StageName>,
}

impl StageControl {
    pub(super) fn new(stage: StageName, run_stop: &CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            stage,
            stop: run_stop.child_token(),
            recorder: Arc::default(),
            entered: AtomicU64::new(0),
            exhausted: AtomicBool::new(false),
            left_over: Mutex::new(None),
            let_go: CancellationToken::new(),
            error: OnceLock::new(),
            upstream_failed: OnceLock::new(),
        })
    }

    /// Fails the stage and stops it; the first error stays.
    pub(super) fn fail(&self, error: Error) {
        let _ = self.error.set(error);
        self.stop.cancel();
    }

    /// Says that a stage upstream did not succeed, so that this one cannot end.
    pub(super) fn upstream_failed(&self, upstream: &StageName) {
        let _ = self.upstream_failed.set(upstream.clone());
    }

    pub(super) fn has_failed(&self) -> bool {
        self.error.get().is_some()
    }

    /// Takes back what the strategy has not taken; nothing when the inputs have come to their end.
    pub(super) fn let_go(&self, left_over: Option<Inputs>) {
        if let Some(inputs) = left_over {
            *self.left_over.lock().unwrap_or_else(PoisonError::into_inner) = Some(inputs);
        }
        self.let_go.cancel();
    }

    /// Counts the inputs that the strategy has not taken, and whether there may be more.
    pub(super) async fn count_left_over(&self) -> (u64, bool) {
        // A strategy lets go one scheduler tick after its completions end or are dropped. One that never does must
        // not keep the run.
        let let_go = tokio::time::timeout(PATIENCE, self.let_go.cancelled()).await;
        let left_over = self.left_over.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let_go.is_ok() && left_over.is_none() {
            return (0, false);
        }
        // Tells the derivation that nobody takes its inputs any more.
        self.stop.cancel();
        match left_over {
            Some(inputs) => count(inputs).await,
            None => (0, true),
        }
    }

    /// How the stage ended, and why; to be asked when it has.
    pub(super) fn report(&self, run_is_stopped: bool) -> StageReport {
        let (state, error) = self.verdict(run_is_stopped);
        self.recorder.report(&self.stage, state, error)
    }

    fn verdict(&self, run_is_stopped: bool) -> (StageState, Option<Error>) {
        if let Some(error) = self.error.get() {
            return (StageState::Failed, Some(error.clone()));
        }
        let counts = self.recorder.counts();
        let failed = counts.failed() + counts.unknown;
        if failed > 0 {
            return (StageState::Failed, Some(self.failures(failed, counts.entered())));
        }
        let upstream = self.upstream_failed.get();
        let is_complete =
            counts.cancelled == 0 && counts.skipped == 0 && self.exhausted.load(SeqCst);
        if upstream.is_none() && is_complete {
            return (StageState::Succeeded, None);
        }
        let (state, message) = match upstream {
            _ if run_is_stopped => (StageState::Stopped, "was stopped with the run".to_owned()),
            Some(upstream) => {
                (StageState::UpstreamFailed, format!("follows {upstream:?}, which did not succeed"))
            }
            None => (StageState::Failed, "was stopped before its inputs had ended".to_owned()),
        };
        let message = format!("stage {:?} {message}", self.stage);
        (state, Some(Error::new(ErrorKind::Cancelled, message)))
    }

    fn failures(&self, failed: u64, entered: u64) -> Error {
        let mut message =
            format!("stage {:?}: {failed} of {entered} invocations did not succeed", self.stage);
        if let Some(first) = self.recorder.first_failure() {
            message = format!("{message}; first {}: {}: {}", first.id, first.outcome, first.reason);
        }
        Error::new(ErrorKind::Other, message)
    }
}

/// Counts inputs that nobody has taken. They may be endless, or wait for somebody, so that it gives up in time.
async fn count(mut inputs: Inputs) -> (u64, bool) {
    if let (least, Some(most)) = inputs.size_hint()
        && least == most
    {
        return (least as u64, false);
    }
    let counted = AtomicU64::new(0);
    let counting = async {
        while let Some(input) = inputs.next().await {
            // After an error there may be anything, such as the same error for ever.
            if input.is_err() || counted.load(SeqCst) == COUNTED_AT_MOST {
                return false;
            }
            if counted.fetch_add(1, SeqCst) % BURST == BURST - 1 {
                tokio::task::yield_now().await;
            }
        }
        true
    };
    // A panic in the stream is its end: the stage has failed already.
    let counting = tokio::time::timeout(PATIENCE, AssertUnwindSafe(counting).catch_unwind());
    let ended = matches!(counting.await, Ok(Ok(true)));
    (counted.into_inner(), !ended)
}
