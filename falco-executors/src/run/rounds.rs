//! Whole stages, one after the other, for drivers with loops: a round is executed to its end, and its results say what the
//! next one is.

use std::sync::Arc;

use falco_core::{Deployment, Error, Input, InvocationId, Payload, Result};
use futures_util::{StreamExt, stream};
use serde::de::DeserializeOwned;

use super::outcome::Leftover;
use super::session::Session;
use super::stage_spec::StageSpec;
use crate::report::StageReport;

/// A stage that has come to its end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Round {
    /// The results, sorted by the ids of the invocations: in the order of the payloads.
    pub results: Vec<(InvocationId, Payload)>,
    /// The report of the stage, for [`Session::report`].
    pub report: StageReport,
}

impl Round {
    /// The results as values, in the order of the payloads.
    ///
    /// # Errors
    ///
    /// The stage's own error, when an invocation has no result; and `InvalidInput` when a result is not a `T`.
    pub fn results_as<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        if let Some(error) = &self.report.error {
            return Err(error.clone());
        }
        let parsed = self.results.iter().map(|(id, result)| {
            result.parse::<T>().map_err(|error| {
                Error::invalid_input(format!("invalid result of invocation {id}"))
                    .with_source(&error)
            })
        });
        parsed.collect()
    }
}

impl Session {
    /// Executes a stage over payloads to its end, by the strategy of the options. The invocations are numbered from 0.
    ///
    /// It has to be called within a runtime. Dropped, it stops the stage without completions.
    ///
    /// # Examples
    ///
    /// A loop that ends when nothing moves any more:
    ///
    /// ```
    /// # use falco_core::{Deployable, Payload, Result};
    /// # use falco_executors::RunOptions;
    /// use falco_executors::session::{Session, StageSpec};
    /// use serde_json::json;
    ///
    /// # async fn f(options: RunOptions, halve: Deployable) -> Result<()> {
    /// let session = Session::start(options)?;
    /// let deployment = session.deploy(&halve).await?;
    /// let (mut x, mut reports) = (1_000.0, Vec::new());
    /// while x > 1.0 {
    ///     let stage = StageSpec::new(format!("round-{}", reports.len()));
    ///     let round = session.round(stage, &deployment, [Payload::json(&json!({ "x": x }))?]).await;
    ///     reports.push(round.report.clone());
    ///     let [next] = round.results_as::<[f64; 1]>()?[..] else { break };
    ///     x = next[0];
    /// }
    /// let leftovers = session.end(&mut reports).await;
    /// println!("{}", session.report(reports));
    /// # Ok(()) }
    /// ```
    pub async fn round(
        &self,
        stage: impl Into<StageSpec>,
        deployment: &Arc<Deployment>,
        payloads: impl IntoIterator<Item = Payload>,
    ) -> Round {
        let inputs: Vec<_> = payloads
            .into_iter()
            .enumerate()
            .map(|(number, payload)| Ok(Input::numbered(number, payload)))
            .collect();
        let strategy = self.strategy.clone();
        let mut running = self.execute(&*strategy, stage, deployment, stream::iter(inputs));
        let mut results = Vec::new();
        while let Some(completion) = running.next().await {
            if let Some(result) = completion.result() {
                results.push((completion.invocation.clone(), result.clone()));
            }
        }
        results.sort_by(|(left, _), (right, _)| left.cmp(right));
        Round { results, report: running.finish().await }
    }

    /// Ends the run as its options say: adds the logs of failed activations to the reports, and removes what the run has
    /// deployed, unless it is to stay. Returns what could not be removed.
    pub async fn end(&self, reports: &mut [StageReport]) -> Vec<Leftover> {
        if self.keep_deployments && !self.is_suspended() {
            self.add_failed_logs(reports).await;
            self.finish();
            return Vec::new();
        }
        let leftovers = self.remove_all().await;
        if !self.is_suspended() {
            self.add_failed_logs(reports).await;
        }
        leftovers
    }
}
