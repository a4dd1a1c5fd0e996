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
        let told = capabilities.rate?;
        let is_one = told.invocations > 0 && !told.window.is_zero();
        is_one.then(|| Self {
            per_second: told.per_second(),
            window: told.window.min(LONGEST_WINDOW),
        })
    }
}
