//! Points at which tests kill the process; nothing without the feature `kill-points`.

/// Says that an append, a sync or a call begins or has ended.
#[cfg(not(feature = "kill-points"))]
#[inline]
pub(crate) fn point() {}

/// Kills the process at the nth point, as `FALCO_JOURNAL_KILL_AT` says.
#[cfg(feature = "kill-points")]
pub(crate) fn point() {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    static AT: LazyLock<Option<u64>> =
        LazyLock::new(|| std::env::var("FALCO_JOURNAL_KILL_AT").ok()?.parse().ok());
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let Some(at) = *AT else { return };
    if PASSED.fetch_add(1, SeqCst) + 1 == at {
        use rustix::process::{Signal, getpid, kill_process};
        // The whole process dies here, as by `kill -9`.
        let _ = kill_process(getpid(), Signal::KILL);
    }
}
