//! The strategy of a run, as the command line names it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use falco_core::ExecutionStrategy;
use falco_executors::{
    AsyncExecutor, ExecutionOptions, ParallelExecutor, Patience, RepeatPolicy, SequentialExecutor,
    Speculation,
};

use crate::flags::{ExecutionFlags, Executor, OnFailure};

/// The pause before an invocation whose function failed is sent again.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The strategy, with its options.
pub(super) fn of(flags: &ExecutionFlags) -> falco_core::Result<Arc<dyn ExecutionStrategy>> {
    let repeats = RepeatPolicy::exponential(flags.retries, Duration::from_secs(1));
    let repeats_of_failed = RepeatPolicy::exponential(flags.repeat_failed, FIRST_PAUSE);
    let mut options = ExecutionOptions::default()
        .with_repeat_lost(repeats)
        .with_repeat_failed(repeats_of_failed)
        .with_on_failure(flags.on_failure.unwrap_or(OnFailure::Stop).into());
    if let Some(deadline) = flags.deadline {
        options = options.with_deadline(deadline);
    }
    if let Some(factor) = flags.speculate {
        options = options.with_speculation(Speculation::slower_than(factor)?);
    }
    let concurrency = flags.concurrency.map(NonZeroUsize::get);
    Ok(match (flags.executor, concurrency) {
        (Executor::Sequential, _) => Arc::new(SequentialExecutor::new().with_options(options)),
        (Executor::Parallel, Some(calls)) => {
            Arc::new(ParallelExecutor::with_concurrency(calls)?.with_options(options))
        }
        (Executor::Parallel, None) => Arc::new(ParallelExecutor::new().with_options(options)),
        (Executor::Async, window) => {
            let executor = match window {
                Some(window) => AsyncExecutor::with_window(window)?,
                None => AsyncExecutor::new(),
            };
            Arc::new(executor.with_options(options).with_patience(patience(flags)))
        }
    })
}

/// How long a submitted attempt is waited for.
fn patience(flags: &ExecutionFlags) -> Patience {
    let default = Patience::default().with_outage(flags.outage_patience);
    match flags.attempt_timeout {
        Some(timeout) => default.with_function_timeout(timeout).with_margin(Duration::ZERO),
        None => default,
    }
}
