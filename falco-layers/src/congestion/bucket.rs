//! A token bucket whose rate may change at any time.

use std::time::Duration;

/// A sleep ends up to this much late; what would have been sent meanwhile may be caught up on.
const LATENESS: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct TokenBucket {
    tokens: f64,
    refilled_at: Duration,
}

impl TokenBucket {
    /// A bucket that holds one token.
    pub(super) fn new() -> Self {
        Self { tokens: 1.0, refilled_at: Duration::ZERO }
    }

    /// Takes a token, or says when there will be one.
    ///
    /// In any span of time it gives at most `per_second` × (the span + 5 ms) + `burst` tokens.
    pub(super) fn take(
        &mut self,
        now: Duration,
        per_second: f64,
        burst: u32,
    ) -> Result<(), Duration> {
        let elapsed = now.saturating_sub(self.refilled_at).as_secs_f64();
        let capacity = f64::from(burst.max(1)) + per_second * LATENESS.as_secs_f64();
        self.tokens = (self.tokens + per_second * elapsed).min(capacity);
        self.refilled_at = now;
        if self.tokens >= 1.0 - f64::EPSILON {
            self.tokens -= 1.0;
            return Ok(());
        }
        let wait =
            Duration::try_from_secs_f64((1.0 - self.tokens) / per_second).unwrap_or(Duration::MAX);
        // A wait that rounds to nothing would spin.
        Err(now.saturating_add(wait.max(Duration::from_micros(1))))
    }

    /// Forgets the time that has passed while nothing was limited.
    pub(super) fn skip(&mut self, now: Duration) {
        self.refilled_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_at_the_rate_and_do_not_pile_up() {
        let mut bucket = TokenBucket::new();
        let at = Duration::from_millis;
        assert_eq!(bucket.take(at(0), 2.0, 1), Ok(()));
        assert_eq!(bucket.take(at(0), 2.0, 1), Err(at(500)));
        assert_eq!(bucket.take(at(500), 2.0, 1), Ok(()));
        assert_eq!(bucket.take(at(90_000), 2.0, 1), Ok(()));
        assert!(bucket.take(at(90_000), 2.0, 1).is_err());
    }

    #[test]
    fn a_new_rate_holds_from_the_moment_it_is_known() {
        let mut bucket = TokenBucket::new();
        let at = Duration::from_secs;
        assert_eq!(bucket.take(at(0), 1.0, 1), Ok(()));
        assert_eq!(bucket.take(at(0), 0.1, 1), Err(at(10)));
        assert_eq!(bucket.take(at(5), 1.0, 1), Ok(()));
    }
}
