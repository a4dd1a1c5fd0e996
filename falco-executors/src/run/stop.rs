//! What ends a run before its time.

use std::fmt;
use std::future::{self, Future};
use std::pin::Pin;

type Signal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What ends a run before its time; any future is one.
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
    /// Ends the run in order when `stop` resolves: nothing more is taken in, what is in flight is cancelled, and the
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

/// Stops a run by Ctrl-C: the first stops admission, abandons what is in flight and removes the deployments; the
/// second leaves at once. Both say on stderr what they do, the second also what was left behind.
///
/// From the first poll on, that is once a run with it has begun, this process no longer dies of Ctrl-C. Where the
/// signal cannot be listened to, nothing is changed and a warning is logged.
///
/// # Examples
///
/// ```no_run
/// # use falco_core::{AsyncPlatform, ExecutionStrategy};
/// # use std::sync::Arc;
/// use falco_executors::{RunOptions, ctrl_c};
///
/// # fn options(platform: Arc<dyn AsyncPlatform>, strategy: Arc<dyn ExecutionStrategy>) -> RunOptions {
/// RunOptions::new(platform, strategy).with_stop(ctrl_c())
/// # }
/// ```
pub fn ctrl_c() -> StopSignal {
    let first = interrupt();
    let second = async {
        interrupt().await;
        interrupt().await;
    };
    StopSignal { announce: true, ..StopSignal::new(first).with_leave(second) }
}

async fn interrupt() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::warn!(%error, "Ctrl-C cannot be listened to: it ends the process without removing anything");
        future::pending::<()>().await;
    }
}
