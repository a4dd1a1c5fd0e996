//! What a run gives back.

use std::collections::BTreeMap;
use std::fmt;

use falco_core::{Deployment, Error, InvocationId, Payload, Result, RunId, StageName};
use serde::de::DeserializeOwned;

use crate::report::{RunReport, StageState};
use crate::typed::Output;

/// What a run gives back: the report, the results that were kept, and what could not be removed.
///
/// A run whose invocations failed has an outcome, too: [`error`](Self::error) and [`results`](Self::results) tell.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use = "a run that failed has an outcome, too"]
pub struct RunOutcome {
    /// The run.
    pub run: RunId,
    /// What came of it, in numbers.
    pub report: RunReport,
    /// Deployments that could not be removed.
    pub leftovers: Vec<Leftover>,
    pub(super) results: BTreeMap<StageName, Vec<(InvocationId, Payload)>>,
}

impl RunOutcome {
    /// Why the run did not succeed: what stopped it, or the first stage that failed.
    pub fn error(&self) -> Option<&Error> {
        self.report.error.as_ref()
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
    /// not told to [keep](super::Keep) its results.
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
    /// As [`results`](Self::results), and when a result is no `T`.
    pub fn results_as<T: DeserializeOwned>(&self, stage: &str) -> Result<Vec<T>> {
        let parse = |(id, payload): &(InvocationId, Payload)| {
            payload.parse_owned().map_err(|error| {
                error.context(format_args!("the result of {id:?} in stage {stage:?}"))
            })
        };
        self.results(stage)?.iter().map(parse).collect()
    }

    /// The results of a stage of a [`Pipeline`](crate::Pipeline), with the type that its function has.
    ///
    /// # Errors
    ///
    /// As [`results_as`](Self::results_as).
    pub fn results_of<R: DeserializeOwned>(&self, output: &Output<R>) -> Result<Vec<R>> {
        self.results_as(output.stage().as_str())
    }

    /// The results that a stage brought, whether or not it succeeded, sorted by the ids of its invocations.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the plan has no such stage or the run was not told to keep its results.
    pub fn partial_results(&self, stage: &str) -> Result<&[(InvocationId, Payload)]> {
        self.results.get(stage).map(Vec::as_slice).ok_or_else(|| {
            if self.report.stage(stage).is_none() {
                return Error::invalid_input(format!("the plan has no stage {stage:?}"));
            }
            Error::invalid_input(format!("the results of stage {stage:?} were not kept"))
                .with_hint("name it in RunOptions::keep_results")
        })
    }
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
