//! The bookkeeping of a budget: plain arithmetic.

use std::collections::HashMap;

use falco_core::{Activation, ActivationId, Prices, Scaling, StageName};

use super::amount::{Pico, dollars, pico};
use super::stage::StageEntry;

/// Expenses so far, and what is reserved.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) limit: Option<Pico>,
    /// How many invocations of each stage are sent before the others.
    pub(super) sample: u64,
    pub(super) spent: Pico,
    /// For what is in flight.
    pub(super) reserved: Pico,
    /// For calls whose end is not known: they may have cost as much.
    pub(super) in_doubt: Pico,
    /// How far the bill may be above what is spent and in doubt.
    pub(super) uncertainty: Pico,
    /// The upper bound of the call that could not be paid for.
    pub(super) refused: Option<Pico>,
    /// How often a call has ended: those who wait look again.
    pub(super) ends: u64,
    pub(super) pending: HashMap<ActivationId, Held>,
    /// In the order in which they begin.
    pub(super) stages: Vec<StageEntry>,
}

/// A reservation.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) stage: StageName,
    pub(super) amount: Pico,
    /// How far the bill of a whole timeout may be above the amount.
    pub(super) doubt: Pico,
    pub(super) inputs: u64,
    /// Whether the call is over.
    pub(super) is_settled: bool,
}

impl Held {
    /// A call of a stage on a function of this size, with so many inputs.
    pub(super) fn new(stage: StageName, prices: &Prices, size: &Scaling, inputs: u64) -> Self {
        let (amount, doubt) = (prices.upper_bound(size), prices.doubt_of_bound(size));
        Self { stage, amount: pico(amount), doubt: pico(doubt), inputs, is_settled: false }
    }
}

/// The outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settlement {
    /// It cost so much, or as much more as the second amount.
    Paid(Pico, Pico),
    /// It did not run.
    Free,
    /// Nobody knows.
    Unknown,
}

/// The settlement of a call that was answered, on a function of this size.
pub(super) fn paid(prices: &Prices, activation: &Activation, size: &Scaling) -> Settlement {
    match prices.bill(activation, size) {
        Some((cost, doubt)) => Settlement::Paid(pico(cost), pico(doubt)),
        None => Settlement::Unknown,
    }
}

/// Whether a call may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Granted,
    /// Until a call in flight is over.
    Wait,
    /// The budget is used up.
    Refused,
}

impl Ledger {
    pub(super) fn stage(&mut self, name: &StageName) -> &mut StageEntry {
        let at = match self.stages.iter().position(|stage| stage.name == *name) {
            Some(at) => at,
            None => {
                self.stages.push(StageEntry::new(name.clone()));
                self.stages.len() - 1
            }
        };
        &mut self.stages[at]
    }

    /// Whether `held` may be sent: reserves its amount if so.
    pub(super) fn admit(&mut self, held: &Held) -> Admission {
        if self.refused.is_some() {
            return Admission::Refused;
        }
        let sample = self.sample;
        let stage = self.stage(&held.stage);
        if stage.sent >= sample && stage.settled < sample {
            return Admission::Wait;
        }
        let committed = self.spent + self.in_doubt + self.reserved;
        if self.limit.is_some_and(|limit| committed + held.amount > limit) {
            if self.reserved > 0 {
                return Admission::Wait;
            }
            self.refused = Some(held.amount);
            self.ends += 1;
            return Admission::Refused;
        }
        self.reserve(held);
        Admission::Granted
    }

    /// Reserves without asking: it was sent already.
    pub(super) fn reserve(&mut self, held: &Held) {
        self.reserved += held.amount;
        self.stage(&held.stage).sent += held.inputs;
    }

    /// Reserves for an input that an earlier process sent, once for all inputs of a batch: they are one call.
    pub(super) fn reserve_sent(&mut self, id: &ActivationId, held: Held) {
        let call = id.member().map_or_else(|| id.clone(), |(batch, _)| batch);
        let Some(batch) = self.pending.get_mut(&call) else {
            self.reserve(&held);
            self.pending.insert(call, held);
            return;
        };
        let is_settled = batch.is_settled;
        if !is_settled {
            batch.inputs += held.inputs;
        }
        let stage = self.stage(&held.stage);
        stage.sent += held.inputs;
        if is_settled {
            stage.settled += held.inputs;
            self.ends += 1;
        }
    }

    pub(super) fn settle(&mut self, held: &Held, settlement: Settlement) {
        self.reserved -= held.amount;
        self.ends += 1;
        let spent = match settlement {
            Settlement::Paid(cost, more) => {
                self.uncertainty += more;
                self.spent += cost;
                cost
            }
            Settlement::Free => 0,
            Settlement::Unknown => {
                self.in_doubt += held.amount;
                self.uncertainty += held.doubt;
                held.amount
            }
        };
        let stage = self.stage(&held.stage);
        stage.spent += spent;
        stage.calls.note(dollars(spent).0);
        stage.settled += held.inputs;
    }

    /// The id by which a submission is reserved: its own, or that of the batch that it is an input of.
    fn reserved_as(&self, id: &ActivationId) -> Option<ActivationId> {
        let is_there = |id: &ActivationId| self.pending.contains_key(id);
        let batch = || id.member().map(|(batch, _)| batch);
        if is_there(id) { Some(id.clone()) } else { batch().filter(is_there) }
    }

    /// Forgets a submission that is released. One that has not been settled stays in doubt.
    pub(super) fn release(&mut self, id: &ActivationId) {
        self.settle_pending(id, Settlement::Unknown);
        if let Some(id) = self.reserved_as(id) {
            self.pending.remove(&id);
        }
    }

    /// Settles a submission, once.
    pub(super) fn settle_pending(&mut self, id: &ActivationId, settlement: Settlement) -> bool {
        let held = self.reserved_as(id).and_then(|id| self.pending.get_mut(&id));
        let Some(held) = held.filter(|held| !held.is_settled) else {
            return false;
        };
        held.is_settled = true;
        let held = held.clone();
        self.settle(&held, settlement);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use falco_core::UsDollars;

    use super::*;

    fn held(amount: Pico) -> Held {
        Held { stage: "s".into(), amount, doubt: 0, inputs: 1, is_settled: false }
    }

    fn ledger(limit: Pico) -> Ledger {
        Ledger { limit: Some(limit), ..Ledger::default() }
    }

    #[test]
    fn the_limit_itself_may_be_reached_and_not_passed() {
        let mut exact = ledger(10);
        assert_eq!(exact.admit(&held(10)), Admission::Granted);
        let mut below = ledger(9);
        assert_eq!(below.admit(&held(10)), Admission::Refused);
        assert_eq!(below.refused, Some(10));
        assert_eq!(below.ends, 1, "those who wait for a sample look again");
        let mut smallest = ledger(10);
        assert_eq!(smallest.admit(&held(1)), Admission::Granted);
        assert_eq!(smallest.admit(&held(10)), Admission::Wait, "a call is in flight");
        let mut in_doubt = ledger(10);
        assert_eq!(in_doubt.admit(&held(5)), Admission::Granted);
        in_doubt.settle(&held(5), Settlement::Unknown);
        assert_eq!(in_doubt.admit(&held(6)), Admission::Refused);
    }

    #[test]
    fn a_call_costs_what_its_activation_says_else_its_time_with_the_start() {
        let prices = Prices::default().with_second(1.0).with_uncertainty(0.5);
        let secs = Duration::from_secs;
        let activation = Activation::succeeded("a", falco_core::Payload::empty());
        let of = |activation: &Activation| paid(&prices, activation, &Scaling::default());
        let dollars =
            |cost: f64, doubt: f64| Settlement::Paid(pico(UsDollars(cost)), pico(UsDollars(doubt)));
        assert_eq!(of(&activation), Settlement::Unknown);
        let mut timed = activation.clone();
        timed.execution = Some(secs(2));
        assert_eq!(of(&timed), dollars(2.0, 1.0));
        timed.init = Some(secs(1));
        assert_eq!(of(&timed), dollars(3.0, 1.5));
        timed.billed = Some(secs(4));
        assert_eq!(of(&timed), dollars(4.0, 2.0));
        timed.cost = Some(UsDollars(0.25));
        assert_eq!(of(&timed), dollars(0.25, 0.0), "the provider has said it");
    }

    #[test]
    fn what_is_in_flight_is_waited_for_and_only_then_the_budget_is_used_up() {
        let mut ledger = ledger(10);
        assert_eq!(ledger.admit(&held(6)), Admission::Granted);
        assert_eq!(ledger.admit(&held(5)), Admission::Wait);
        assert_eq!(ledger.admit(&held(4)), Admission::Granted);
        ledger.settle(&held(4), Settlement::Paid(1, 0));
        assert_eq!(ledger.admit(&held(4)), Admission::Wait);
        ledger.settle(&held(6), Settlement::Paid(6, 0));
        assert_eq!(ledger.admit(&held(4)), Admission::Refused);
        // One that is cheaper comes too late: the run stops.
        assert_eq!(ledger.admit(&held(1)), Admission::Refused);
        assert_eq!((ledger.spent, ledger.reserved), (7, 0));
    }

    #[test]
    fn calls_of_unknown_end_stay_reserved_and_calls_that_did_not_run_are_free() {
        let mut ledger = ledger(10);
        for (settlement, room) in [(Settlement::Unknown, 5), (Settlement::Free, 5)] {
            assert_eq!(ledger.admit(&held(5)), Admission::Granted);
            ledger.settle(&held(5), settlement);
            assert_eq!(10 - ledger.in_doubt - ledger.spent, room);
        }
        assert_eq!(ledger.stage(&"s".into()).spent, 5);
    }

    #[test]
    fn the_bill_of_a_call_of_unknown_end_may_be_above_its_upper_bound() {
        let prices = Prices::default().with_second(1.0).with_uncertainty(0.5);
        let size = Scaling::default().with_timeout(Duration::from_secs(2));
        let held = Held::new("s".into(), &prices, &size, 1);
        let mut ledger = Ledger::default();
        for (settlement, times) in [(Settlement::Free, 0), (Settlement::Unknown, 1)] {
            ledger.reserve(&held);
            ledger.settle(&held, settlement);
            let expected = (times * pico(UsDollars(2.0)), times * pico(UsDollars(1.0)));
            assert_eq!((ledger.in_doubt, ledger.uncertainty), expected);
        }
    }

    #[test]
    fn the_mean_and_its_error_are_those_of_an_input_however_many_calls_it_took() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.stage(&"s".into()).mean(), None);
        for cost in [1.0, 2.0, 3.0, 1.0, 2.0, 3.0] {
            ledger.reserve(&held(1));
            ledger.settle(&held(1), Settlement::Paid(pico(UsDollars(cost)), 0));
        }
        let stage = ledger.stage(&"s".into());
        stage.completed = 3;
        assert_eq!(stage.mean(), Some(4.0));
        let of_eight_calls = stage.calls.error_of_sum(8.0);
        assert!(of_eight_calls.is_some());
        assert_eq!(stage.error_of(4), of_eight_calls);
    }

    #[test]
    fn a_submission_is_settled_once() {
        let mut ledger = ledger(10);
        ledger.reserve(&held(5));
        ledger.pending.insert("a".into(), held(5));
        assert!(ledger.settle_pending(&"a".into(), Settlement::Paid(2, 1)));
        assert!(!ledger.settle_pending(&"a".into(), Settlement::Paid(2, 1)));
        assert!(!ledger.settle_pending(&"b".into(), Settlement::Paid(2, 1)));
        assert_eq!((ledger.spent, ledger.reserved, ledger.uncertainty), (2, 0, 1));
    }

    #[test]
    fn the_inputs_of_a_batch_of_an_earlier_process_are_one_call() {
        let mut ledger = Ledger { sample: 3, ..ledger(10) };
        for index in 0..2 {
            ledger.reserve_sent(&ActivationId::from("a").of_member(index), held(5));
        }
        assert_eq!(ledger.reserved, 5);
        assert!(ledger.settle_pending(&"a".into(), Settlement::Paid(2, 0)));
        assert_eq!((ledger.spent, ledger.reserved), (2, 0));
        // One that follows is paid already, and counts for the sample.
        ledger.reserve_sent(&ActivationId::from("a").of_member(2), held(5));
        assert_eq!((ledger.spent, ledger.reserved), (2, 0));
        assert_eq!(ledger.admit(&held(1)), Admission::Granted);
        ledger.release(&"a".into());
        assert!(ledger.pending.is_empty());

        // Where its stage travels in no batches any more, nobody answers for it.
        ledger.reserve_sent(&ActivationId::from("b").of_member(0), held(5));
        ledger.release(&ActivationId::from("b").of_member(0));
        assert_eq!((ledger.in_doubt, ledger.pending.len()), (5, 0));
    }

    #[test]
    fn the_sample_of_a_stage_is_over_before_the_rest_is_sent() {
        let mut ledger = Ledger { sample: 2, ..Ledger::default() };
        let admitted: Vec<_> = (0..3).map(|_| ledger.admit(&held(1))).collect();
        assert_eq!(admitted, [Admission::Granted, Admission::Granted, Admission::Wait]);
        ledger.settle(&held(1), Settlement::Free);
        assert_eq!(ledger.admit(&held(1)), Admission::Wait);
        ledger.settle(&held(1), Settlement::Unknown);
        let admitted: Vec<_> = (0..3).map(|_| ledger.admit(&held(1))).collect();
        assert_eq!(admitted, [Admission::Granted; 3], "then nothing waits");
    }

    #[test]
    fn a_sample_counts_inputs_and_not_the_calls_that_batches_are() {
        let batch = Held { inputs: 3, ..held(1) };
        let mut ledger = Ledger { sample: 4, ..Ledger::default() };
        let admitted: Vec<_> = (0..3).map(|_| ledger.admit(&batch)).collect();
        assert_eq!(admitted, [Admission::Granted, Admission::Granted, Admission::Wait]);
        ledger.settle(&batch, Settlement::Free);
        assert_eq!(ledger.admit(&batch), Admission::Wait);
        ledger.settle(&batch, Settlement::Free);
        assert_eq!(ledger.admit(&batch), Admission::Granted);
    }

    #[test]
    fn amounts_are_rounded_up_and_sums_are_exact() {
        assert_eq!(pico(UsDollars(0.1)) * 10, pico(UsDollars(1.0)));
        assert_eq!(pico(UsDollars(1.5e-12)), 2);
        assert_eq!(dollars(2_500_000_000_000), UsDollars(2.5));
    }
}
