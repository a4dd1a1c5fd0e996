//! Many invocations at once, each held open until it answers.

use std::num::NonZeroUsize;

use falco_core::{BoxStream, Completion, ExecutionStrategy, Invocation, Result, Target};

use super::context::Shape;
use super::execution;
use super::options::ExecutionOptions;
use super::patience::Patience;
use super::{DEFAULT_CONCURRENCY, at_least_one};

/// Runs many invocations at once, each a call that is held open until the function answers.
///
/// Completions come in the order in which they end.
///
/// # Examples
///
/// ```
/// use falco_executors::ParallelExecutor;
///
/// let executor = ParallelExecutor::with_concurrency(128)?;
/// assert!(ParallelExecutor::with_concurrency(0).is_err());
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ParallelExecutor {
    concurrency: Option<NonZeroUsize>,
    options: ExecutionOptions,
}

impl ParallelExecutor {
    /// An executor with as many invocations at once as the platform's
    /// [`concurrency`](falco_core::Capabilities::concurrency) says, and 64 at most.
    pub fn new() -> Self {
        Self::default()
    }

    /// An executor with up to `concurrency` invocations at once.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `concurrency` is zero.
    pub fn with_concurrency(concurrency: usize) -> Result<Self> {
        let concurrency = Some(at_least_one("concurrency", concurrency)?);
        Ok(Self { concurrency, ..Self::default() })
    }

    /// Sets the options.
    #[must_use]
    pub fn with_options(mut self, options: ExecutionOptions) -> Self {
        self.options = options;
        self
    }
}

impl ExecutionStrategy for ParallelExecutor {
    fn execute(
        &self,
        target: Target,
        invocations: BoxStream<'static, Invocation>,
    ) -> BoxStream<'static, Completion> {
        let window = match self.concurrency {
            Some(concurrency) => concurrency.get(),
            None => execution::default_window(&*target.platform, DEFAULT_CONCURRENCY),
        };
        let shape = Shape { window, submit: false, patience: Patience::default() };
        execution::start(shape, self.options.clone(), target, invocations)
    }
}
