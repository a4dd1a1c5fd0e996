//! The user's program.

use std::fmt::Debug;

use crate::completion::Completion;
use crate::error::Result;
use crate::monitor::Verdict;
use crate::plan::ExecutionPlan;
use crate::stage::Stage;

/// A program to run: a name, a plan, and hooks to watch it.
///
/// `DriverExt` of falco-executors gives every driver `deploy`, `execute`, `remove` and `run`.
///
/// # Examples
///
/// ```
/// use falco_core::{Deployable, Driver, ExecutionPlan, Payload, Result, Stage};
///
/// #[derive(Debug)]
/// struct Hello;
///
/// impl Driver for Hello {
///     fn name(&self) -> &str { "hello" }
///
///     fn plan(&self) -> Result<ExecutionPlan> {
///         let f = Deployable::from_source("hello", "python:3".parse()?, "def main(args): return args");
///         ExecutionPlan::new(vec![Stage::from_payloads("greet", f, vec![Payload::empty()])])
///     }
/// }
/// # Hello.plan().unwrap();
/// ```
pub trait Driver: Debug + Send + Sync {
    /// A short name, which errors carry. Deployments are named after their function and the run.
    fn name(&self) -> &str;

    /// The stages to run.
    ///
    /// # Errors
    ///
    /// Whatever makes the plan impossible: see [`ExecutionPlan::new`].
    fn plan(&self) -> Result<ExecutionPlan>;

    /// Called before a stage starts; [`Verdict::Stop`] ends the run cleanly.
    fn before_stage(&self, _stage: &Stage) -> Verdict {
        Verdict::Continue
    }

    /// Called with each completion of every stage, in the order in which they arrive; [`Verdict::Stop`] ends the
    /// run cleanly. It must not block.
    fn on_completion(&self, _completion: &Completion) -> Verdict {
        Verdict::Continue
    }
}

const _: fn(&dyn Driver) = |_| {};
