//! A gate of the test's own before activations start.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use falco_core::Result;

/// Decides whether an activation may start: quotas that a [`capacity`](super::Settings::capacity) cannot express.
///
/// [`simulation`](crate::simulation) is made of it.
pub trait Admission: Debug + Send + Sync {
    /// Lets an activation start, or refuses it.
    ///
    /// # Errors
    ///
    /// The answer to the caller of `invoke` or `submit`.
    fn admit(&self, arrival: &Arrival) -> Result<()>;
}

/// An activation that is about to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arrival {
    /// When, counted from the making of the platform.
    pub at: Duration,
    /// How many activations run already, over all functions.
    pub running: u64,
    /// Whether an instance has to be started for it.
    pub needs_instance: bool,
    /// A number of its function, by [`number_of`](Self::number_of).
    pub function: u64,
}

impl Arrival {
    /// The number of the function of this name: a hash of it.
    pub fn number_of(function: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        function.hash(&mut hasher);
        hasher.finish()
    }
}
