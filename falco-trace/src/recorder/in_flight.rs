//! The invocations in flight: attempts are put together from the events of their calls.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use falco_core::{
    Activation, AttemptReason, Completion, Error, Event, Invocation, InvocationId, StageName,
    WaitReason,
};

use super::shared::Shared;
use crate::call::{Call, CallError, CallOutcome, Why};
use crate::record::{Record, SettledRecord};
use crate::units::{Micros, Picodollars};

/// Parts of the map with a lock each.
const SHARDS: usize = 16;

type Key = (StageName, InvocationId);

/// The invocations in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    shards: [Mutex<HashMap<Key, Flying>>; SHARDS],
    hasher: std::hash::RandomState,
    waiting: AtomicI64,
    stages: RwLock<Vec<(StageName, AtomicI64)>>,
}

impl Default for InFlight {
    fn default() -> Self {
        Self {
            shards: Default::default(),
            hasher: std::hash::RandomState::new(),
            waiting: AtomicI64::new(0),
            stages: RwLock::default(),
        }
    }
}

/// An invocation in flight.
#[derive(Debug, Default)]
struct Flying {
    at: Micros,
    tries: Vec<Try>,
    /// Calls that have ended and been recorded.
    recorded: u64,
    is_waiting: bool,
}

/// A call.
#[derive(Debug)]
struct Try {
    attempt: u32,
    call: u32,
    why: Option<Why>,
    begun: Micros,
    sent: Micros,
    accepted: Option<Micros>,
    end: Option<End>,
}

#[derive(Debug)]
enum End {
    /// Its completion holds the activation.
    Succeeded(Micros),
    /// Described here, since another attempt may follow.
    Answered(Box<Call<'static>>),
    Failed(Micros, Box<CallError>, CallOutcome),
}

impl InFlight {
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            lock(shard).clear();
        }
        self.waiting.store(0, Relaxed);
        self.stages.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// All in flight, and those that wait.
    pub(super) fn counts(&self) -> (u64, u64) {
        let stages = self.stages.read().unwrap_or_else(PoisonError::into_inner);
        let all: i64 = stages.iter().map(|(_, count)| count.load(Relaxed).max(0)).sum();
        let waiting = self.waiting.load(Relaxed).max(0);
        (all as u64, waiting as u64)
    }

    pub(super) fn count_of(&self, stage: &str) -> u64 {
        let stages = self.stages.read().unwrap_or_else(PoisonError::into_inner);
        let count = stages.iter().find(|(name, _)| name == stage);
        count.map_or(0, |(_, count)| count.load(Relaxed).max(0) as u64)
    }

    pub(super) fn event(&self, event: &Event<'_>, shared: &Shared) {
        match event {
            Event::Admitted { invocation } => self.admitted(invocation, shared.now()),
            Event::Attempt { invocation, reason } => self.attempt(invocation, *reason, shared),
            Event::Held { invocation, .. } => self.waits(invocation, true),
            Event::Waiting { invocation, reason, .. } => self.waited(invocation, *reason, shared),
            Event::Submitted { invocation, .. } => {
                let now = shared.now();
                self.on_try(invocation, |attempt| attempt.accepted = Some(now));
            }
            Event::Answered { invocation, activation } => {
                self.answered(invocation, activation, shared);
            }
            Event::CallFailed { invocation, error } => self.failed(invocation, error, shared),
            Event::Completed { completion } => self.completed(completion, shared),
            _ => {}
        }
    }

    fn admitted(&self, invocation: &Invocation, now: Micros) {
        let key = (invocation.stage().clone(), invocation.id().clone());
        let flying = Flying { at: now, tries: Vec::with_capacity(1), ..Flying::default() };
        if lock(self.shard(&key)).insert(key, flying).is_none() {
            self.count(invocation.stage(), 1);
        }
    }

    fn attempt(&self, invocation: &Invocation, reason: AttemptReason, shared: &Shared) {
        let now = shared.now();
        let key = (invocation.stage().clone(), invocation.id().clone());
        let (at, ended) = {
            let mut shard = lock(self.shard(&key));
            let Some(flying) = shard.get_mut(&key) else { return };
            self.set_waiting(flying, false);
            let attempt = invocation.attempt();
            let same = flying.tries.iter().filter(|it| it.attempt == attempt);
            let calls_before = same.map(|it| it.call).max().unwrap_or_default();
            // A call that has ended, and that another one follows, did not settle the invocation.
            let is_over = |it: &mut Try| it.end.is_some();
            let ended: Vec<Try> = flying.tries.extract_if(.., is_over).collect();
            flying.recorded += ended.len() as u64;
            let is_first = flying.recorded == 0 && flying.tries.is_empty();
            flying.tries.push(Try {
                attempt,
                call: calls_before + 1,
                why: Why::of(reason),
                begun: if is_first { flying.at } else { now },
                sent: now,
                accepted: None,
                end: None,
            });
            (flying.at, ended)
        };
        for attempt in ended {
            let call = attempt.into_call(&key, at);
            shared.emit(&Record::Call(Box::new(call)));
        }
    }

    fn waits(&self, invocation: &Invocation, waits: bool) {
        let key = (invocation.stage().clone(), invocation.id().clone());
        if let Some(flying) = lock(self.shard(&key)).get_mut(&key) {
            self.set_waiting(flying, waits);
        }
    }

    fn waited(&self, invocation: &Invocation, reason: WaitReason, shared: &Shared) {
        match reason {
            // A pause is reported when it begins; the others are over.
            WaitReason::BackOff => self.waits(invocation, true),
            WaitReason::Limit | WaitReason::Platform | WaitReason::Outage => {
                self.waits(invocation, false);
                let now = shared.now();
                self.on_try(invocation, |attempt| {
                    if attempt.end.is_none() {
                        attempt.sent = now;
                    }
                });
            }
            _ => self.waits(invocation, false),
        }
    }

    fn answered(&self, invocation: &Invocation, activation: &Activation, shared: &Shared) {
        let (now, start) = (shared.now(), shared.started_at());
        let key = (invocation.stage().clone(), invocation.id().clone());
        let mut shard = lock(self.shard(&key));
        let Some(flying) = shard.get_mut(&key) else { return };
        let (at, races) = (flying.at, flying.tries.len() > 1);
        let Some(attempt) = flying.of(invocation.attempt()) else { return };
        if activation.is_success() && !races {
            attempt.end = Some(End::Succeeded(now));
            return;
        }
        let outcome = if activation.is_success() { CallOutcome::Ok } else { CallOutcome::Function };
        let mut call = attempt.call(&key, at, now, outcome);
        call.describe(activation, start);
        call.error = activation.outcome.as_ref().err().map(|error| kept(error, shared));
        attempt.end = Some(End::Answered(Box::new(call.into_owned())));
    }

    fn failed(&self, invocation: &Invocation, error: &Error, shared: &Shared) {
        let now = shared.now();
        let mut failure = CallError::of_call(error);
        if !shared.has_errors() {
            failure = failure.without_texts();
        }
        let outcome =
            if error.may_have_run() { CallOutcome::Unknown } else { CallOutcome::Platform };
        self.on_try(invocation, |attempt| {
            attempt.end = Some(End::Failed(now, Box::new(failure), outcome));
        });
    }

    fn completed(&self, completion: &Completion, shared: &Shared) {
        let now = shared.now();
        let key = (completion.stage.clone(), completion.invocation.clone());
        let flying = lock(self.shard(&key)).remove(&key);
        let flying = match flying {
            Some(mut flying) => {
                self.set_waiting(&mut flying, false);
                self.count(&completion.stage, -1);
                flying
            }
            // The strategy reports nothing but completions.
            None => {
                let took = Micros::from(completion.latency);
                let at = Micros::between(shared.started_at(), completion.requested_at);
                let mut flying = Flying { at, ..Flying::default() };
                if completion.attempts > 0 {
                    flying.tries.push(Try::whole(at, Micros(at.0 + took.0), completion));
                }
                flying
            }
        };
        settle(&key, flying, completion, now, shared);
    }

    fn on_try(&self, invocation: &Invocation, change: impl FnOnce(&mut Try)) {
        let key = (invocation.stage().clone(), invocation.id().clone());
        if let Some(flying) = lock(self.shard(&key)).get_mut(&key)
            && let Some(attempt) = flying.of(invocation.attempt())
        {
            change(attempt);
        }
    }

    fn set_waiting(&self, flying: &mut Flying, waits: bool) {
        if flying.is_waiting != waits {
            flying.is_waiting = waits;
            self.waiting.fetch_add(if waits { 1 } else { -1 }, Relaxed);
        }
    }

    fn count(&self, stage: &StageName, change: i64) {
        {
            let stages = self.stages.read().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, count)) = stages.iter().find(|(name, _)| name == stage) {
                count.fetch_add(change, Relaxed);
                return;
            }
        }
        let mut stages = self.stages.write().unwrap_or_else(PoisonError::into_inner);
        match stages.iter().find(|(name, _)| name == stage) {
            Some((_, count)) => {
                count.fetch_add(change, Relaxed);
            }
            None => stages.push((stage.clone(), AtomicI64::new(change))),
        }
    }

    fn shard(&self, key: &Key) -> &Mutex<HashMap<Key, Flying>> {
        let hash = self.hasher.hash_one(key.1.as_str());
        &self.shards[(hash % SHARDS as u64) as usize]
    }
}

/// Records what is left of an invocation: the attempt that settled it, and those that were given up.
fn settle(key: &Key, mut flying: Flying, completion: &Completion, now: Micros, shared: &Shared) {
    let outcome = CallOutcome::of(&completion.outcome);
    let settling = flying.settling(outcome, completion.outcome.activation());
    let had_several = flying.recorded > 0 || flying.tries.len() > 1;
    let cost_of_all = completion.cost.filter(|_| had_several).map(Picodollars::from);
    let mut last = settling.map(|index| flying.tries.remove(index));
    for mut attempt in flying.tries.drain(..) {
        let outcome = match &last {
            Some(_) => CallOutcome::Abandoned,
            None => outcome,
        };
        attempt.end.get_or_insert_with(|| End::given_up(now, outcome));
        let call = attempt.into_call(key, flying.at);
        shared.emit(&Record::Call(Box::new(call)));
    }
    let Some(mut attempt) = last.take() else {
        let at = flying.at;
        shared.emit(&Record::Settled(SettledRecord {
            s: key.0.as_str().into(),
            i: key.1.as_str().into(),
            at,
            t: now,
            o: outcome,
            recalled: false,
            usd_all: cost_of_all,
        }));
        return;
    };
    let end = attempt.end.take().unwrap_or_else(|| End::given_up(now, outcome));
    let done = end.done();
    let activation = completion.outcome.activation();
    let mut call = match (end, activation) {
        (End::Answered(call), _) => *call,
        (end, Some(activation)) => {
            let mut call = attempt.call(key, flying.at, done, outcome);
            call.describe(activation, shared.started_at());
            call.error = match (activation.outcome.as_ref().err(), end) {
                (Some(error), _) => Some(kept(error, shared)),
                (None, End::Failed(_, error, _)) if outcome != CallOutcome::Ok => Some(*error),
                (None, _) => None,
            };
            call
        }
        (end, None) => {
            let mut call = attempt.call(key, flying.at, done, outcome);
            call.error = end.error();
            call
        }
    };
    call.outcome = outcome;
    call.last = true;
    call.cost_of_all = cost_of_all;
    if call.error.is_none() && outcome.is_failure() {
        call.error = Some(CallError { kind: outcome.as_str().to_owned(), ..CallError::default() });
    }
    shared.emit(&Record::Call(Box::new(call)));
}

fn kept(error: &falco_core::FunctionError, shared: &Shared) -> CallError {
    let mut failure = CallError::of_function(error);
    if !shared.has_errors() {
        failure = failure.without_texts();
    } else if failure.trace.is_some() && !shared.may_keep_trace() {
        failure.trace = None;
    }
    failure
}

impl Flying {
    /// The open call of an attempt.
    fn of(&mut self, attempt: u32) -> Option<&mut Try> {
        self.tries.iter_mut().rev().find(|it| it.attempt == attempt)
    }

    /// The call that settled the invocation: the one with this activation, else one that ended like it, else one that is
    /// still open.
    fn settling(&self, outcome: CallOutcome, activation: Option<&Activation>) -> Option<usize> {
        if let Some(activation) = activation {
            let id = activation.id.as_str();
            let is_it = |it: &Try| match &it.end {
                Some(End::Answered(call)) => call.activation.as_deref() == Some(id),
                Some(End::Succeeded(_)) => true,
                _ => false,
            };
            return self.tries.iter().position(is_it).or(self.tries.len().checked_sub(1));
        }
        match outcome {
            // Stopped in the middle of a call, or between two.
            CallOutcome::Cancelled | CallOutcome::Deadline => {
                self.tries.iter().rposition(|it| it.end.is_none())
            }
            _ => {
                let failed = |it: &Try| matches!(it.end, Some(End::Failed(..)));
                self.tries.iter().rposition(failed).or(self.tries.len().checked_sub(1))
            }
        }
    }
}

impl Try {
    /// The only call that is known of an invocation.
    fn whole(at: Micros, done: Micros, completion: &Completion) -> Self {
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

    fn call<'a>(&self, key: &'a Key, at: Micros, done: Micros, outcome: CallOutcome) -> Call<'a> {
        let mut call = Call::new(key.0.as_str(), key.1.as_str(), at, done, outcome);
        call.attempt = self.attempt;
        call.call = self.call;
        call.why = self.why;
        call.begun = (self.begun > at).then_some(self.begun);
        call.sent = (self.sent > self.begun).then_some(self.sent);
        call.accepted = self.accepted;
        call
    }

    fn into_call(mut self, key: &Key, at: Micros) -> Call<'_> {
        match self.end.take() {
            Some(End::Answered(call)) => *call,
            Some(End::Failed(done, error, outcome)) => {
                let mut call = self.call(key, at, done, outcome);
                call.error = if error.kind.is_empty() { None } else { Some(*error) };
                call
            }
            Some(End::Succeeded(done)) => self.call(key, at, done, CallOutcome::Ok),
            None => self.call(key, at, self.sent, CallOutcome::Abandoned),
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
