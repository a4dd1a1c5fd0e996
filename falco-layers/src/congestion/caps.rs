//! The limits that no controller may exceed.

use falco_core::congestion::Allowance;
use falco_core::setters;

/// One call an hour: less is a standstill, and no controller may cause one.
const MIN_RATE: f64 = 1.0 / 3600.0;

/// The limits that no controller may exceed.
///
/// A rate that is not a positive number counts as one call an hour, and a concurrency of zero as one.
///
/// # Examples
///
/// ```
/// use falco_layers::Caps;
///
/// let caps = Caps::default().with_per_second(50.0);
/// assert_eq!(caps.concurrency, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Caps {
    /// Calls started per second, evenly spaced: in any span of time at most `per_second` × (the span + 5 ms) + 1.
    pub per_second: Option<f64>,
    /// Calls in flight.
    pub concurrency: Option<u32>,
}

impl Caps {
    setters! {
        /// Sets how many calls start per second, evenly spaced: in any span of time at most `per_second` × (the span + 5 ms) + 1.
        with_per_second(per_second: Option<f64>);
        /// Sets how many calls are in flight.
        with_concurrency(concurrency: Option<u32>);
    }

    pub(super) fn apply(self, mut allowance: Allowance) -> Allowance {
        // Of two numbers, `max` takes the one that is a number. A cap may be lower than what a controller may say.
        allowance.per_second = allowance.per_second.map(|rate| rate.max(MIN_RATE));
        if let Some(cap) = self.per_second {
            let cap = if cap > 0.0 { cap } else { MIN_RATE };
            // Evenly spaced also where the controller would be slower in the mean and allow bursts: a burst of its
            // size could be over the cap.
            allowance.per_second = Some(allowance.per_second.map_or(cap, |rate| rate.min(cap)));
            allowance.burst = 1;
        }
        if let Some(cap) = self.concurrency {
            allowance.concurrency = Some(allowance.concurrency.map_or(cap, |limit| limit.min(cap)));
        }
        allowance
    }
}
