//! One invocation in flight: its calls, and the records that they become.

use falco_core::{Activation, Completion, Invocation, InvocationId, StageName};

use super::shared::Shared;
use crate::call::{Call, CallError, CallOutcome, Why};
use crate::record::{Record, SettledRecord};
use crate::units::{Micros, Picodollars};

/// The names of an invocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub(super) stage: &'a StageName,
    pub(super) id: &'a InvocationId,
}

impl<'a> Names<'a> {
    pub(super) fn of(invocation: &'a Invocation) -> Self {
        Self { stage: invocation.stage(), id: invocation.id() }
    }
}

/// An invocation in flight.
#[derive(Debug, Default)]
pub(super) struct Flying {
    pub(super) at: Micros,
    pub(super) tries: Tries,
    /// Calls that have ended and been recorded.
    pub(super) recorded: u64,
    pub(super) is_waiting: bool,
}

/// The calls that are not recorded yet, oldest first. Nearly every invocation has one, for which nothing is allocated.
#[derive(Debug, Default)]
pub(super) struct Tries {
    before: Vec<Try>,
    newest: Option<Try>,
}

/// A call.
#[derive(Debug)]
pub(super) struct Try {
    pub(super) attempt: u32,
    pub(super) call: u32,
    pub(super) why: Option<Why>,
    pub(super) begun: Micros,
    pub(super) sent: Micros,
    pub(super) accepted: Option<Micros>,
    pub(super) end: Option<End>,
}

/// The end of a call.
#[derive(Debug)]
pub(super) enum End {
    /// Its completion holds the activation.
    Succeeded(Micros),
    /// Described here, since another attempt may follow.
    Answered(Box<Call<'static>>),
    Failed(Micros, Box<CallError>, CallOutcome),
}

impl Tries {
    pub(super) fn push(&mut self, next: Try) {
        self.before.extend(self.newest.replace(next));
    }

    pub(super) fn len(&self) -> usize {
        self.before.len() + usize::from(self.newest.is_some())
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Try> {
        self.before.iter().chain(&self.newest)
    }

    fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Try> {
        self.before.iter_mut().chain(&mut self.newest)
    }

    /// The newest call of an attempt.
    pub(super) fn of(&mut self, attempt: u32) -> Option<&mut Try> {
        self.iter_mut().rev().find(|it| it.attempt == attempt)
    }

    /// Takes out those that have ended.
    pub(super) fn take_ended(&mut self) -> Vec<Try> {
        // Nearly every invocation has one call only, and none before it.
        if self.len() == 0 {
            return Vec::new();
        }
        let mut ended: Vec<Try> = self.before.extract_if(.., |it| it.end.is_some()).collect();
        ended.extend(self.newest.take_if(|it| it.end.is_some()));
        ended
    }

    /// Takes out the one that settled the invocation: the one with this activation, else one that ended like it, else one
    /// that is still open.
    fn take_settling(
        &mut self,
        outcome: CallOutcome,
        activation: Option<&Activation>,
    ) -> Option<Try> {
        let newest = self.len().checked_sub(1);
        let place = match (activation, outcome) {
            (Some(activation), _) => {
                let id = activation.id.as_str();
                let is_it = |it: &Try| match &it.end {
                    Some(End::Answered(call)) => call.activation.as_deref() == Some(id),
                    Some(End::Succeeded(_)) => true,
                    _ => false,
                };
                self.iter().position(is_it).or(newest)
            }
            // Stopped in the middle of a call, or between two.
            (None, CallOutcome::Cancelled | CallOutcome::Deadline) => {
                self.last_place(|it| it.end.is_none())
            }
            (None, _) => self.last_place(|it| matches!(it.end, Some(End::Failed(..)))).or(newest),
        }?;
        if place < self.before.len() { Some(self.before.remove(place)) } else { self.newest.take() }
    }

    fn last_place(&self, is_it: impl Fn(&Try) -> bool) -> Option<usize> {
        let found = self.iter().enumerate().filter(|(_, it)| is_it(it)).last();
        found.map(|(place, _)| place)
    }

    fn into_all(self) -> impl Iterator<Item = Try> {
        self.before.into_iter().chain(self.newest)
    }
}

impl Try {
    /// The only call that is known of an invocation.
    pub(super) fn whole(at: Micros, done: Micros, completion: &Completion) -> Self {
        let attempt = completion.attempts.max(1);
        let end = match &completion.outcome {
            falco_core::Outcome::PlatformFailed(error) | falco_core::Outcome::Unknown(error) => {
                let outcome = CallOutcome::of(&completion.outcome);
                End::Failed(done, Box::new(CallError::of_call(error)), outcome)
            }
            outcome => End::given_up(done, CallOutcome::of(outcome)),
        };
        Self { attempt, call: 1, why: None, begun: at, sent: at, accepted: None, end: Some(end) }
    }

    #[inline]
    pub(super) fn call<'a>(
        &self,
        names: Names<'a>,
        at: Micros,
        done: Micros,
        outcome: CallOutcome,
    ) -> Call<'a> {
        let mut call = Call::new(names.stage.as_str(), names.id.as_str(), at, done, outcome);
        call.attempt = self.attempt;
        call.call = self.call;
        call.why = self.why;
        call.begun = (self.begun > at).then_some(self.begun);
        call.sent = (self.sent > self.begun).then_some(self.sent);
        call.accepted = self.accepted;
        call
    }

    pub(super) fn into_call(mut self, names: Names<'_>, at: Micros) -> Call<'_> {
        match self.end.take() {
            Some(End::Answered(call)) => *call,
            Some(End::Failed(done, error, outcome)) => {
                let mut call = self.call(names, at, done, outcome);
                call.error = if error.kind.is_empty() { None } else { Some(*error) };
                call
            }
            Some(End::Succeeded(done)) => self.call(names, at, done, CallOutcome::Ok),
            None => self.call(names, at, self.sent, CallOutcome::Abandoned),
        }
    }
}

impl End {
    fn given_up(now: Micros, outcome: CallOutcome) -> Self {
        Self::Failed(now, Box::default(), outcome)
    }

    fn done(&self) -> Micros {
        match self {
            Self::Succeeded(done) | Self::Failed(done, ..) => *done,
            Self::Answered(call) => call.done,
        }
    }

    fn error(self) -> Option<CallError> {
        match self {
            Self::Failed(_, error, _) if !error.kind.is_empty() => Some(*error),
            _ => None,
        }
    }
}

/// Records what is left of an invocation: the attempt that settled it, and those that were given up.
pub(super) fn settle(
    names: Names<'_>,
    mut flying: Flying,
    completion: &Completion,
    shared: &Shared,
) {
    let outcome = CallOutcome::of(&completion.outcome);
    let had_several = flying.recorded > 0 || flying.tries.len() > 1;
    let activation = completion.outcome.activation();
    let last = flying.tries.take_settling(outcome, activation);
    let cost_of_all = completion.cost.filter(|_| had_several).map(Picodollars::from);
    for mut attempt in flying.tries.into_all() {
        let outcome = match &last {
            Some(_) => CallOutcome::Abandoned,
            None => outcome,
        };
        attempt.end.get_or_insert_with(|| End::given_up(shared.now(), outcome));
        shared.emit_call(attempt.into_call(names, flying.at));
    }
    let Some(mut attempt) = last else {
        shared.emit(&Record::Settled(SettledRecord {
            s: names.stage.as_str().into(),
            i: names.id.as_str().into(),
            at: flying.at,
            t: shared.now(),
            o: outcome,
            recalled: false,
            usd_all: cost_of_all,
        }));
        return;
    };
    let end = attempt.end.take().unwrap_or_else(|| End::given_up(shared.now(), outcome));
    let done = end.done();
    // Built once and changed in place: a call has hundreds of bytes, and a run has a million.
    let mut call = attempt.call(names, flying.at, done, outcome);
    match (end, activation) {
        (End::Answered(answered), _) => call = *answered,
        (end, Some(activation)) => {
            call.describe(activation, shared.started_at());
            call.error = match (activation.outcome.as_ref().err(), end) {
                (Some(error), _) => Some(kept(error, shared)),
                (None, End::Failed(_, error, _)) if outcome != CallOutcome::Ok => Some(*error),
                (None, _) => None,
            };
        }
        (end, None) => call.error = end.error(),
    }
    call.outcome = outcome;
    call.last = true;
    call.cost_of_all = cost_of_all;
    if call.error.is_none() && outcome.is_failure() {
        call.error = Some(CallError { kind: outcome.as_str().to_owned(), ..CallError::default() });
    }
    shared.emit_call(call);
}

/// The part of a function's error that the trace keeps.
pub(super) fn kept(error: &falco_core::FunctionError, shared: &Shared) -> CallError {
    let mut failure = CallError::of_function(error);
    if !shared.has_errors() {
        failure = failure.without_texts();
    } else if failure.trace.is_some() && !shared.may_keep_trace() {
        failure.trace = None;
    }
    failure
}
