//! How the layer signs and spills.

use std::time::Duration;

use falco_core::{Error, Result, setters};

use crate::store::LONGEST_LIFETIME;

/// How long signed URLs live, and what becomes of values that are too long for the platform.
///
/// # Examples
///
/// ```
/// use falco_data::DataPolicy;
/// use std::time::Duration;
///
/// let policy = DataPolicy::default().with_url_lifetime(Duration::from_secs(1800)).with_fetch_results(1 << 20);
/// assert_eq!(policy.max_value, 1 << 30);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataPolicy {
    /// How long a signed URL is good for: cold start, and all that the function reads and writes. 1 hour.
    pub url_lifetime: Duration,
    /// The time that is added for invocations that are submitted, since they wait in the provider's queue. 6 hours.
    pub queue: Duration,
    /// Arguments and results longer than this are spilled to the scratch store; none leaves it to the platform's limits.
    pub inline: Option<u64>,
    /// Whether functions may spill their results. Each call then carries one more signed URL.
    pub spill_results: bool,
    /// Spilled results up to this many bytes are fetched as soon as they come; without, they stay references, which
    /// functions resolve and [`Data::value`](crate::Data::value) fetches. Those that a derivation looks into are always
    /// fetched.
    pub fetch_results: Option<u64>,
    /// The longest argument or result, in bytes. 1 GiB.
    pub max_value: u64,
    /// Whether the functions of a remote platform see the folders of this machine, by a network file system.
    pub shared_folders: bool,
}

impl DataPolicy {
    setters! {
        /// Sets how long a signed URL is good for.
        with_url_lifetime(url_lifetime: Duration);
        /// Sets what is added to it for invocations that are submitted.
        with_queue(queue: Duration);
        /// Sets the length beyond which arguments and results are spilled, where it is below the platform's limits.
        with_inline(inline: Option<u64>);
        /// Says whether functions may spill their results.
        with_spilled_results(spill_results: bool);
        /// Sets the length up to which spilled results are fetched at once.
        with_fetch_results(fetch_results: Option<u64>);
        /// Sets the longest argument or result.
        with_max_value(max_value: u64);
        /// Says whether the functions of a remote platform see the folders of this machine.
        with_shared_folders(shared_folders: bool);
    }

    pub(super) fn validate(&self) -> Result<()> {
        let longest = self.url_lifetime.saturating_add(self.queue);
        if self.url_lifetime < Duration::from_secs(1) || longest > LONGEST_LIFETIME {
            return Err(Error::invalid_input(format!(
                "invalid lifetime of URLs {:?} with {:?} for the queue: use 1 second to 7 days together",
                self.url_lifetime, self.queue
            )));
        }
        Ok(())
    }
}

impl Default for DataPolicy {
    fn default() -> Self {
        Self {
            url_lifetime: Duration::from_secs(60 * 60),
            queue: Duration::from_secs(6 * 60 * 60),
            inline: None,
            spill_results: true,
            fetch_results: None,
            max_value: 1 << 30,
            shared_folders: false,
        }
    }
}
