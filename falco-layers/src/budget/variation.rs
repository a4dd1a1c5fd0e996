//! How much amounts differ, and what that says of the sum of more of them.

/// The mean of amounts and how much they differ, added up one by one (Welford's method, which is exact for equal amounts).
#[derive(Clone, Debug, Default)]
pub(super) struct Variation {
    count: u64,
    mean: f64,
    /// The sum of the squares of the distances from the mean.
    squares: f64,
}

impl Variation {
    pub(super) fn note(&mut self, amount: f64) {
        self.count += 1;
        let distance = amount - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (amount - self.mean);
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// How far the sum of `more` amounts may be from `more` times the mean, with a confidence of 95 %, if they are like those
    /// so far: both the sum and the mean are uncertain. None before there are three.
    pub(super) fn error_of_sum(&self, more: f64) -> Option<f64> {
        let free = self.count.checked_sub(1).filter(|free| *free > 1)? as f64;
        let variance = self.squares / free;
        // Student's t for so few amounts, as a series around the normal distribution's 1.96.
        let t = 1.96 + 2.372 / free + 2.823 / (free * free);
        Some(t * (variance * (more + more * more / self.count as f64)).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variation(amounts: &[f64]) -> Variation {
        let mut variation = Variation::default();
        amounts.iter().for_each(|amount| variation.note(*amount));
        variation
    }

    #[test]
    fn the_error_follows_from_how_much_amounts_differ_and_how_many_there_are() {
        // A variance of 1: the sum of nine more has one of 9, and the mean of three adds 81 / 3.
        let error = variation(&[1.0, 2.0, 3.0]).error_of_sum(9.0).unwrap();
        assert!((error / 6.0 - 3.85).abs() < 0.01, "{error}");
        let more: Vec<f64> = (0..30).map(|n| f64::from(n % 3)).collect();
        assert!(variation(&more).error_of_sum(9.0).unwrap() < error / 2.0);
        assert_eq!(variation(&more).error_of_sum(0.0), Some(0.0));
    }

    #[test]
    fn equal_amounts_leave_no_doubt_and_two_say_nothing() {
        assert_eq!(variation(&[0.1; 10]).error_of_sum(1_000.0), Some(0.0));
        assert_eq!(variation(&[1.0, 2.0]).error_of_sum(10.0), None);
    }

    #[test]
    fn nineteen_of_twenty_samples_hold_the_true_sum() {
        let mut random = fastrand::Rng::with_seed(7);
        let held = (0..1_000).filter(|_| {
            let sample: Vec<f64> = (0..20).map(|_| random.f64()).collect();
            let rest: f64 = (0..200).map(|_| random.f64()).sum();
            let variation = variation(&sample);
            (rest - 200.0 * variation.mean).abs() <= variation.error_of_sum(200.0).unwrap()
        });
        let held = held.count();
        assert!((920..=980).contains(&held), "{held} of 1,000");
    }
}
