//! The outcome of a run.

use std::collections::BTreeMap;
use std::fmt;

use falco_core::{Deployment, Error, InvocationId, Payload, Result, RunId, StageName};
use serde::de::DeserializeOwned;

use crate::report::{Failure, RunReport, StageState};
use crate::typed::Output;

/// The outcome of a run: the report, the results that were kept, and what could not be removed.
///
/// A run whose invocations failed has an outcome, too: see [`error`](Self::error) and [`results`](Self::results).
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use = "a run that failed has an outcome, too"]
pub struct RunOutcome {
    /// The run.
    pub run: RunId,
    /// The report in numbers.
    pub report: RunReport,
    /// Deployments that could not be removed.
    pub leftovers: Vec<Leftover>,
    pub(super) suspended: bool,
    pub(super) recorded: bool,
    pub(super) results: BTreeMap<StageName, Vec<(InvocationId, Payload)>>,
    /// The inputs of the same invocations, in the same order; none unless they are kept.
    pub(super) inputs: BTreeMap<StageName, Vec<Payload>>,
}

impl RunOutcome {
    /// Why the run did not succeed: what stopped it, or the first stage that failed.
    pub fn error(&self) -> Option<&Error> {
        self.report.error.as_ref()
    }

    /// Whether the run was suspended: what was submitted and deployed stays, and another process can go on with it by
    /// means of its [journal](super::RunOptions::with_journal).
    pub fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// Whether a [journal](super::RunOptions::with_journal) holds the results, so that another process may need what they refer
    /// to.
    pub fn is_recorded(&self) -> bool {
        self.recorded
    }

    /// Whether every stage succeeded.
    pub fn is_success(&self) -> bool {
        self.error().is_none()
    }

    /// The results of a stage that succeeded, sorted by the ids of its invocations.
    ///
    /// # Errors
    ///
    /// The stage's own error when it did not succeed; `InvalidInput` when the plan has no such stage or the run was
    /// not set to [keep](super::KeepResults) its results.
    pub fn results(&self, stage: &str) -> Result<&[(InvocationId, Payload)]> {
        if let Some(report) = self.report.stage(stage)
            && report.state != StageState::Succeeded
        {
            let error = report.error.as_ref().or(self.error()).cloned();
            return Err(error.unwrap_or_else(|| {
                Error::invalid_input(format!("stage {stage:?} did not succeed"))
            }));
        }
        self.partial_results(stage)
    }

    /// The results of a stage as values, sorted by the ids of its invocations.
    ///
    /// # Errors
    ///
    /// As [`results`](Self::results), and when a result is not a `T`.
    pub fn results_as<T: DeserializeOwned>(&self, stage: &str) -> Result<Vec<T>> {
        let parse = |(id, payload): &(InvocationId, Payload)| {
            payload.parse().map_err(|error| {
                error.context(format_args!("the result of {id:?} in stage {stage:?}"))
            })
        };
        self.results(stage)?.iter().map(parse).collect()
    }

    /// The results of a stage of a [`Pipeline`](crate::typed::Pipeline), with the type that its function has.
    ///
    /// # Errors
    ///
    /// As [`results_as`](Self::results_as).
    pub fn results_of<R: DeserializeOwned>(&self, output: &Output<R>) -> Result<Vec<R>> {
        self.results_as(output.stage().as_str())
    }

    /// The results that a stage brought, whether or not it succeeded, as values with the ids and inputs that they
    /// belong to, sorted by id. [`failures`](Self::failures) has the others.
    ///
    /// # Errors
    ///
    /// As [`partial_results`](Self::partial_results), and when a result is not a `T`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use falco_executors::RunOutcome;
    /// # #[derive(serde::Deserialize)] struct Score { score: f64 }
    /// # fn f(outcome: &RunOutcome) -> falco_core::Result<()> {
    /// for done in outcome.partial::<Score>("work")? {
    ///     println!("{}: {}", done.id, done.result.score);
    /// }
    /// for failure in outcome.failures("work") {
    ///     eprintln!("{failure}\n{}\n{}", failure.input, failure.details().unwrap_or_default());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn partial<T: DeserializeOwned>(&self, stage: &str) -> Result<Vec<Partial<T>>> {
        let mut inputs = self.inputs.get(stage).into_iter().flatten();
        let partial = |(id, payload): &(InvocationId, Payload)| {
            let result = payload.parse().map_err(|error| {
                error.context(format_args!("the result of {id:?} in stage {stage:?}"))
            })?;
            Ok(Partial { id: id.clone(), input: inputs.next().cloned(), result })
        };
        self.partial_results(stage)?.iter().map(partial).collect()
    }

    /// As [`partial`](Self::partial), with the type that the stage's function has.
    ///
    /// # Errors
    ///
    /// As [`partial`](Self::partial).
    pub fn partial_of<R: DeserializeOwned>(&self, output: &Output<R>) -> Result<Vec<Partial<R>>> {
        self.partial(output.stage().as_str())
    }

    /// The first 100 invocations of a stage that ran or were sent and did not succeed, with input, reason and
    /// traceback; [`StageReport::failures_not_listed`](crate::report::StageReport::failures_not_listed) says how many more
    /// there were.
    pub fn failures(&self, stage: &str) -> &[Failure] {
        self.report.stage(stage).map_or(&[], |report| &report.failures)
    }

    /// The results that a stage brought, whether or not it succeeded, sorted by the ids of its invocations.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the plan has no such stage or the run did not keep its results.
    pub fn partial_results(&self, stage: &str) -> Result<&[(InvocationId, Payload)]> {
        self.results.get(stage).map(Vec::as_slice).ok_or_else(|| {
            if self.report.stage(stage).is_none() {
                return Error::invalid_input(format!("the plan has no stage {stage:?}"));
            }
            Error::invalid_input(format!("the results of stage {stage:?} were not kept"))
                .with_hint("name it in RunOptions::with_kept_results")
        })
    }
}

/// A result of a stage that need not have succeeded.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Partial<T> {
    /// The invocation.
    pub id: InvocationId,
    /// The function's argument, when the run [keeps inputs](super::RunOptions::with_kept_inputs).
    pub input: Option<Payload>,
    /// The function's result.
    pub result: T,
}

/// A deployment that a run could not remove. It carries the run's tags, so that `cleanup` finds it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Leftover {
    /// The deployment.
    pub deployment: Deployment,
    /// Why it is still there.
    pub error: Error,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Deployment { name, platform, id, .. } = &self.deployment;
        write!(f, "{name} on {platform} ({id}): {}", self.error)
    }
}
