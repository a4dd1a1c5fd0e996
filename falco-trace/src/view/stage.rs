//! The aggregates of one stage.

use std::collections::BTreeMap;

use super::distribution::Distribution;
use super::failures::FailedCall;
use super::heat::{Class, HeatMap};
use super::series::Series;
use super::slowest::rank;
use crate::call::{Call, CallOutcome, Why};
use crate::record::{EndRecord, LogRecord, SettledRecord};
use crate::units::{Micros, Picodollars};

/// How many failed calls of a stage are listed.
const LISTED: usize = 100;

/// The kind of error of a call that the platform refused for its rate or concurrency.
const THROTTLED: &str = "throttled";

/// The numbers of one stage.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct StageView {
    /// Its name.
    pub name: String,
    /// The stages that it follows.
    pub after: Vec<String>,
    /// The deployment that runs it.
    pub function: Option<String>,
    /// When it began.
    pub started: Option<Micros>,
    /// When it ended.
    pub ended: Option<Micros>,
    /// Why it did not succeed.
    pub error: Option<String>,
    /// The number of invocations, once it is known exactly or as a lower bound.
    pub sized: Option<u64>,
    /// Inputs that were not taken in.
    pub skipped: u64,
    /// Invocations by what came of them.
    pub counts: Counts,
    /// Invocations that an earlier process has completed; they are in the counts, too.
    pub recalled: u64,
    /// Calls, repeated ones and copies included.
    pub calls: u64,
    /// Calls that were made after the first one, by the reason.
    pub repeats: BTreeMap<Why, u64>,
    /// Calls that the platform refused for its rate or concurrency.
    pub throttled: u64,
    /// Calls for which an instance was started.
    pub cold_starts: u64,
    /// The cost of the calls, if the provider reports it for any.
    pub cost: Option<Picodollars>,
    /// The part of the cost of calls that did not settle their invocation: repeats, and the slower of two copies.
    pub cost_of_repeats: Picodollars,
    /// The cost of calls, by their outcome.
    pub costs: BTreeMap<CallOutcome, Costs>,
    /// Calls whose cost is an estimate.
    pub estimated: u64,
    /// From being taken in, or from the attempt's begin, until it was sent.
    pub limit: Distribution,
    /// How long the provider kept calls waiting.
    pub queue: Distribution,
    /// How long instances took to start.
    pub cold_start: Distribution,
    /// How long functions ran.
    pub execution: Distribution,
    /// The rest of the time from sending to the answer: the way there and back.
    pub transport: Distribution,
    /// From being taken in until the answer of the last attempt, one for each invocation that was not cancelled.
    pub total: Distribution,
    /// Calls by when they were sent and how long they took.
    pub heat: HeatMap,
    /// Invocations that were settled, along the time.
    pub settled: Series,
    /// Invocations that failed, along the time.
    pub failed: Series,
    /// Calls that were throttled, along the time.
    pub refused: Series,
    /// Failed calls by the kind of the error, without those that were throttled and sent again.
    pub kinds: BTreeMap<String, u64>,
    /// The first 100 failed calls.
    pub failures: Vec<FailedCall>,
    /// The 50 slowest invocations, slowest first.
    pub slowest: Vec<Call<'static>>,
}

/// The cost of calls with one outcome, by the reason why they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Costs {
    /// The calls whose cost is known.
    pub calls: u64,
    /// The cost of those that were the first of their invocation.
    pub first: Picodollars,
    /// The cost of those that repeated one that had failed or was lost.
    pub repeats: Picodollars,
    /// The cost of copies of slow ones.
    pub copies: Picodollars,
}

impl Costs {
    /// The cost of all of them.
    pub fn sum(&self) -> Picodollars {
        let mut sum = self.first;
        sum.add(self.repeats);
        sum.add(self.copies);
        sum
    }
}

impl std::ops::Add for Costs {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self.calls += other.calls;
        self.first.add(other.first);
        self.repeats.add(other.repeats);
        self.copies.add(other.copies);
        self
    }
}

/// Invocations by what came of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; CallOutcome::ALL.len()]);

impl Counts {
    /// Those with this outcome.
    pub fn of(&self, outcome: CallOutcome) -> u64 {
        self.0[outcome as usize]
    }

    /// Those that succeeded.
    pub fn succeeded(&self) -> u64 {
        self.of(CallOutcome::Ok)
    }

    /// Those that somebody should look at.
    pub fn failed(&self) -> u64 {
        CallOutcome::ALL.into_iter().filter(|it| it.is_failure()).map(|it| self.of(it)).sum()
    }

    /// All that have ended.
    pub fn ended(&self) -> u64 {
        self.0.iter().sum()
    }

    fn add(&mut self, outcome: CallOutcome) {
        self.0[outcome as usize] += 1;
    }
}

/// How far a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StageState {
    /// It has not begun.
    Waiting,
    /// It has begun and not ended.
    Running,
    /// It has ended, and every invocation succeeded.
    Succeeded,
    /// It has ended with an error.
    Failed,
}

impl StageState {
    /// The state in a lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

impl StageView {
    pub(super) fn new(name: String, after: Vec<String>) -> Self {
        Self { name, after, ..Self::default() }
    }

    /// How far it is.
    pub fn state(&self) -> StageState {
        match (self.started, self.ended, &self.error) {
            (_, Some(_), None) => StageState::Succeeded,
            (_, Some(_), Some(_)) => StageState::Failed,
            (Some(_), None, _) => StageState::Running,
            (None, None, _) if self.calls > 0 => StageState::Running,
            (None, None, _) => StageState::Waiting,
        }
    }

    /// The calls that failed and are not listed.
    pub fn failures_not_listed(&self) -> u64 {
        self.kinds.values().sum::<u64>() - self.failures.len() as u64
    }

    pub(super) fn end(&mut self, end: &EndRecord) {
        self.ended = Some(end.t);
        self.error.clone_from(&end.error);
    }

    pub(super) fn call(&mut self, call: &Call<'_>) {
        self.calls += 1;
        if let Some(why) = call.why {
            *self.repeats.entry(why).or_default() += 1;
        }
        let sent = call.sent_at();
        self.limit.record(sent.since(call.begun_at()));
        let parts = [
            (&mut self.queue, call.queue),
            (&mut self.cold_start, call.init),
            (&mut self.execution, call.ran),
        ];
        let mut known = Micros(0);
        for (distribution, time) in parts {
            if let Some(time) = time {
                distribution.record(time);
                known.0 += time.0;
            }
        }
        if call.ran.is_some() {
            self.transport.record(call.done.since(sent).since(known));
        }
        self.cold_starts += u64::from(call.cold == Some(true));
        if let Some(cost) = call.cost {
            self.cost.get_or_insert_default().add(cost);
            if !call.last {
                self.cost_of_repeats.add(cost);
            }
            let costs = self.costs.entry(call.outcome).or_default();
            costs.calls += 1;
            match call.why {
                None => costs.first.add(cost),
                Some(Why::Copy) => costs.copies.add(cost),
                Some(_) => costs.repeats.add(cost),
            }
        }
        self.estimated += u64::from(call.estimated);
        let class = match (call.outcome, call.cold) {
            (CallOutcome::Ok, Some(true)) => Class::Cold,
            (CallOutcome::Ok | CallOutcome::Cancelled | CallOutcome::Abandoned, _) => Class::Warm,
            _ => Class::Failed,
        };
        self.heat.record(sent, call.done.since(sent), class);
        if let Some(error) = &call.error {
            let is_throttled = error.kind == THROTTLED;
            if is_throttled {
                self.throttled += 1;
                self.refused.count(call.done);
            }
            // Thousands that were refused and sent again would hide those that failed.
            if call.last || !is_throttled {
                self.note_failure(call, &error.kind);
            }
        }
        if call.last {
            self.settle(call.outcome, call.done);
            rank(&mut self.slowest, call);
            if call.outcome != CallOutcome::Cancelled {
                self.total.record(call.done.since(call.at));
            }
        }
    }

    pub(super) fn settled(&mut self, settled: &SettledRecord<'_>) {
        self.recalled += u64::from(settled.recalled);
        self.settle(settled.o, settled.t);
    }

    pub(super) fn log(&mut self, log: &LogRecord) {
        let is_of =
            |failure: &&mut FailedCall| failure.call.activation.as_deref() == Some(&*log.id);
        if let Some(failure) = self.failures.iter_mut().find(is_of) {
            failure.log = Some(log.clone());
        }
    }

    fn settle(&mut self, outcome: CallOutcome, time: Micros) {
        self.counts.add(outcome);
        self.settled.count(time);
        if outcome.is_failure() {
            self.failed.count(time);
        }
    }

    fn note_failure(&mut self, call: &Call<'_>, kind: &str) {
        match self.kinds.get_mut(kind) {
            Some(count) => *count += 1,
            None => {
                self.kinds.insert(kind.to_owned(), 1);
            }
        }
        if self.failures.len() < LISTED {
            let call = call.clone().into_owned();
            self.failures.push(FailedCall { call, log: None });
        }
    }
}
