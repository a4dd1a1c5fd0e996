//! One of the platforms of a spread.

use std::sync::Arc;

use falco_core::{AsyncPlatform, Deployment, Error, Invocation, Platform, Result};
use futures_util::future::BoxFuture;

use super::questions::Questions;
use crate::congestion::Gate;
use crate::door::{Place, Silence};
use crate::stack::Stack;

/// A method of a platform that sends an invocation.
pub(super) type Call<T> =
    for<'a> fn(&'a dyn AsyncPlatform, &'a Deployment, &'a Invocation) -> BoxFuture<'a, Result<T>>;

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
        let silence = Arc::new(Silence::default());
        let mut stack = stack.for_part(Place { name: self.name.clone(), silence: silence.clone() });
        if let Some(calls) = self.concurrency {
            stack = stack.with_max_concurrency(calls);
        }
        let gate = stack.gate(&self.platform.capabilities())?;
        let platform = stack.with_gate(gate.clone()).wrap(self.platform)?;
        let Self { name, weight, .. } = self;
        let questions = Questions::default();
        Ok(Member { name, platform, gate, weight, silence, questions })
    }
}

/// A part with its layers.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) platform: Arc<dyn AsyncPlatform>,
    pub(super) gate: Gate,
    pub(super) weight: f64,
    pub(super) questions: Questions,
    pub(super) silence: Arc<Silence>,
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
}
