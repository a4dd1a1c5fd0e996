//! From inputs to invocations: what the strategy of a stage takes from.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, ready};

use falco_core::{Error, Event, Input, Invocation, Monitor, Result, RunId};
use futures_core::Stream;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::control::{Inputs, StageControl};
use super::guard::guard;
use super::ids::IdSet;
use super::recall::Recall;
use super::stage_spec::StageSpec;

/// The invocations of a stage, made of its inputs. It ends with the inputs, with the first that is wrong, or when the
/// stage stops; what it has not taken by then goes back to the [`StageControl`].
pub(super) struct Invocations {
    inputs: Option<Inputs>,
    run: RunId,
    idempotent: bool,
    ids: IdSet,
    monitor: Arc<dyn Monitor>,
    control: Arc<StageControl>,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    recall: Option<Recall>,
}

impl Invocations {
    pub(super) fn new(
        inputs: Inputs,
        run: RunId,
        stage: &StageSpec,
        monitor: Arc<dyn Monitor>,
        control: Arc<StageControl>,
    ) -> Self {
        let stopped = Box::pin(control.stop.clone().cancelled_owned());
        let ids = IdSet::new();
        Self {
            inputs: Some(inputs),
            run,
            idempotent: stage.idempotent,
            ids,
            monitor,
            control,
            stopped,
            recall: None,
        }
    }

    /// Asks a journal about each invocation.
    pub(super) fn with_recall(mut self, recall: Recall) -> Self {
        self.recall = Some(recall);
        self
    }

    /// The invocation of an input; none for one that an earlier process has completed.
    fn admit(&mut self, input: Input) -> Result<Option<Invocation>> {
        let stage = &self.control.stage;
        input.payload.check_argument(None).map_err(|error| {
            error.context(format_args!("input {:?} of stage {stage:?}", input.id))
        })?;
        if !self.ids.insert(input.id.as_str()) {
            return Err(Error::invalid_input(format!(
                "two invocations of stage {stage:?} have the id {:?}",
                input.id
            ))
            .with_hint("ids have to be unique within a stage"));
        }
        let mut invocation =
            Invocation::new(self.run.clone(), stage.clone(), input.id, input.payload)
                .with_idempotent(self.idempotent)
                .with_result_read(self.control.results_are_read);
        if let Some(recall) = &mut self.recall {
            invocation = match recall.ask(invocation)? {
                Ok(invocation) => invocation,
                Err(completion) => {
                    self.control.entered.fetch_add(1, SeqCst);
                    let _ = self.monitor.event(&Event::Recalled { completion: &completion });
                    recall.hand_over(completion);
                    return Ok(None);
                }
            };
        }
        self.control.entered.fetch_add(1, SeqCst);
        Ok(Some(invocation.with_monitor(self.monitor.clone())))
    }

    /// Ends admission; the inputs that are left go back.
    fn end(&mut self) {
        let left_over = self.inputs.take();
        // The consumer learns that no more are recalled.
        self.recall = None;
        self.control.return_inputs(left_over);
    }

    fn fail(&mut self, error: Error) {
        self.control.fail(error);
        self.end();
    }
}

impl Stream for Invocations {
    type Item = Invocation;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Invocation>> {
        let this = &mut *self;
        loop {
            // Polled first, so that a strategy that waits for an input only wakes when the stage stops.
            if this.control.stop.is_cancelled() || this.stopped.as_mut().poll(cx).is_ready() {
                this.end();
                return Poll::Ready(None);
            }
            let Some(inputs) = &mut this.inputs else { return Poll::Ready(None) };
            if let Some(recall) = &mut this.recall
                && ready!(recall.poll_ready(cx)).is_err()
            {
                this.end();
                return Poll::Ready(None);
            }
            let what = || format!("the input stream of stage {:?}", this.control.stage);
            match guard(what, || inputs.as_mut().poll_next(cx)) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(None)) => {
                    this.control.exhausted.store(true, SeqCst);
                    this.inputs = None;
                    this.end();
                    return Poll::Ready(None);
                }
                Ok(Poll::Ready(Some(Ok(input)))) => match this.admit(input) {
                    Ok(Some(invocation)) => return Poll::Ready(Some(invocation)),
                    Ok(None) => {}
                    Err(error) => {
                        // It was taken from the inputs and did not enter.
                        this.control.recorder.skipped(1, false);
                        this.fail(error);
                        return Poll::Ready(None);
                    }
                },
                Ok(Poll::Ready(Some(Err(error)))) => {
                    this.fail(error);
                    return Poll::Ready(None);
                }
                Err(panic) => {
                    this.inputs = None;
                    this.fail(panic);
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, most) = self.inputs.as_ref().map_or((0, Some(0)), Stream::size_hint);
        // Those that an earlier process has completed do not come.
        (if self.recall.is_some() { 0 } else { least }, most)
    }
}

impl Drop for Invocations {
    fn drop(&mut self) {
        self.end();
    }
}
