//! The state that the parts of a running stage share: its stop, the reasons for an early end, its numbers.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use falco_core::{BoxStream, Error, Input, Result, StageName};
use futures_util::{FutureExt, Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use super::cut::Cut;
use crate::report::StageRecorder;

/// How long the end of a stage waits for the number of inputs that never entered.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many inputs it counts one by one.
const COUNTED_AT_MOST: u64 = 1_000_000;
/// After so many inputs in a row the clock is looked at.
const BURST: u64 = 256;

/// A stage's inputs.
pub(super) type Inputs = BoxStream<'static, Result<Input>>;

/// The state that the parts of a running stage share. [`verdict`](super::verdict) reads from it how the stage ended.
pub(super) struct StageControl {
    pub(super) stage: StageName,
    /// Cancelled when the stage is to stop; a child of the run's.
    pub(super) stop: CancellationToken,
    /// Whether a derivation looks into the results.
    pub(super) results_are_read: bool,
    pub(super) recorder: Arc<StageRecorder>,
    /// How many inputs have entered the strategy.
    pub(super) entered: AtomicU64,
    /// Whether the strategy has taken all inputs that there were.
    pub(super) exhausted: AtomicBool,
    /// Whether those were all inputs that the stage should have: of a derived stage, once all stages upstream have
    /// succeeded and the derivation has made the last input of their results.
    pub(super) inputs_are_whole: AtomicBool,
    /// The inputs that the strategy has not taken, once it has dropped them.
    left_over: Mutex<Option<Inputs>>,
    /// Cancelled once the strategy has dropped the inputs.
    inputs_returned: CancellationToken,
    pub(super) error: OnceLock<Error>,
    pub(super) cut: OnceLock<Cut>,
}

impl StageControl {
    /// The state of a stage whose inputs come from outside.
    pub(super) fn new(stage: StageName, run_stop: &CancellationToken) -> Self {
        Self {
            stage,
            stop: run_stop.child_token(),
            results_are_read: false,
            recorder: Arc::default(),
            entered: AtomicU64::new(0),
            exhausted: AtomicBool::new(false),
            inputs_are_whole: AtomicBool::new(true),
            left_over: Mutex::new(None),
            inputs_returned: CancellationToken::new(),
            error: OnceLock::new(),
            cut: OnceLock::new(),
        }
    }

    /// Says that the inputs follow from other stages: they are not whole before the derivation says so.
    pub(super) fn derived(self, is_derived: bool) -> Self {
        self.inputs_are_whole.store(!is_derived, SeqCst);
        self
    }

    /// Says whether a derivation looks into the results.
    pub(super) fn read(self, results_are_read: bool) -> Self {
        Self { results_are_read, ..self }
    }

    /// Fails the stage and stops it; the first error stays.
    pub(super) fn fail(&self, error: Error) {
        let _ = self.error.set(error);
        self.stop.cancel();
    }

    /// Takes note of why the stage cannot come to its end, although nothing in it failed; the first reason stays.
    pub(super) fn cut(&self, cut: Cut) {
        let _ = self.cut.set(cut);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.error.get().is_some()
    }

    /// Takes note that nobody drives the stage any more: what is in flight is cancelled, and it has not ended.
    pub(super) fn abandon(&self) {
        let reported = self.recorder.counts().entered();
        self.recorder.cancelled(self.entered.load(SeqCst).saturating_sub(reported));
        if !self.exhausted.swap(false, SeqCst) {
            self.recorder.skipped(0, true);
        }
    }

    /// Takes back what the strategy has not taken; nothing when the inputs have come to their end.
    pub(super) fn return_inputs(&self, left_over: Option<Inputs>) {
        if let Some(inputs) = left_over {
            *self.left_over.lock().unwrap_or_else(PoisonError::into_inner) = Some(inputs);
        }
        self.inputs_returned.cancel();
    }

    /// Counts the inputs that the strategy has not taken, and whether there may be more.
    pub(super) async fn count_left_over(&self) -> (u64, bool) {
        // A strategy drops its inputs one scheduler tick after its completions end or are dropped. One that never does must
        // not keep the run.
        let returned = tokio::time::timeout(PATIENCE, self.inputs_returned.cancelled()).await;
        let left_over = self.left_over.lock().unwrap_or_else(PoisonError::into_inner).take();
        if returned.is_ok() && left_over.is_none() {
            return (0, false);
        }
        // The derivation stops: nobody takes its inputs any more.
        self.stop.cancel();
        match left_over {
            Some(inputs) => count(inputs).await,
            None => (0, true),
        }
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
