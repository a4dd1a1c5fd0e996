//! The signal that ended a program, for its exit code.

use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// The first SIGINT, SIGTERM or SIGHUP since [`remember`], as a number.
pub(crate) fn received() -> Option<u8> {
    u8::try_from(RECEIVED.load(Relaxed)).ok().filter(|signal| *signal > 0)
}

/// Takes note of the first signal that comes from now on, of those that stop a run. What they do is the run's to say.
#[cfg(unix)]
pub(crate) fn remember() {
    use tokio::signal::unix::{SignalKind, signal};

    let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
    if !falco_executors::is_hangup_ignored() {
        kinds.push(SignalKind::hangup());
    }
    for kind in kinds {
        let Ok(mut signals) = signal(kind) else { continue };
        tokio::spawn(async move {
            signals.recv().await;
            let _ = RECEIVED.compare_exchange(0, kind.as_raw_value(), Relaxed, Relaxed);
        });
    }
}

#[cfg(not(unix))]
pub(crate) fn remember() {}

/// Resolves at the first SIGINT or SIGTERM, for commands that run no plan. The [exit code](crate::exit_code) then says so.
#[cfg(unix)]
pub async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};

    let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
    let (Ok(mut interrupts), Ok(mut terminations)) = (signal(interrupt), signal(terminate)) else {
        return std::future::pending().await;
    };
    let kind = tokio::select! {
        _ = interrupts.recv() => interrupt,
        _ = terminations.recv() => terminate,
    };
    let _ = RECEIVED.compare_exchange(0, kind.as_raw_value(), Relaxed, Relaxed);
}

/// Resolves at Ctrl-C.
#[cfg(not(unix))]
pub async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
