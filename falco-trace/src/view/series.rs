//! Counts along the time of the run.

use crate::units::Micros;

/// Points of a series.
pub const SERIES_POINTS: usize = 600;
/// The first distance of two points.
const FIRST_WIDTH: i64 = 100_000;

/// A count along the time of the run, in constant memory: points are merged in pairs when the run gets longer.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    width: i64,
    points: Vec<u64>,
}

impl Default for Series {
    fn default() -> Self {
        Self { width: FIRST_WIDTH, points: Vec::new() }
    }
}

impl Series {
    /// The length of time that a point covers.
    pub fn point_width(&self) -> Micros {
        Micros(self.width)
    }

    /// The counts; points after the last one are zero.
    pub fn points(&self) -> &[u64] {
        &self.points
    }

    /// The sum of all points.
    pub fn sum(&self) -> u64 {
        self.points.iter().sum()
    }

    /// Counts one at this time.
    pub fn count(&mut self, time: Micros) {
        let at = time.0.max(0);
        while at / self.width >= SERIES_POINTS as i64 {
            self.merge();
        }
        let point = (at / self.width) as usize;
        if self.points.len() <= point {
            self.points.resize(point + 1, 0);
        }
        self.points[point] += 1;
    }

    /// The counts in points of this width, which is a multiple of the series' own.
    pub fn widened(mut self, width: Micros) -> Self {
        while self.width < width.0 {
            self.merge();
        }
        self
    }

    fn merge(&mut self) {
        self.width = self.width.saturating_mul(2);
        self.points = self.points.chunks(2).map(|pair| pair.iter().sum()).collect();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::heat::{Class, HeatMap};
    use super::*;

    proptest! {
        #[test]
        fn merging_keeps_the_sums(times in proptest::collection::vec(0_i64..10_000_000_000, 1..50)) {
            let (mut series, mut heat) = (Series::default(), HeatMap::default());
            for time in &times {
                series.count(Micros(*time));
                heat.record(Micros(*time), Micros(time / 7), Class::Warm);
            }
            prop_assert_eq!(series.sum(), times.len() as u64);
            prop_assert_eq!(heat.count(Class::Warm), times.len() as u64);
            prop_assert!(series.points().len() <= SERIES_POINTS);
        }
    }
}
