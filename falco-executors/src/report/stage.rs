//! The outcome of one stage.

use std::time::Duration;

use falco_core::{Error, StageName, UsDollars};
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::latency::{Distributions, Latencies};
use super::size::SizeReport;

/// The outcome of one stage in numbers. Its size does not depend on how many invocations there were.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StageReport {
    /// The stage.
    pub stage: StageName,
    /// How it ended.
    pub state: StageState,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
    /// Invocations by what came of them.
    pub invocations: Counts,
    /// Attempts that strategies made, speculative copies included.
    pub attempts: u64,
    /// Attempts and calls that were made because an earlier one failed or was lost.
    pub retries: u64,
    /// Speculative copies of slow invocations.
    pub copies: u64,
    /// Calls that the platform refused for its rate or concurrency.
    pub throttled: u64,
    /// Answers that came a second time, or for an attempt that had lost.
    pub duplicates_ignored: u64,
    /// Activations for which an instance was started, those of repeated attempts included.
    pub cold_starts: u64,
    /// From the start of the stage to its end.
    #[serde(rename = "wall_ms", with = "super::millis")]
    pub wall: Duration,
    /// How long the provider kept activations waiting, where it reports it.
    pub queue: Latencies,
    /// How long instances took to start; cold starts only, where the provider reports it.
    pub cold_start: Latencies,
    /// How long functions ran, where the provider reports it.
    pub execution: Latencies,
    /// From being taken in by the strategy until the answer, by the driver's clock; cancelled ones are left out.
    pub total: Latencies,
    /// The cost of the activations, repeated ones too, if the provider reports it for any. Estimated costs are in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<UsDollars>,
    /// The activations by the size of the deployment that ran them, the smallest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<SizeReport>,
    /// The first 100 invocations that ran or were sent and did not succeed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    /// How many more there were.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures_not_listed: u64,
    /// The distributions from which a run's latencies are summed up; not part of a report that was stored.
    #[serde(skip)]
    pub(super) distributions: Distributions,
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StageState {
    /// Every stage upstream succeeded, every input was taken in, and every invocation succeeded.
    Succeeded,
    /// An input, the derivation, or an invocation failed.
    Failed,
    /// It could not begin or end because a stage that it follows did not succeed.
    UpstreamFailed,
    /// It was stopped: with the run, or because all stages that follow it had stopped.
    Stopped,
}

impl StageState {
    /// The state in lower-case words, for tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::UpstreamFailed => "upstream failed",
            Self::Stopped => "stopped",
        }
    }
}

/// Invocations by what came of them. All but `skipped` entered the strategy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Counts {
    /// The function returned a result.
    pub succeeded: u64,
    /// The function failed.
    pub function_failed: u64,
    /// The platform did not run it.
    pub platform_failed: u64,
    /// Nobody can know whether it ran.
    pub unknown: u64,
    /// It was stopped after it was taken in.
    pub cancelled: u64,
    /// The stage's deadline passed.
    pub deadline_exceeded: u64,
    /// Those of all of these that an earlier process completed, and that were not sent again: their completions come from
    /// a [journal](crate::RunOptions::with_journal).
    #[serde(skip_serializing_if = "is_zero")]
    pub recalled: u64,
    /// Inputs that never entered the strategy, because the stage stopped before.
    pub skipped: u64,
    /// Whether `skipped` is "at least": a derived stage lacks results to derive its inputs from, or the inputs could
    /// not be counted to their end within a second.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skipped_is_lower_bound: bool,
}

impl Counts {
    /// All that entered the strategy.
    pub fn entered(&self) -> u64 {
        self.succeeded + self.cancelled + self.failed() + self.unknown
    }

    /// Those that are known to have failed, by the function's or the platform's fault.
    pub fn failed(&self) -> u64 {
        self.function_failed + self.platform_failed + self.deadline_exceeded
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.succeeded += other.succeeded;
        self.function_failed += other.function_failed;
        self.platform_failed += other.platform_failed;
        self.unknown += other.unknown;
        self.cancelled += other.cancelled;
        self.deadline_exceeded += other.deadline_exceeded;
        self.recalled += other.recalled;
        self.skipped += other.skipped;
        self.skipped_is_lower_bound |= other.skipped_is_lower_bound;
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
