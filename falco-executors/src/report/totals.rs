//! The outcome of a run.

use std::time::Duration;

use falco_core::{Error, RunId, UsDollars};
use falco_layers::BudgetReport;
use serde::{Deserialize, Serialize};

use super::latency::{Distributions, Latencies};
use super::price::PlanPrice;
use super::recorder::rounded;
use super::stage::{Counts, StageReport};

/// The outcome of a run: its stages in the order of the plan, and their sums.
///
/// `Display` is a table for people; serialised it is JSON with durations in milliseconds.
///
/// # Examples
///
/// ```
/// # use falco_executors::report::RunReport;
/// # fn show(report: &RunReport) -> anyhow::Result<()> {
/// eprintln!("{report}");
/// println!("{}", serde_json::to_string(report)?);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunReport {
    /// The run.
    pub run: RunId,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
    /// From the start of the run until its last stage ended, deploying included.
    #[serde(rename = "wall_ms", with = "super::millis")]
    pub wall: Duration,
    /// How long nobody answered for the platform, removing included.
    #[serde(
        rename = "outage_ms",
        with = "super::millis",
        default,
        skip_serializing_if = "Duration::is_zero"
    )]
    pub outage: Duration,
    /// Invocations of all stages by what came of them.
    pub invocations: Counts,
    /// Attempts of all stages.
    pub attempts: u64,
    /// How long the provider kept activations waiting, where it reports it.
    pub queue: Latencies,
    /// How long instances took to start.
    pub cold_start: Latencies,
    /// How long functions ran, where the provider reports it.
    pub execution: Latencies,
    /// From being taken in by the strategy until the answer.
    pub total: Latencies,
    /// The cost of all activations, if the provider reports it for any. Estimated costs are in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<UsDollars>,
    /// The cost of the plan at most, as it was known before the run; only with a [budget](crate::RunOptions::with_budget).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PlanPrice>,
    /// Expenses under the [budget](crate::RunOptions::with_budget), with an estimate for each stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetReport>,
    /// The stages, in the order of the plan.
    pub stages: Vec<StageReport>,
}

impl RunReport {
    pub(crate) fn new(
        run: RunId,
        error: Option<Error>,
        wall: Duration,
        outage: Duration,
        stages: Vec<StageReport>,
    ) -> Self {
        let mut sums = Distributions::default();
        let mut invocations = Counts::default();
        for stage in &stages {
            invocations.add(&stage.invocations);
            sums.add(&stage.distributions);
        }
        let costs: Vec<UsDollars> = stages.iter().filter_map(|stage| stage.cost).collect();
        Self {
            run,
            error,
            wall,
            outage,
            invocations,
            attempts: stages.iter().map(|stage| stage.attempts).sum(),
            queue: sums.queue.latencies(),
            cold_start: sums.cold_start.latencies(),
            execution: sums.execution.latencies(),
            total: sums.total.latencies(),
            cost: (!costs.is_empty()).then(|| rounded(costs.into_iter().sum())),
            price: None,
            budget: None,
            stages,
        }
    }

    /// The report of a stage, by name.
    pub fn stage(&self, name: &str) -> Option<&StageReport> {
        self.stages.iter().find(|stage| stage.stage == *name)
    }

    /// Whether every stage succeeded.
    pub fn is_success(&self) -> bool {
        self.error.is_none()
    }
}
