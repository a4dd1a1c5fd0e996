//! The run: one stage, an invocation for each input.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use falco_core::{
    BoxStream, Completion, Deployable, Driver, ExecutionPlan, Input, InvocationId, Payload, Result,
    Stage, Verdict,
};
use futures_util::{Stream, StreamExt, stream};

use super::failures::Failures;
use super::results::{Results, Written};
use super::window::Window;
use crate::commands::inputs::Given;
use crate::commands::objects::with_out;

/// Shows a line beside progress.
pub(super) type Show = Box<dyn Fn(&str) + Send + Sync>;

/// One stage over inputs that are read as they are taken.
pub(super) struct Mapping {
    pub(super) function: Deployable,
    pub(super) idempotent: bool,
    pub(super) pure: bool,
    /// Whether an input that cannot be sent ends the run.
    pub(super) stops_on_failure: bool,
    /// How many inputs there are, where that is known.
    pub(super) count: Option<usize>,
    /// Taken by the run.
    pub(super) inputs: Mutex<Option<BoxStream<'static, Given>>>,
    /// The place that the function writes to, if it writes objects.
    pub(super) out: Option<falco_data::Sink>,
    pub(super) sink: Arc<Sink>,
}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapping").field("function", &self.function).finish_non_exhaustive()
    }
}

/// Where results and failures go.
pub(super) struct Sink {
    pub(super) window: Arc<Window>,
    pub(super) results: Mutex<Results>,
    pub(super) failures: Failures,
    pub(super) show: Show,
    /// Inputs that could not be sent.
    pub(super) invalid: AtomicU64,
    /// The results, where they name the objects that were written.
    pub(super) written: Option<Mutex<Vec<(InvocationId, Payload)>>>,
}

impl Sink {
    fn take(&self, completion: &Completion) -> Verdict {
        // The ids are the inputs' places.
        let place = completion.invocation.as_str().parse().unwrap_or_default();
        if let Some(line) = self.failures.completion(place + 1, completion) {
            (self.show)(&line);
        }
        if let (Some(written), Some(result)) = (&self.written, completion.result()) {
            let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
            written.push((completion.invocation.clone(), result.clone()));
        }
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.take(place, completion.result().cloned());
        let goes_on = !results.failed() && self.failures.error().is_none();
        if goes_on { Verdict::Continue } else { Verdict::Stop }
    }

    fn invalid(&self, place: u64, error: &falco_core::Error) {
        self.invalid.fetch_add(1, Relaxed);
        if let Some(line) = self.failures.invalid(place + 1, error) {
            (self.show)(&line);
        }
        self.results.lock().unwrap_or_else(PoisonError::into_inner).take(place, None);
    }

    /// The results that name objects, if functions wrote any.
    pub(super) fn written(&self) -> Vec<(InvocationId, Payload)> {
        let written = self.written.as_ref().map(|written| {
            std::mem::take(&mut *written.lock().unwrap_or_else(PoisonError::into_inner))
        });
        written.unwrap_or_default()
    }

    /// Waits until all results are written.
    pub(super) fn finish(&self) -> Written {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).finish()
    }
}

impl Driver for Mapping {
    fn name(&self) -> &str {
        &self.function.name
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let inputs = self.stream(inputs);
        let inputs = Mutex::new(Some(inputs));
        let stage = Stage::new(self.function.name.as_str(), self.function.clone(), move || {
            let inputs = inputs.lock().unwrap_or_else(PoisonError::into_inner).take();
            // A run opens its inputs once.
            inputs.unwrap_or_else(|| stream::empty().boxed())
        });
        ExecutionPlan::new(vec![match (self.pure, self.idempotent) {
            (true, _) => stage.pure(),
            (false, true) => stage.idempotent(),
            (false, false) => stage,
        }])
    }

    fn on_completion(&self, completion: &Completion) -> Verdict {
        self.sink.take(completion)
    }
}

impl Mapping {
    fn stream(
        &self,
        inputs: Option<BoxStream<'static, Given>>,
    ) -> BoxStream<'static, Result<Input>> {
        let Some(inputs) = inputs else { return stream::empty().boxed() };
        let (sink, stops, out) = (self.sink.clone(), self.stops_on_failure, self.out.clone());
        let inputs = stream::unfold((inputs, 0_u64), move |(mut inputs, mut place)| {
            let (sink, out) = (sink.clone(), out.clone());
            async move {
                loop {
                    sink.window.admit().await;
                    let given = match (inputs.next().await?, &out) {
                        (Given::Argument(payload), Some(out)) => {
                            let out = out.clone().numbered(place);
                            with_out(&payload, &out).map_or_else(Given::Invalid, Given::Argument)
                        }
                        (given, _) => given,
                    };
                    let input = match given {
                        Given::Argument(payload) => Ok(Input::numbered(place as usize, payload)),
                        Given::Broken(error) => Err(error),
                        Given::Invalid(error) if stops => Err(error),
                        Given::Invalid(error) => {
                            sink.invalid(place, &error);
                            place += 1;
                            continue;
                        }
                    };
                    return Some((input, (inputs, place + 1)));
                }
            }
        });
        Counted { inputs: inputs.boxed(), left: self.count }.boxed()
    }
}

/// A stream that knows how many inputs it has.
struct Counted {
    inputs: BoxStream<'static, Result<Input>>,
    left: Option<usize>,
}

impl Stream for Counted {
    type Item = Result<Input>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let input = self.inputs.poll_next_unpin(context);
        if let Poll::Ready(Some(_)) = input {
            self.left = self.left.map(|left| left.saturating_sub(1));
        }
        input
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.left)
    }
}
