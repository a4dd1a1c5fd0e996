//! The outcome of an invocation.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::activation::{Activation, UsDollars};
use crate::error::Error;
use crate::id::{InvocationId, RunId, StageName};
use crate::payload::Payload;

/// The outcome of an invocation: exactly one for each that entered an execution strategy.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Completion {
    /// The run.
    pub run: RunId,
    /// The stage.
    pub stage: StageName,
    /// The invocation.
    pub invocation: InvocationId,
    /// The function's argument; empty in a completion that was stored.
    #[serde(skip, default = "Payload::empty")]
    pub input: Payload,
    /// The outcome.
    pub outcome: Outcome,
    /// Attempts that were made, speculative copies included; 0 when it was cancelled before it was sent.
    pub attempts: u32,
    /// When the strategy took it in, by the driver's clock.
    #[serde(with = "crate::unix_time")]
    pub requested_at: SystemTime,
    /// From being taken in until the answer of the last attempt, by the driver's clock.
    pub latency: Duration,
    /// The cost of all its attempts, as far as the provider has reported it. Attempts that were given up are left out: an
    /// attempt that was lost, or the slower one of two copies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<UsDollars>,
}

/// The attempts that were made for an invocation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Attempts {
    /// How many were made, speculative copies included.
    pub made: u32,
    /// The cost of those that answered and were repeated, or answered second; as far as the provider has reported it.
    pub cost: Option<UsDollars>,
}

impl Attempts {
    /// This many attempts, speculative copies included. The cost of discarded ones is not set.
    pub fn new(made: u32) -> Self {
        Self { made, cost: None }
    }

    crate::setters! {
        /// Sets the cost of the attempts that answered and were repeated, or that answered second.
        with_cost(cost: Option<UsDollars>);
    }

    /// Adds the cost of an activation that will not be the outcome.
    pub fn discard(&mut self, activation: &Activation) {
        self.cost = sum(self.cost, activation.cost);
    }
}

fn sum(one: Option<UsDollars>, other: Option<UsDollars>) -> Option<UsDollars> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one + other),
        (one, other) => one.or(other),
    }
}

impl Completion {
    /// A completion after one attempt. Outside of this crate [`Invocation::complete`](crate::Invocation::complete) makes
    /// completions, so that the monitor sees each of them.
    pub(crate) fn new(
        run: RunId,
        stage: StageName,
        invocation: InvocationId,
        outcome: Outcome,
        requested_at: SystemTime,
        latency: Duration,
    ) -> Self {
        let cost = outcome.activation().and_then(|activation| activation.cost);
        Self {
            run,
            stage,
            invocation,
            input: Payload::empty(),
            outcome,
            attempts: 1,
            requested_at,
            latency,
            cost,
        }
    }

    /// Sets the function's argument.
    #[must_use]
    pub fn with_input(mut self, input: Payload) -> Self {
        self.input = input;
        self
    }

    /// Sets the attempts that were made, and adds what they cost.
    #[must_use]
    pub(crate) fn with_attempts(mut self, attempts: Attempts) -> Self {
        self.attempts = attempts.made;
        self.cost = sum(attempts.cost, self.cost);
        self
    }

    /// The function's result, when it succeeded.
    pub fn result(&self) -> Option<&Payload> {
        self.outcome.activation()?.outcome.as_ref().ok()
    }

    /// Whether the function returned a result.
    pub fn is_success(&self) -> bool {
        matches!(self.outcome, Outcome::Succeeded(_))
    }
}

/// The ways in which an invocation ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// The function returned a result.
    Succeeded(Activation),
    /// The function ran and failed; the activation's outcome is the error.
    FunctionFailed(Activation),
    /// The platform did not run it.
    PlatformFailed(Error),
    /// Nobody can know whether it ran, and it must not be sent again: it is not idempotent, or nothing is left
    /// to try.
    Unknown(Error),
    /// The run, or the stage's first failure, stopped it after it was taken in.
    Cancelled,
    /// The stage's deadline passed.
    DeadlineExceeded,
}

impl Outcome {
    /// The outcome that an activation is.
    pub fn from_activation(activation: Activation) -> Self {
        if activation.is_success() {
            Self::Succeeded(activation)
        } else {
            Self::FunctionFailed(activation)
        }
    }

    /// The outcome that a failed call is: unknown where the function may have run.
    pub fn from_error(error: Error) -> Self {
        if error.may_have_run() { Self::Unknown(error) } else { Self::PlatformFailed(error) }
    }

    /// The provider's report of the run, if it ran to an end.
    pub fn activation(&self) -> Option<&Activation> {
        match self {
            Self::Succeeded(activation) | Self::FunctionFailed(activation) => Some(activation),
            _ => None,
        }
    }

    /// The outcome in one or two lower-case words, for logs and tables.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Succeeded(_) => "succeeded",
            Self::FunctionFailed(_) => "function failed",
            Self::PlatformFailed(_) => "platform failed",
            Self::Unknown(_) => "unknown",
            Self::Cancelled => "cancelled",
            Self::DeadlineExceeded => "deadline exceeded",
        }
    }

    /// Why it did not succeed, in one line.
    pub fn failure(&self) -> Option<String> {
        match self {
            Self::Succeeded(_) => None,
            Self::FunctionFailed(activation) => {
                activation.outcome.as_ref().err().map(ToString::to_string)
            }
            Self::PlatformFailed(error) | Self::Unknown(error) => Some(error.to_string()),
            Self::Cancelled => Some("cancelled".to_owned()),
            Self::DeadlineExceeded => Some("the stage's deadline passed".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_call_that_may_have_run_ends_as_unknown() {
        for (kind, outcome) in
            [(ErrorKind::Timeout, "unknown"), (ErrorKind::Throttled, "platform failed")]
        {
            assert_eq!(Outcome::from_error(Error::new(kind, "x")).as_str(), outcome);
        }
    }

    #[test]
    fn a_completion_costs_what_its_attempts_and_its_outcome_cost() {
        let dollars = |amount| Some(UsDollars(amount));
        for (repeated, last, all) in [
            (None, None, None),
            (dollars(1.0), None, dollars(1.0)),
            (None, dollars(2.0), dollars(2.0)),
            (dollars(1.0), dollars(2.0), dollars(3.0)),
        ] {
            let mut activation = Activation::succeeded("a", Payload::empty());
            activation.cost = last;
            let outcome = Outcome::from_activation(activation);
            let now = SystemTime::UNIX_EPOCH;
            let completion = Completion::new(
                "run".into(),
                "stage".into(),
                "1".into(),
                outcome,
                now,
                Duration::ZERO,
            );
            let attempts = Attempts::new(2).with_cost(repeated);
            assert_eq!(completion.with_attempts(attempts).cost, all);
        }
    }
}
