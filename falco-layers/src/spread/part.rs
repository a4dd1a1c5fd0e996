//! One of the platforms of a spread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use falco_core::{AsyncPlatform, Deployment, Error, ErrorKind, Invocation, Platform, Result};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::questions::Questions;
use crate::congestion::Gate;
use crate::stack::Stack;

/// A method of a platform that sends an invocation.
pub(super) type Call<T> =
    for<'a> fn(&'a dyn AsyncPlatform, &'a Deployment, &'a Invocation) -> BoxFuture<'a, Result<T>>;

/// The first and the longest time for which a part that does not answer is left alone.
const FIRST_REST: Duration = Duration::from_millis(500);
const LONGEST_REST: Duration = Duration::from_secs(10);
/// The room of a part without limits.
const PLENTY: i64 = i64::MAX / 2;

/// One of the platforms of a [`Spread`](super::Spread).
#[derive(Clone, Debug)]
pub struct Part {
    pub(super) name: String,
    platform: Arc<dyn AsyncPlatform>,
    weight: f64,
    concurrency: Option<u32>,
}

impl Part {
    /// A platform without layers, by its own name.
    pub fn new(platform: impl AsyncPlatform) -> Self {
        let name = platform.name().to_owned();
        Self { name, platform: Arc::new(platform), weight: 1.0, concurrency: None }
    }

    /// Names it, which distinguishes two accounts or regions of one provider.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets its share in relation to the other parts, for [`Share::Weight`](super::Share::Weight); 1 without it.
    #[must_use]
    pub fn with_weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// Has no more than `calls` invocations in flight there.
    #[must_use]
    pub fn with_concurrency(mut self, calls: u32) -> Self {
        self.concurrency = Some(calls);
        self
    }

    pub(super) fn validate(&self) -> Result<()> {
        let Self { name, weight, .. } = self;
        if !(*weight > 0.0 && weight.is_finite()) {
            return Err(Error::invalid_input(format!(
                "invalid weight {weight} of platform {name:?}: use a number above 0"
            )));
        }
        if name.is_empty() || name.contains('/') {
            return Err(Error::invalid_input(format!(
                "invalid name {name:?} of a platform in a spread: use one or more characters without '/'"
            )));
        }
        Ok(())
    }

    /// Puts its layers around it.
    pub(super) fn connect(self, stack: &Stack) -> Result<Member> {
        let mut stack = stack.for_part(&self.name);
        if let Some(calls) = self.concurrency {
            stack = stack.with_max_concurrency(calls);
        }
        let gate = stack.gate(&self.platform.capabilities())?;
        let holds_calls = stack.holds_calls();
        let platform = stack.with_gate(gate.clone()).wrap(self.platform)?;
        let Self { name, weight, .. } = self;
        let (silence, questions) = (Mutex::default(), Questions::default());
        Ok(Member { name, platform, gate, weight, holds_calls, silence, questions })
    }
}

/// A part with its layers.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) platform: Arc<dyn AsyncPlatform>,
    pub(super) gate: Gate,
    pub(super) weight: f64,
    /// Whether its submissions are calls that are held open: accepting one says nothing about the platform.
    pub(super) holds_calls: bool,
    pub(super) questions: Questions,
    silence: Mutex<Option<Silence>>,
}

/// A time in which a part does not answer.
#[derive(Clone, Copy, Debug)]
struct Silence {
    /// Until when it is left alone, and for how long it was last.
    until: Instant,
    pause: Duration,
    /// Since when it could not be asked for results.
    uncollected: Option<Instant>,
}

impl Member {
    /// How many more calls its congestion control would let through at once.
    pub(super) fn room(&self) -> i64 {
        let state = self.gate.state();
        if state.paused.is_some() {
            return 0;
        }
        let limit = state.allowance.concurrency.map_or(PLENTY, |limit| i64::from(limit.max(1)));
        limit - i64::from(state.in_flight) - i64::from(state.waiting)
    }

    pub(super) fn is_resting(&self) -> bool {
        self.silence().is_some_and(|silence| Instant::now() < silence.until)
    }

    /// Whether nothing has been heard since it did not answer.
    pub(super) fn is_silent(&self) -> bool {
        self.silence().is_some()
    }

    /// Takes note that it was chosen for a call. Where it has not answered, this call alone tries whether it is back.
    pub(super) fn chosen(&self) {
        let now = Instant::now();
        if let Some(silence) = self.silence().as_mut().filter(|silence| silence.until <= now) {
            silence.pause = (silence.pause * 2).min(LONGEST_REST);
            silence.until = now + silence.pause;
        }
    }

    /// Reads from an outcome whether it answers; `is_answer` says whether a success shows that.
    pub(super) fn hear<T>(&self, outcome: &Result<T>, is_answer: impl FnOnce(&T) -> bool) {
        match outcome {
            Ok(value) if is_answer(value) => *self.silence() = None,
            Ok(_) => {}
            Err(error) => self.hear_error(error),
        }
    }

    /// Reads from a failure whether it answers.
    pub(super) fn hear_error(&self, error: &Error) {
        let mut silence = self.silence();
        match error.kind() {
            // A function's own timeout was over: a platform that works would have answered.
            _ if error.is_unreachable() || error.kind() == ErrorKind::Timeout => {
                let now = Instant::now();
                let silence = silence.get_or_insert(Silence {
                    until: now + FIRST_REST,
                    pause: FIRST_REST,
                    uncollected: None,
                });
                // All that are cut off together count as one. A call that has tried whether it is back may have taken long.
                if silence.until <= now {
                    silence.until = now + silence.pause;
                }
            }
            ErrorKind::Unauthorized
            | ErrorKind::Forbidden
            | ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::Throttled
            | ErrorKind::Unavailable => *silence = None,
            // It may come from this side.
            _ => {}
        }
    }

    /// Takes note that it could not be asked for results; for how long it could not.
    pub(super) fn could_not_be_asked(&self) -> Duration {
        let mut silence = self.silence();
        let Some(silence) = silence.as_mut() else { return Duration::ZERO };
        silence.uncollected.get_or_insert_with(Instant::now).elapsed()
    }

    fn silence(&self) -> MutexGuard<'_, Option<Silence>> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
