//! The calls that a platform in memory has seen, as numbers for laws.

use std::sync::atomic::{AtomicU64, Ordering};

use super::fate::Operation;

/// The calls that a platform in memory has seen so far.
///
/// # Examples
///
/// The law of a dropped run: one tick later nothing runs, and nothing is held.
///
/// ```
/// # use falco_testkit::InMemory;
/// # let platform = InMemory::default();
/// let counters = platform.counters();
/// assert_eq!((counters.running, counters.unreleased), (0, 0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Calls of `deploy`.
    pub deploys: u64,
    /// Calls of `remove`.
    pub removes: u64,
    /// Calls of `invoke`.
    pub invokes: u64,
    /// Calls of `submit`.
    pub submits: u64,
    /// Calls of `collect`.
    pub collects: u64,
    /// Activations that were started.
    pub started: u64,
    /// Activations that run now, submitted ones included.
    pub running: u64,
    /// The most activations that ever ran at once.
    pub peak_running: u64,
    /// Invocations that were refused as throttled, by fate or for want of capacity.
    pub throttled: u64,
    /// Submissions that were accepted and not released yet.
    pub unreleased: u64,
    /// Activations released as taken.
    pub taken: u64,
    /// Activations released as abandoned.
    pub abandoned: u64,
    /// Activations that `collect` has reported as finished, repetitions included.
    pub reported: u64,
}

/// The counters at work: one atomic each, so that no call waits for another.
#[derive(Debug, Default)]
pub(super) struct Tally {
    calls: [AtomicU64; 9],
    pub(super) started: AtomicU64,
    pub(super) running: AtomicU64,
    peak_running: AtomicU64,
    pub(super) throttled: AtomicU64,
    pub(super) taken: AtomicU64,
    pub(super) abandoned: AtomicU64,
    pub(super) reported: AtomicU64,
}

impl Tally {
    /// Counts a call; its number among those of its operation, from 1.
    pub(super) fn call(&self, operation: Operation) -> u64 {
        self.calls[operation as usize].fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Takes a place among the running, unless `capacity` are.
    pub(super) fn try_start(&self, capacity: Option<u32>) -> bool {
        let limit = capacity.map_or(u64::MAX, u64::from);
        let before = self.running.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |running| {
            (running < limit).then_some(running + 1)
        });
        if let Ok(running) = before {
            self.started.fetch_add(1, Ordering::Relaxed);
            self.peak_running.fetch_max(running + 1, Ordering::Relaxed);
        }
        before.is_ok()
    }

    /// Gives places back.
    pub(super) fn end(&self, activations: u64) {
        self.running.fetch_sub(activations, Ordering::AcqRel);
    }

    pub(super) fn snapshot(&self, unreleased: u64) -> Counters {
        let calls = |operation: Operation| self.calls[operation as usize].load(Ordering::Relaxed);
        Counters {
            deploys: calls(Operation::Deploy),
            removes: calls(Operation::Remove),
            invokes: calls(Operation::Invoke),
            submits: calls(Operation::Submit),
            collects: calls(Operation::Collect),
            started: self.started.load(Ordering::Relaxed),
            running: self.running.load(Ordering::Acquire),
            peak_running: self.peak_running.load(Ordering::Relaxed),
            throttled: self.throttled.load(Ordering::Relaxed),
            unreleased,
            taken: self.taken.load(Ordering::Relaxed),
            abandoned: self.abandoned.load(Ordering::Relaxed),
            reported: self.reported.load(Ordering::Relaxed),
        }
    }
}
