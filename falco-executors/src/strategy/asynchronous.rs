//! Many invocations at once, submitted and collected later.

use std::num::NonZeroUsize;
use std::time::Duration;

use falco_core::{
    BoxStream, Completion, Deployment, ExecutionStrategy, Invocation, Result, Target,
};

use super::at_least_one;
use super::execution::{self, Shape};
use super::options::ExecutionOptions;

/// Invocations on their way at once, when neither the user nor the platform says.
const DEFAULT_WINDOW: usize = 1000;

/// Submits invocations and collects their results in batches, while it goes on submitting.
///
/// What runs at the provider holds no connection, so windows may be large. The platform says how often to ask for
/// results, and one request asks for many of them. A collect that fails is not a failure of the invocations: it is
/// repeated after a pause, until they are lost by [`Patience`].
///
/// Where the platform can only invoke (`capabilities().submit` is false) it does what
/// [`ParallelExecutor`](super::ParallelExecutor) does.
///
/// # Examples
///
/// ```
/// use falco_executors::{AsyncExecutor, Patience};
/// use std::time::Duration;
///
/// let patience = Patience::default().with_margin(Duration::from_secs(30));
/// let executor = AsyncExecutor::with_window(5_000)?.with_patience(patience);
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct AsyncExecutor {
    window: Option<NonZeroUsize>,
    patience: Patience,
    options: ExecutionOptions,
}

impl AsyncExecutor {
    /// An executor with as many invocations on their way at once as the platform's
    /// [`concurrency`](falco_core::Capabilities::concurrency) says, and 1,000 at most.
    pub fn new() -> Self {
        Self::default()
    }

    /// An executor with up to `window` invocations on their way at once.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `window` is zero.
    pub fn with_window(window: usize) -> Result<Self> {
        Ok(Self { window: Some(at_least_one("window", window)?), ..Self::default() })
    }

    /// Sets how long to wait for the result of what was accepted.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Sets the options.
    #[must_use]
    pub fn with_options(mut self, options: ExecutionOptions) -> Self {
        self.options = options;
        self
    }
}

impl ExecutionStrategy for AsyncExecutor {
    fn execute(
        &self,
        target: Target,
        invocations: BoxStream<'static, Invocation>,
    ) -> BoxStream<'static, Completion> {
        let window = match self.window {
            Some(window) => window.get(),
            None => execution::default_window(&*target.platform, DEFAULT_WINDOW),
        };
        let submit = target.platform.capabilities().submit;
        let shape = Shape { window, submit, patience: self.patience };
        execution::start(shape, self.options.clone(), target, invocations)
    }

    fn submits(&self) -> bool {
        true
    }
}

/// How long to wait for the result of an accepted invocation, from its acceptance; then it is lost.
///
/// It is the time that the function may run, plus a margin for what the provider does before and after: queueing,
/// starting an instance, storing the record.
///
/// While nobody answers whether there is a result, an activation that is due is waited for longer, up to
/// [`with_outage`](Self::with_outage).
///
/// An invocation that an earlier process submitted gets at least the margin, however long ago that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    function_timeout: Option<Duration>,
    margin: Duration,
    outage: Duration,
}

impl Patience {
    /// The margin unless set otherwise.
    const MARGIN: Duration = Duration::from_secs(5 * 60);
    /// As long as layers wait unless set otherwise.
    const OUTAGE: Duration = Duration::from_secs(5 * 60);
    /// The longest that a function runs where the deployment sets no timeout; Lambda's maximum.
    const FUNCTION_TIMEOUT: Duration = Duration::from_secs(15 * 60);

    /// Sets the time that the function may run, instead of what the deployment's
    /// [`scaling`](falco_core::Deployment::scaling) says, or 15 minutes where it says nothing.
    #[must_use]
    pub fn with_function_timeout(mut self, timeout: Duration) -> Self {
        self.function_timeout = Some(timeout);
        self
    }

    /// Sets the margin, 5 minutes by default.
    #[must_use]
    pub fn with_margin(mut self, margin: Duration) -> Self {
        self.margin = margin;
        self
    }

    /// Sets how much longer to wait while nobody answers whether there is a result, 5 minutes by default.
    #[must_use]
    pub fn with_outage(mut self, outage: Duration) -> Self {
        self.outage = outage;
        self
    }

    pub(super) fn outage(self) -> Duration {
        self.outage
    }

    pub(super) fn margin(self) -> Duration {
        self.margin
    }

    pub(super) fn in_all(self, deployment: &Deployment) -> Duration {
        let timeout = self.function_timeout.or(deployment.scaling.timeout);
        timeout.unwrap_or(Self::FUNCTION_TIMEOUT).saturating_add(self.margin)
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self { function_timeout: None, margin: Self::MARGIN, outage: Self::OUTAGE }
    }
}
