//! The logs of failed activations that a run fetches.

use std::time::Duration;

use falco_core::setters;

/// The logs of failed activations that a run fetches before it removes their functions, and how much of them it keeps.
///
/// They are in the [failures](crate::report::Failure) of the report, in its table, and monitors see them
/// ([`Event::Logged`](falco_core::Event::Logged)). A platform that has no logs costs nothing.
///
/// # Examples
///
/// ```
/// use falco_executors::LogPolicy;
///
/// let policy = LogPolicy::all().with_lines(20);
/// assert_eq!((policy.lines, policy.per_stage), (20, 50));
/// assert_eq!(LogPolicy::none().per_stage, 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogPolicy {
    /// How many of a stage are fetched for each kind of error.
    pub per_kind: usize,
    /// How many of a stage are fetched at most.
    pub per_stage: usize,
    /// How many lines of each are kept, the last ones.
    pub lines: usize,
    /// How many bytes of each are kept, the last ones.
    pub bytes: usize,
    /// How many bytes of all logs of the run are kept.
    pub total_bytes: usize,
    /// How long fetching those of a stage may take at most, beside later stages. A log that the provider does not have yet
    /// is asked for again until then.
    pub patience: Duration,
    /// Whether those are fetched, too, whose function has reported a traceback.
    pub with_traceback: bool,
}

impl LogPolicy {
    /// The first 20 of each kind of error and 50 of each stage, 100 lines or 8 KiB of each and 256 KiB of all, within 15
    /// seconds after the end of a stage.
    pub fn all() -> Self {
        Self {
            per_kind: 20,
            per_stage: 50,
            lines: 100,
            bytes: 8 * 1024,
            total_bytes: 256 * 1024,
            patience: Duration::from_secs(15),
            with_traceback: true,
        }
    }

    /// As [`all`](Self::all), and only of those that failed without a traceback.
    pub fn without_traceback() -> Self {
        Self {
            per_stage: 10,
            patience: Duration::from_secs(10),
            with_traceback: false,
            ..Self::all()
        }
    }

    /// None at all; this is the default of a run.
    pub fn none() -> Self {
        Self { per_stage: 0, ..Self::all() }
    }

    setters! {
        /// Sets how many of a stage are fetched for each kind of error.
        with_per_kind(per_kind: usize);
        /// Sets how many of a stage are fetched at most.
        with_per_stage(per_stage: usize);
        /// Sets how many lines of each are kept.
        with_lines(lines: usize);
        /// Sets how many bytes of each are kept.
        with_bytes(bytes: usize);
        /// Sets how many bytes of all logs of the run are kept.
        with_total_bytes(total_bytes: usize);
        /// Sets how long fetching may take.
        with_patience(patience: Duration);
    }
}
