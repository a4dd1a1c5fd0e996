//! How many workers a platform has, how long they live, and how much a call may take.

use std::thread;
use std::time::Duration;

use falco_core::{Bounds, Capabilities, Error, Result, Scaling, setters};

const MIB: u64 = 1024 * 1024;

/// The memory that a function may be granted, in MiB.
pub const MEMORY_MIB: Bounds<u32> = Bounds { min: 16, max: 1024 * 1024 };

/// How long a function may be allowed to run.
pub const TIMEOUT: Bounds<Duration> =
    Bounds { min: Duration::from_millis(1), max: Duration::from_secs(24 * 60 * 60) };

/// Activations in flight for each worker that keep it busy while results travel. With 2 to 4 of them, a no-op function
/// reached some 60 % of the rate that it has with 32; longer functions don't care.
const IN_FLIGHT_PER_WORKER: u32 = 32;

/// How many workers a platform has, how long they live, and how much a call may take.
///
/// # Examples
///
/// ```
/// use falco_workers::WorkerLimits;
/// use std::time::Duration;
///
/// let limits = WorkerLimits::default()
///     .with_max_workers(4)
///     .with_idle_timeout(Duration::from_secs(10))
///     .with_max_log(1024 * 1024);
/// assert_eq!(limits.timeout.as_secs(), 60);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerLimits {
    /// Workers of one deployment at most, unless its `max_instances` says otherwise; one for each processor by default.
    pub max_workers: u32,
    /// How long a worker stays warm without work; a minute by default.
    pub idle_timeout: Duration,
    /// How long a worker may take to start and to load the function's code; a minute by default.
    pub start_timeout: Duration,
    /// How long an activation may run, unless the function's settings say otherwise; a minute by default.
    pub timeout: Duration,
    /// Longest argument, in bytes; 64 MiB by default.
    pub max_payload: u64,
    /// Longest result, in bytes; 64 MiB by default.
    pub max_result: u64,
    /// Longest log of one activation, in bytes, 10 MiB by default; the rest is thrown away and the log marked as truncated.
    pub max_log: u64,
    /// How much log is kept for `activation_log`, in bytes, 64 MiB by default; the oldest goes first.
    pub retained_logs: u64,
}

impl Default for WorkerLimits {
    fn default() -> Self {
        Self {
            max_workers: thread::available_parallelism()
                .map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            idle_timeout: Duration::from_secs(60),
            start_timeout: Duration::from_secs(60),
            timeout: Duration::from_secs(60),
            max_payload: 64 * MIB,
            max_result: 64 * MIB,
            max_log: 10 * MIB,
            retained_logs: 64 * MIB,
        }
    }
}

impl WorkerLimits {
    setters! {
        /// Sets how many workers one deployment may have.
        with_max_workers(max_workers: u32);
        /// Sets how long a worker stays warm without work.
        with_idle_timeout(idle_timeout: Duration);
        /// Sets how long a worker may take to start and to load the function's code.
        with_start_timeout(start_timeout: Duration);
        /// Sets how long an activation may run where the function's settings don't say.
        with_timeout(timeout: Duration);
        /// Sets the longest argument, in bytes.
        with_max_payload(max_payload: u64);
        /// Sets the longest result, in bytes.
        with_max_result(max_result: u64);
        /// Sets the longest log of one activation, in bytes.
        with_max_log(max_log: u64);
        /// Sets how much log is kept, in bytes.
        with_retained_logs(retained_logs: u64);
    }

    /// Checks that nothing is zero which must not be.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names the limit.
    pub fn validate(&self) -> Result<()> {
        let zero = [
            ("max_workers", self.max_workers == 0),
            ("timeout", self.timeout.is_zero()),
            ("start_timeout", self.start_timeout.is_zero()),
            ("max_payload", self.max_payload == 0),
            ("max_result", self.max_result == 0),
        ];
        match zero.iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => Err(Error::invalid_input(format!("{name} must not be zero"))),
            None => Ok(()),
        }
    }

    /// The capabilities of a platform with these limits, all but its runtimes.
    pub fn capabilities(&self) -> Capabilities {
        Capabilities::default()
            .with_submit(true)
            .with_resubmit(false)
            .with_logs(true)
            .with_scaling(true)
            .with_max_payload(self.max_payload)
            .with_max_submit_payload(self.max_payload)
            .with_max_result(self.max_result)
            .with_concurrency(self.max_workers.saturating_mul(IN_FLIGHT_PER_WORKER))
            .with_memory_mib(MEMORY_MIB)
            .with_timeout(TIMEOUT)
            .with_wants_layers(false)
            .with_shim(true)
    }

    /// The sizes of a new deployment, with the defaults for what `wanted` leaves open. Processors are left out.
    ///
    /// # Errors
    ///
    /// As [`check_bounds`].
    pub fn in_force(&self, wanted: &Scaling) -> Result<Scaling> {
        let min_instances = wanted.min_instances.unwrap_or(0);
        let max_instances =
            wanted.max_instances.unwrap_or_else(|| self.max_workers.max(min_instances));
        let scaling = Scaling::default()
            .with_memory_mib(wanted.memory_mib)
            .with_timeout(wanted.timeout.unwrap_or(self.timeout))
            .with_min_instances(min_instances)
            .with_max_instances(max_instances)
            .with_concurrency(1);
        check_bounds(&scaling)?;
        Ok(scaling)
    }

    /// The sizes of a pool for a deployment.
    pub fn pool(&self, scaling: &Scaling) -> PoolLimits {
        let count = |wanted: Option<u32>, default: u32| {
            usize::try_from(wanted.unwrap_or(default)).unwrap_or(usize::MAX)
        };
        PoolLimits {
            max_workers: count(scaling.max_instances, self.max_workers),
            min_workers: count(scaling.min_instances, 0),
            timeout: scaling.timeout.unwrap_or(self.timeout),
            memory_mib: scaling.memory_mib,
            cpus: scaling.cpus.map(f64::from),
        }
    }
}

/// Checks memory and timeout of a function.
///
/// # Errors
///
/// `InvalidInput` for a size outside of [`MEMORY_MIB`] or [`TIMEOUT`], with what is allowed.
pub fn check_bounds(scaling: &Scaling) -> Result<()> {
    if let Some(memory) = scaling.memory_mib.filter(|memory| !MEMORY_MIB.contains(*memory)) {
        return Err(Error::invalid_input(format!(
            "{memory} MiB of memory: {} to {} are allowed",
            MEMORY_MIB.min, MEMORY_MIB.max
        )));
    }
    if let Some(timeout) = scaling.timeout.filter(|timeout| !TIMEOUT.contains(*timeout)) {
        return Err(Error::invalid_input(format!(
            "a timeout of {timeout:?}: {:?} to {:?} are allowed",
            TIMEOUT.min, TIMEOUT.max
        )));
    }
    Ok(())
}

/// The sizes in force of one deployment's pool.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PoolLimits {
    /// Workers at most.
    pub max_workers: usize,
    /// Workers that stay, also without work.
    pub min_workers: usize,
    /// How long an activation may run.
    pub timeout: Duration,
    /// The memory of a worker, in MiB.
    pub memory_mib: Option<u32>,
    /// The processors of a worker.
    pub cpus: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_gets_the_defaults_for_what_it_leaves_open() {
        let limits = WorkerLimits::default().with_max_workers(3);
        let open = limits.in_force(&Scaling::default()).unwrap();
        assert_eq!((open.max_instances, open.timeout), (Some(3), Some(limits.timeout)));
        let many = limits.in_force(&Scaling::default().with_min_instances(5)).unwrap();
        assert_eq!(many.max_instances, Some(5));
        let pool = limits.pool(&many);
        assert_eq!((pool.min_workers, pool.max_workers, pool.timeout), (5, 5, limits.timeout));
    }

    #[test]
    fn limits_of_zero_and_sizes_out_of_bounds_are_named() {
        let error = WorkerLimits::default().with_max_result(0).validate().unwrap_err();
        assert!(error.to_string().contains("max_result"), "{error}");
        let tiny = Scaling::default().with_memory_mib(1);
        let error = WorkerLimits::default().in_force(&tiny).unwrap_err();
        assert!(error.to_string().contains("1 MiB of memory: 16 to"), "{error}");
    }
}
