//! One invocation after the other.

use falco_core::{BoxStream, Completion, ExecutionStrategy, Invocation, Target};

use super::context::Shape;
use super::execution;
use super::options::ExecutionOptions;
use super::patience::Patience;

/// Runs one invocation after the other, and keeps their order.
///
/// An invocation is sent once the completion before it has been taken. With
/// [speculation](super::Speculation), a straggler's copy runs beside it.
///
/// # Examples
///
/// ```
/// use falco_executors::{ExecutionOptions, OnFailure, SequentialExecutor};
///
/// let options = ExecutionOptions::default().with_on_failure(OnFailure::Continue);
/// let executor = SequentialExecutor::new().with_options(options);
/// ```
#[derive(Clone, Debug, Default)]
pub struct SequentialExecutor {
    options: ExecutionOptions,
}

impl SequentialExecutor {
    /// An executor with the default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the options.
    #[must_use]
    pub fn with_options(mut self, options: ExecutionOptions) -> Self {
        self.options = options;
        self
    }
}

impl ExecutionStrategy for SequentialExecutor {
    fn execute(
        &self,
        target: Target,
        invocations: BoxStream<'static, Invocation>,
    ) -> BoxStream<'static, Completion> {
        let shape = Shape { window: 1, submit: false, patience: Patience::default() };
        execution::start(shape, self.options.clone(), target, invocations)
    }
}
