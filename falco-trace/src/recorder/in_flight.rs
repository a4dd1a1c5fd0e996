//! The invocations in flight: attempts are put together from the events of their calls.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use falco_core::{
    Activation, AttemptReason, Completion, Error, Event, Invocation, InvocationId, StageName,
    WaitReason,
};

use super::flying::{End, Flying, Names, Try, kept, settle};
use super::hasher::Seeded;
use super::shared::Shared;
use crate::call::{CallError, CallOutcome, Why};
use crate::units::Micros;

/// Parts of the map with a lock each.
const SHARDS: usize = 16;

/// The invocations in flight.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    shards: [Mutex<Shard>; SHARDS],
    hasher: Seeded,
    waiting: AtomicI64,
}

/// The invocations of a part by their stage: nothing is copied to look one up.
#[derive(Debug, Default)]
struct Shard(Vec<(StageName, OfStage)>);

type OfStage = HashMap<InvocationId, Flying, Seeded>;

impl Shard {
    /// The place of a stage. The newest stages are looked at first, since a run may have had thousands.
    fn place(&self, stage: &StageName) -> Option<usize> {
        self.0.iter().rposition(|(name, _)| name == stage)
    }

    fn get_mut(&mut self, names: Names<'_>) -> Option<&mut Flying> {
        let place = self.place(names.stage)?;
        self.0[place].1.get_mut(names.id)
    }

    fn remove(&mut self, names: Names<'_>) -> Option<Flying> {
        let place = self.place(names.stage)?;
        self.0[place].1.remove(names.id)
    }

    fn insert(&mut self, names: Names<'_>, flying: Flying, hasher: Seeded) {
        let place = self.place(names.stage).unwrap_or_else(|| {
            // Stages that are over make room.
            self.0.retain(|(_, of_stage)| !of_stage.is_empty());
            self.0.push((names.stage.clone(), HashMap::with_hasher(hasher)));
            self.0.len() - 1
        });
        self.0[place].1.insert(names.id.clone(), flying);
    }
}

impl InFlight {
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            lock(shard).0.clear();
        }
        self.waiting.store(0, Relaxed);
    }

    /// All in flight, and those that wait.
    pub(super) fn counts(&self) -> (u64, u64) {
        let waiting = self.waiting.load(Relaxed).max(0);
        (self.count(|_| true), waiting as u64)
    }

    pub(super) fn count_of(&self, stage: &str) -> u64 {
        self.count(|name| name == stage)
    }

    fn count(&self, takes: impl Fn(&StageName) -> bool) -> u64 {
        let of_shard = |shard: &Shard| -> usize {
            shard.0.iter().filter(|(name, _)| takes(name)).map(|(_, of_stage)| of_stage.len()).sum()
        };
        self.shards.iter().map(|shard| of_shard(&lock(shard)) as u64).sum()
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
        let names = Names::of(invocation);
        let flying = Flying { at: now, ..Flying::default() };
        self.shard(names.id).insert(names, flying, self.hasher);
    }

    fn attempt(&self, invocation: &Invocation, reason: AttemptReason, shared: &Shared) {
        let now = shared.now();
        let names = Names::of(invocation);
        let (at, ended) = {
            let mut shard = self.shard(names.id);
            let Some(flying) = shard.get_mut(names) else { return };
            self.set_waiting(flying, false);
            let attempt = invocation.attempt();
            let same = flying.tries.iter().filter(|it| it.attempt == attempt);
            let calls_before = same.map(|it| it.call).max().unwrap_or_default();
            // A call that has ended, and that another one follows, did not settle the invocation.
            let ended = flying.tries.take_ended();
            flying.recorded += ended.len() as u64;
            let is_first = flying.recorded == 0 && flying.tries.len() == 0;
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
            shared.emit_call(attempt.into_call(names, at));
        }
    }

    fn waits(&self, invocation: &Invocation, waits: bool) {
        let names = Names::of(invocation);
        if let Some(flying) = self.shard(names.id).get_mut(names) {
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
        let now = shared.now();
        let names = Names::of(invocation);
        let mut shard = self.shard(names.id);
        let Some(flying) = shard.get_mut(names) else { return };
        let (at, races) = (flying.at, flying.tries.len() > 1);
        let Some(attempt) = flying.tries.of(invocation.attempt()) else { return };
        if activation.is_success() && !races {
            attempt.end = Some(End::Succeeded(now));
            return;
        }
        let outcome = if activation.is_success() { CallOutcome::Ok } else { CallOutcome::Function };
        let mut call = attempt.call(names, at, now, outcome);
        call.describe(activation, shared.started_at());
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
        let names = Names { stage: &completion.stage, id: &completion.invocation };
        let flying = self.shard(names.id).remove(names);
        let flying = match flying {
            Some(mut flying) => {
                self.set_waiting(&mut flying, false);
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
        settle(names, flying, completion, shared);
    }

    fn on_try(&self, invocation: &Invocation, change: impl FnOnce(&mut Try)) {
        let names = Names::of(invocation);
        if let Some(flying) = self.shard(names.id).get_mut(names)
            && let Some(attempt) = flying.tries.of(invocation.attempt())
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

    fn shard(&self, id: &InvocationId) -> MutexGuard<'_, Shard> {
        // The map itself uses the bits at both ends.
        let place = (self.hasher.hash_one(id) >> 28) % SHARDS as u64;
        lock(&self.shards[place as usize])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
