//! Signals that end a run before its time.

use std::fmt;
use std::future::{self, Future};
use std::pin::Pin;
#[cfg(unix)]
use std::task::Poll;

type Signal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A signal that ends a run before its time; any future is one.
///
/// # Examples
///
/// ```
/// use falco_executors::StopSignal;
/// use std::time::Duration;
///
/// let after_an_hour = StopSignal::new(async {
///     tokio::time::sleep(Duration::from_secs(3_600)).await;
/// });
/// ```
pub struct StopSignal {
    pub(super) stop: Signal,
    pub(super) leave: Signal,
    pub(super) announce: bool,
}

impl StopSignal {
    /// Ends the run cleanly when `stop` resolves: nothing more is taken in, what is in flight is cancelled, and the
    /// deployments are removed.
    pub fn new(stop: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { stop: Box::pin(stop), leave: Box::pin(future::pending()), announce: false }
    }

    /// Ends the run at once when `leave` resolves: nothing is removed any more, and the outcome lists what is left
    /// behind.
    #[must_use]
    pub fn with_leave(mut self, leave: impl Future<Output = ()> + Send + 'static) -> Self {
        self.leave = Box::pin(leave);
        self
    }
}

impl<F: Future<Output = ()> + Send + 'static> From<F> for StopSignal {
    fn from(stop: F) -> Self {
        Self::new(stop)
    }
}

impl fmt::Debug for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StopSignal")
    }
}

/// Stops a run by SIGINT (Ctrl-C), SIGTERM or SIGHUP: the first of them stops admission, abandons what is in flight and
/// removes the deployments; a second one leaves at once. Both say on stderr what they do. What is left behind is listed
/// there as well, with the command that removes it.
///
/// SIGTERM comes from `docker stop`, Kubernetes, systemd and CI; SIGHUP when the terminal goes away, unless the process
/// ignores it, as under `nohup`.
///
/// From the first poll on, that is once a run with it has begun, this process no longer dies of these signals. A
/// signal that cannot be listened to keeps its effect, and a warning is logged.
///
/// # Examples
///
/// ```no_run
/// # use falco_core::{AsyncPlatform, ExecutionStrategy};
/// # use std::sync::Arc;
/// use falco_executors::{RunOptions, stop_signals};
///
/// # fn options(platform: Arc<dyn AsyncPlatform>, strategy: Arc<dyn ExecutionStrategy>) -> RunOptions {
/// RunOptions::new(platform, strategy).with_stop(stop_signals())
/// # }
/// ```
pub fn stop_signals() -> StopSignal {
    let first = async { Signals::listen().next().await };
    let second = async {
        let mut signals = Signals::listen();
        signals.next().await;
        signals.next().await;
    };
    StopSignal { announce: true, ..StopSignal::new(first).with_leave(second) }
}

#[cfg(unix)]
struct Signals(Vec<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Signals {
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
        if !is_hangup_ignored() {
            kinds.push(SignalKind::hangup());
        }
        let listen = |kind: SignalKind| {
            let warn = |error: &std::io::Error| {
                let number = kind.as_raw_value();
                tracing::warn!(%error, number, "a signal cannot be listened to: it ends the process without removing anything");
            };
            signal(kind).inspect_err(warn).ok()
        };
        Self(kinds.into_iter().filter_map(listen).collect())
    }

    async fn next(&mut self) {
        future::poll_fn(|cx| {
            let has_come = self.0.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
            if has_come { Poll::Ready(()) } else { Poll::Pending }
        })
        .await
    }
}

/// Whether the process was started with SIGHUP ignored, as `nohup` does: [`stop_signals`] then leaves it ignored.
#[cfg(unix)]
pub fn is_hangup_ignored() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let bit = tokio::signal::unix::SignalKind::hangup().as_raw_value() - 1;
    mask.is_some_and(|mask| mask >> bit & 1 == 1)
}

/// Whether the process was started with SIGHUP ignored. There is none on this system.
#[cfg(not(unix))]
pub fn is_hangup_ignored() -> bool {
    true
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Self {
        Self
    }

    async fn next(&mut self) {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(%error, "Ctrl-C cannot be listened to: it ends the process without removing anything");
            future::pending::<()>().await;
        }
    }
}
