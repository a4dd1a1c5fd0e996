//! A platform's quota, as far as its report makes sense.

use std::time::Duration;

use falco_core::Capabilities;

/// A controller that thinks once in a longer window would not notice anything.
const LONGEST_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    pub(super) per_second: f64,
    pub(super) window: Duration,
}

impl Quota {
    /// The quota that `capabilities` state. One of nothing, or in no time, is a platform that does not know it.
    pub(super) fn reported(capabilities: &Capabilities) -> Option<Self> {
        let stated = capabilities.rate?;
        let is_one = stated.invocations > 0 && !stated.window.is_zero();
        is_one.then(|| Self {
            per_second: stated.per_second(),
            window: stated.window.min(LONGEST_WINDOW),
        })
    }
}
