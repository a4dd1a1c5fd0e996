//! Calls in flight, allowed and refused along the time.

use crate::record::GateRecord;

/// How many samples are kept: one of two is dropped when there are more.
const SAMPLES: usize = 1_200;

/// Calls in flight, allowed and refused along the time, of the whole run or of one gate of congestion control, in constant
/// memory.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct GateView {
    /// The gate; empty for the whole run.
    pub name: String,
    /// Samples, oldest first.
    pub samples: Vec<GateRecord>,
    /// The last sample.
    pub latest: GateRecord,
    /// Samples between two that are kept.
    step: u64,
    seen: u64,
}

impl GateView {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), step: 1, ..Self::default() }
    }

    pub(super) fn add(&mut self, gate: &GateRecord) {
        self.latest = gate.clone();
        if self.seen.is_multiple_of(self.step) {
            if self.samples.len() == SAMPLES {
                let mut index = 0;
                self.samples.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.step *= 2;
            }
            self.samples.push(gate.clone());
        }
        self.seen += 1;
    }

    /// Refused calls per second, from each sample to the next: the end of each span, and the rate.
    pub fn refused_per_second(&self) -> Vec<(crate::Micros, f64)> {
        let pairs = self.samples.iter().zip(self.samples.iter().skip(1));
        pairs
            .filter_map(|(before, after)| {
                let refused = after.refused?.saturating_sub(before.refused?);
                let seconds = after.t.since(before.t).as_secs();
                (seconds > 0.0).then(|| (after.t, refused as f64 / seconds))
            })
            .collect()
    }
}
