//! How many inputs the next batch gets.

use std::time::Duration;

use falco_core::{Batch, BatchSize};

/// The time that a batch of measured size should take: the middle of 100 to 500 ms on a scale of ratios.
const AIM: Duration = Duration::from_millis(225);
/// The bounds of that: a batch within them changes nothing.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_millis(500);
/// A batch grows by this factor at most from one measurement to the next.
const GROWTH: usize = 4;
/// The most inputs of a batch of measured size.
const MOST: usize = 4096;

/// How many inputs the next batch gets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizing {
    rule: BatchSize,
    /// The size in force where it is measured, and the estimate of how many inputs fill one where bytes count.
    inputs: usize,
}

impl Sizing {
    pub(super) fn new(batch: Batch) -> Self {
        let inputs = match batch.size() {
            BatchSize::Inputs(inputs) => inputs.max(1),
            BatchSize::Bytes(_) => 16,
            _ => 1,
        };
        Self { rule: batch.size(), inputs }
    }

    /// How many inputs fill a batch, as far as known now.
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    /// The most inputs of a batch.
    pub(super) fn full(&self) -> usize {
        match self.rule {
            BatchSize::Bytes(_) => usize::MAX,
            _ => self.inputs,
        }
    }

    /// The most inputs that the next batch gets when no more come, so many wait and so many calls may be in flight.
    pub(super) fn at_most(&self, waiting: usize, slots: usize) -> usize {
        match self.rule {
            // Every worker gets its share of what is left.
            BatchSize::Auto => self.inputs.min(waiting.div_ceil(slots.max(1))).max(1),
            _ => self.full(),
        }
    }

    /// The most bytes of arguments that a batch may have by the rule.
    pub(super) fn bytes(&self) -> u64 {
        match self.rule {
            BatchSize::Bytes(bytes) => bytes.max(1),
            _ => u64::MAX,
        }
    }

    /// Whether a batch that is not full waits a moment for more, because its size is the user's wish.
    pub(super) fn waits(&self) -> bool {
        matches!(self.rule, BatchSize::Inputs(_) | BatchSize::Bytes(_))
    }

    /// The window is full and no batch is: where bytes count, more inputs fit into one than was thought. Whether the estimate
    /// has grown.
    pub(super) fn grow(&mut self) -> bool {
        let grows = matches!(self.rule, BatchSize::Bytes(_)) && self.inputs < MOST;
        if grows {
            self.inputs = (self.inputs * 2).min(MOST);
        }
        grows
    }

    /// Learns how long a batch took at the function.
    pub(super) fn record(&mut self, inputs: usize, took: Duration) {
        if !matches!(self.rule, BatchSize::Auto) || inputs == 0 {
            return;
        }
        // Smaller ones come at the end of a stage, and say little about larger ones.
        let is_small = inputs * 2 < self.inputs;
        if (took < SHORTEST && !is_small) || took > LONGEST {
            let each = (took / u32::try_from(inputs).unwrap_or(u32::MAX)).as_secs_f64();
            let ideal = (AIM.as_secs_f64() / each.max(1e-9)) as usize;
            self.inputs = ideal.clamp(1, (inputs * GROWTH).min(MOST));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(each: Duration, calls: usize) -> usize {
        let mut sizing = Sizing::new(Batch::auto());
        for _ in 0..calls {
            let inputs = sizing.at_most(1_000_000, 2);
            sizing.record(inputs, each * inputs as u32);
        }
        sizing.at_most(1_000_000, 2)
    }

    #[test]
    fn measured_batches_take_100_to_500_milliseconds() {
        for micros in [70, 500, 3_000, 40_000] {
            let each = Duration::from_micros(micros);
            let took = each * settled(each, 10) as u32;
            assert!((SHORTEST..=LONGEST).contains(&took), "{each:?}: {took:?}");
        }
        assert_eq!(settled(Duration::from_secs(1), 10), 1);
        assert_eq!(settled(Duration::ZERO, 10), MOST);
    }

    #[test]
    fn measured_batches_shrink_as_inputs_run_out_so_that_every_worker_has_some() {
        let mut sizing = Sizing::new(Batch::auto());
        sizing.inputs = 100;
        assert_eq!(sizing.at_most(1000, 4), 100);
        assert_eq!(sizing.at_most(40, 4), 10);
        assert_eq!(sizing.at_most(3, 4), 1);
    }

    #[test]
    fn sizes_that_the_user_names_stay() {
        let mut sizing = Sizing::new(Batch::of(7));
        sizing.record(7, Duration::from_secs(60));
        assert_eq!((sizing.at_most(3, 4), sizing.bytes()), (7, u64::MAX));
        let sizing = Sizing::new(Batch::bytes(100));
        assert_eq!((sizing.at_most(3, 4), sizing.bytes()), (usize::MAX, 100));
    }

    #[test]
    fn a_batch_within_the_bounds_and_a_small_one_that_is_quick_change_nothing() {
        let after = |inputs: usize, took: Duration| {
            let mut sizing = Sizing { inputs: 100, ..Sizing::new(Batch::auto()) };
            sizing.record(inputs, took);
            sizing.inputs()
        };
        let quick = Duration::from_millis(10);
        assert_eq!(after(49, quick), 100, "such batches come at the end of a stage");
        assert_eq!(after(50, quick), 200, "half of the size is not small");
        for took in [SHORTEST, Duration::from_millis(300), LONGEST] {
            assert_eq!(after(100, took), 100, "{took:?}");
        }
        assert_eq!(after(100, LONGEST + quick), 44);
        assert_eq!(after(49, LONGEST + quick), 21, "a small one that is slow says enough");
    }

    #[test]
    fn only_a_size_that_the_user_names_is_waited_for_and_only_one_in_bytes_is_estimated_anew() {
        let rules = [Batch::of(7), Batch::bytes(100), Batch::auto()];
        let [of_seven, mut of_bytes, measured] = rules.map(Sizing::new);
        assert_eq!([of_seven, of_bytes, measured].map(|it| it.waits()), [true, true, false]);
        for mut other in [of_seven, measured] {
            assert!(!other.grow());
        }
        let mut seen = vec![of_bytes.inputs()];
        while of_bytes.grow() {
            seen.push(of_bytes.inputs());
            assert!(seen.len() < 20, "{seen:?}");
        }
        assert_eq!(seen, [16, 32, 64, 128, 256, 512, 1024, 2048, MOST]);
    }
}
