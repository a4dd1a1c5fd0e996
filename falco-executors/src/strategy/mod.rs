//! How the invocations of a stage are driven: sequentially, in parallel, or submitted and collected.
//!
//! The three executors are sizes and settings of one loop, [`execution`], which starts one [`attempt`] for each
//! invocation that it admits. Whatever can happen to an invocation happens in `attempt`: one future in, one
//! completion out.

mod admission;
mod answers;
mod asynchronous;
mod attempt;
mod batches;
mod caught;
mod clock;
mod collector;
mod completions;
mod context;
mod execution;
mod in_flight;
mod options;
mod parallel;
mod patience;
mod sequential;
mod stragglers;

pub use asynchronous::AsyncExecutor;
pub(crate) use batches::activation_log;
pub use options::{ExecutionOptions, RepeatPolicy, Speculation};
pub use parallel::ParallelExecutor;
pub use patience::Patience;
pub use sequential::SequentialExecutor;

use std::num::NonZeroUsize;

use falco_core::{Error, Result};

/// How many invocations may be in flight at once, when neither the user nor the platform says.
const DEFAULT_CONCURRENCY: usize = 64;

fn at_least_one(setting: &str, value: usize) -> Result<NonZeroUsize> {
    NonZeroUsize::new(value).ok_or_else(|| {
        Error::invalid_input(format!("the executor's {setting} must not be zero")).with_hint(
            "1 runs one invocation at a time; leave it out to follow the platform's limit",
        )
    })
}
