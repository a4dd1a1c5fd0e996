//! A limit that never changes.

use std::time::Duration;

use falco_core::Capabilities;
use falco_core::congestion::{Allowance, CongestionController, Signal};

use super::quota::Quota;

/// Allows the same at all times, whatever the answers are: for a quota that is known and used by nobody else.
///
/// It does not slow down when calls are refused: in a [`Stack`](crate::Stack), refused invocations need the
/// [retry budget](crate::RetryPolicy::budget).
///
/// # Examples
///
/// ```
/// use falco_core::congestion::{Allowance, CongestionController};
/// use falco_layers::Fixed;
/// use std::time::Duration;
///
/// let mut controller = Fixed::new(Allowance::UNLIMITED.with_rate(2.0, 1).with_concurrency(30));
/// assert_eq!(controller.allowance(Duration::ZERO).concurrency, Some(30));
/// ```
#[derive(Clone, Debug)]
pub struct Fixed {
    allowance: Allowance,
}

impl Fixed {
    /// Allows `allowance`, from the beginning to the end.
    pub fn new(allowance: Allowance) -> Self {
        Self { allowance }
    }

    /// Allows everything: what is left are the caps of the gate, and the waits that the platform suggests.
    pub fn unlimited() -> Self {
        Self::new(Allowance::UNLIMITED)
    }

    /// Allows what the platform reports, and everything where it reports nothing.
    pub fn from_capabilities(capabilities: &Capabilities) -> Self {
        let allowance = match Quota::reported(capabilities) {
            Some(quota) => Allowance::UNLIMITED.with_rate(quota.per_second, 1),
            None => Allowance::UNLIMITED,
        };
        Self::new(match capabilities.concurrency {
            Some(concurrency) => allowance.with_concurrency(concurrency),
            None => allowance,
        })
    }

    /// Starts `per_second` invocations a second, evenly spaced.
    pub fn rate(per_second: f64) -> Self {
        Self::new(Allowance::UNLIMITED.with_rate(per_second, 1))
    }
}

impl CongestionController for Fixed {
    fn on_signal(&mut self, _: Duration, _: &Signal) {}

    fn allowance(&mut self, _: Duration) -> Allowance {
        self.allowance
    }

    fn is_reactive(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_that_it_does_not_react_also_in_a_box() {
        let boxed: Box<dyn CongestionController> = Box::new(Fixed::unlimited());
        assert!(!boxed.is_reactive());
        assert!(super::super::aimd::Aimd::new(1.0).is_reactive());
    }
}
