//! The meter that holds arrivals against quotas. Pure: time is passed in.

use std::collections::HashMap;
use std::time::Duration;

use super::quotas::{Quotas, Rate};
use crate::in_memory::Arrival;

/// The reason why an arrival was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Rate,
    Concurrency,
    Ramp,
}

#[derive(Debug)]
pub(super) struct Meter {
    window: u128,
    in_window: u32,
    rate: Bucket,
    /// By the number of the function.
    ramps: HashMap<u64, Bucket>,
}

impl Meter {
    pub(super) fn new(quotas: &Quotas) -> Self {
        let burst = match quotas.rate {
            Some(Rate::TokenBucket { burst, .. }) => f64::from(burst),
            _ => 0.0,
        };
        Self { window: 0, in_window: 0, rate: Bucket::full(burst), ramps: HashMap::new() }
    }

    /// Lets an arrival in, or says what for it is refused and how long that will last, where that is known.
    pub(super) fn admit(
        &mut self,
        quotas: &Quotas,
        arrival: &Arrival,
    ) -> Result<(), (Limit, Option<Duration>)> {
        if let Some(rate) = quotas.rate {
            self.admit_rate(rate, arrival.at).map_err(|wait| (Limit::Rate, Some(wait)))?;
        }
        if quotas.concurrency.is_some_and(|limit| arrival.running >= u64::from(limit)) {
            return Err((Limit::Concurrency, None));
        }
        if let Some(ramp) = quotas.ramp {
            let size = f64::from(ramp.burst);
            let bucket = self.ramps.entry(arrival.function).or_insert_with(|| Bucket::full(size));
            bucket.resize(arrival.at, ramp.per_second, size);
            if arrival.needs_instance && !bucket.take(arrival.at, ramp.per_second) {
                return Err((Limit::Ramp, Some(bucket.wait(ramp.per_second))));
            }
        }
        Ok(())
    }

    fn admit_rate(&mut self, rate: Rate, at: Duration) -> Result<(), Duration> {
        match rate {
            Rate::FixedWindow { invocations, window, phase } => {
                let length = window.as_nanos().max(1);
                let on_wall = (at + phase).as_nanos();
                if self.window != on_wall / length {
                    self.window = on_wall / length;
                    self.in_window = 0;
                }
                self.in_window = self.in_window.saturating_add(1);
                if self.in_window <= invocations {
                    return Ok(());
                }
                let left = length - on_wall % length;
                Err(Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX)))
            }
            Rate::TokenBucket { per_second, burst } => {
                self.rate.resize(at, per_second, f64::from(burst));
                if self.rate.take(at, per_second) {
                    Ok(())
                } else {
                    Err(self.rate.wait(per_second))
                }
            }
        }
    }
}

/// A token bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    size: f64,
    tokens: f64,
    at: Duration,
}

impl Bucket {
    /// Less than a token by so little is rounding, and no refusal.
    const ROUNDING: f64 = 1e-6;

    pub(super) fn full(size: f64) -> Self {
        Self { size, tokens: size, at: Duration::ZERO }
    }

    /// Follows a quota that was changed: what was filled in so far, was so at the old size.
    fn resize(&mut self, at: Duration, per_second: f64, size: f64) {
        self.fill(at, per_second);
        self.size = size;
        self.tokens = self.tokens.min(size);
    }

    pub(super) fn take(&mut self, at: Duration, per_second: f64) -> bool {
        self.fill(at, per_second);
        let enough = self.tokens + Self::ROUNDING >= 1.0;
        if enough {
            self.tokens = (self.tokens - 1.0).max(0.0);
        }
        enough
    }

    fn fill(&mut self, at: Duration, per_second: f64) {
        let passed = at.saturating_sub(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * per_second).min(self.size);
        self.at = self.at.max(at);
    }

    /// How long until there is a token; a day stands for never.
    fn wait(&self, per_second: f64) -> Duration {
        let seconds = (1.0 - self.tokens) / per_second.max(f64::MIN_POSITIVE);
        Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::quotas::Ramp;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn arrival(at: Duration) -> Arrival {
        Arrival { at, running: 0, needs_instance: true, function: 0 }
    }

    #[test]
    fn a_fixed_window_counts_what_it_refuses_and_begins_anew_at_its_boundary() {
        let window = SECOND * 60;
        let rate = Rate::FixedWindow { invocations: 2, window, phase: SECOND * 50 };
        let quotas = Quotas { rate: Some(rate), concurrency: Some(1), ..Quotas::default() };
        let mut meter = Meter::new(&quotas);
        let busy = Arrival { running: 1, ..arrival(SECOND) };
        assert_eq!(meter.admit(&quotas, &busy), Err((Limit::Concurrency, None)));
        assert_eq!(meter.admit(&quotas, &arrival(SECOND)), Ok(()));
        let wait = Some(SECOND * 8);
        assert_eq!(meter.admit(&quotas, &arrival(SECOND * 2)), Err((Limit::Rate, wait)));
        assert_eq!(meter.admit(&quotas, &arrival(SECOND * 10)), Ok(()));
    }

    #[test]
    fn only_new_instances_use_up_the_ramp() {
        let ramp = Ramp { per_second: 1.0, burst: 2 };
        let quotas = Quotas { ramp: Some(ramp), ..Quotas::default() };
        let mut meter = Meter::new(&quotas);
        let warm = Arrival { needs_instance: false, ..arrival(Duration::ZERO) };
        for _ in 0..10 {
            meter.admit(&quotas, &warm).unwrap();
        }
        let cold = arrival(Duration::ZERO);
        meter.admit(&quotas, &cold).unwrap();
        meter.admit(&quotas, &cold).unwrap();
        assert_eq!(meter.admit(&quotas, &cold), Err((Limit::Ramp, Some(SECOND))));
        meter.admit(&quotas, &warm).unwrap();
        let other = Arrival { function: 1, ..cold };
        meter.admit(&quotas, &other).unwrap();
        meter.admit(&quotas, &arrival(SECOND)).unwrap();
    }

    #[test]
    fn a_quota_that_is_halved_holds_at_once() {
        let bucket = |per_second, burst| Quotas {
            rate: Some(Rate::TokenBucket { per_second, burst }),
            ..Quotas::default()
        };
        let mut meter = Meter::new(&bucket(10.0, 10));
        let halved = bucket(5.0, 5);
        let allowed = (0..20).filter(|_| meter.admit(&halved, &arrival(SECOND)).is_ok()).count();
        assert_eq!(allowed, 5);
    }
}
