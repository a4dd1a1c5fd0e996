//! The part of a stage in a budget.

use falco_core::{Scaling, StageName};

use super::amount::{PICO, Pico};
use super::variation::Variation;

/// A stage's part.
#[derive(Clone, Debug)]
pub(super) struct StageEntry {
    pub(super) name: StageName,
    pub(super) total: Option<u64>,
    pub(super) completed: u64,
    /// Completed ones without a known cost, such as results of another run: no estimate follows from them.
    pub(super) without_cost: u64,
    pub(super) spent: Pico,
    /// The size of its function.
    pub(super) size: Scaling,
    pub(super) is_finished: bool,
    /// Inputs that were sent, and of these those whose calls are over.
    pub(super) sent: u64,
    pub(super) settled: u64,
    /// The costs of its calls.
    pub(super) calls: Variation,
}

impl StageEntry {
    pub(super) fn new(name: StageName) -> Self {
        Self {
            name,
            total: None,
            completed: 0,
            without_cost: 0,
            spent: 0,
            size: Scaling::default(),
            is_finished: false,
            sent: 0,
            settled: 0,
            calls: Variation::default(),
        }
    }

    /// How many are completed from which an estimate follows.
    pub(super) fn measured(&self) -> u64 {
        self.completed.saturating_sub(self.without_cost)
    }

    /// The cost of an input, on average.
    pub(super) fn mean(&self) -> Option<f64> {
        let measured = self.measured();
        (measured > 0).then(|| self.spent as f64 / PICO / measured as f64)
    }

    /// The cost of all `total` invocations, as far as that is known.
    pub(super) fn estimate(&self, total: u64) -> Option<f64> {
        match self.mean() {
            Some(mean) => {
                Some(mean * total.max(self.completed).saturating_sub(self.without_cost) as f64)
            }
            // Nothing is left to pay for.
            None if self.completed > 0 && self.completed >= total => Some(0.0),
            None => None,
        }
    }

    /// How far the cost of `left` more invocations may be from the mean's, with a confidence of 95 %.
    pub(super) fn error_of(&self, left: u64) -> Option<f64> {
        let each = self.calls.count() as f64 / self.measured().max(1) as f64;
        self.calls.error_of_sum(left as f64 * each)
    }
}
