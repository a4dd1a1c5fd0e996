//! Many invocations at once, submitted and collected later.

use std::num::NonZeroUsize;

use falco_core::{BoxStream, Completion, ExecutionStrategy, Invocation, Result, Target};

use super::at_least_one;
use super::context::Shape;
use super::execution;
use super::options::ExecutionOptions;
use super::patience::Patience;

/// Invocations on their way at once, when neither the user nor the platform says.
const DEFAULT_WINDOW: usize = 1000;

/// Submits invocations and collects their results in batches, while it goes on submitting.
///
/// A running activation holds no connection, so windows may be large. The platform says how often to ask for
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
