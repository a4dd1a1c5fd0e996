//! Whether answers take longer than they used to.

use std::collections::VecDeque;
use std::time::Duration;

/// Intervals of which the fastest is what calls take on a platform that is not overloaded.
const REMEMBERED: usize = 60;
/// So many times the baseline is a queue, and no accident.
const TOLERANCE: f64 = 1.5;
/// Below this nobody cares, and timers blur it.
const FLOOR: f64 = 0.002;
/// Nothing takes longer than a day.
const LONGEST: f64 = 24.0 * 60.0 * 60.0;

/// Compares the latency of an interval with the best of the last few.
///
/// It takes the geometric mean, for which a straggler in fifty makes no difference. A platform that queues instead of
/// refusing is noticed only so; a stage whose functions simply take longer becomes the new baseline in a minute.
#[derive(Clone, Debug, Default)]
pub(super) struct Latency {
    logarithms: f64,
    count: u32,
    past: VecDeque<f64>,
}

impl Latency {
    pub(super) fn add(&mut self, latency: Duration) {
        self.logarithms += latency.as_secs_f64().clamp(FLOOR, LONGEST).ln();
        self.count += 1;
    }

    /// The latency of calls in the last interval in which any ended.
    pub(super) fn typical(&self) -> Duration {
        Duration::from_secs_f64(self.past.back().copied().unwrap_or_default())
    }

    /// Ends an interval. Is the platform queueing?
    pub(super) fn is_inflated(&mut self) -> bool {
        if self.count == 0 {
            return false;
        }
        let mean = (self.logarithms / f64::from(self.count)).exp();
        (self.logarithms, self.count) = (0.0, 0);
        let best = self.past.iter().copied().fold(mean, f64::min);
        if self.past.len() == REMEMBERED {
            self.past.pop_front();
        }
        self.past.push_back(mean);
        mean > best * TOLERANCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_noticed_and_slower_functions_become_the_new_measure() {
        let mut latency = Latency::default();
        let mut interval = |millis: u64| {
            latency.add(Duration::from_millis(millis));
            latency.is_inflated()
        };
        assert!(!interval(100));
        assert!(!interval(140));
        assert!(interval(200));
        let verdicts: Vec<bool> = (0..62).map(|_| interval(300)).collect();
        assert!(verdicts[0] && !verdicts[61]);
    }
}
