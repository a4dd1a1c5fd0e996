//! Plan runner, asynchronous executor and all layers, against a provider that throttles, fails and loses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use falco_core::{Deployable, Driver, ExecutionPlan, Payload, Result, Scaling, Stage};
use falco_executors::{
    AsyncExecutor, DriverExt, ExecutionOptions, KeepResults, OnFailure, RunOptions,
};
use falco_layers::Stack;
use falco_testkit::{Fates, InMemory, Latency, Odds, Settings};

use crate::figure::{Figure, Goal};
use crate::memory;

const INVOCATIONS: usize = 200_000;
const MB: f64 = 1e6;

/// The benchmark `full-stack`.
pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(measure())
}

async fn measure() -> anyhow::Result<Vec<Figure>> {
    let provider = Arc::new(InMemory::new(Settings {
        capacity: Some(1_000),
        latency: Latency::log_normal(Duration::from_millis(500), 0.4),
        duplicates: 0.01,
        fates: Fates::random(
            7,
            Odds {
                throttled: 0.02,
                unavailable: 0.01,
                reset: 0.005,
                lost: 0.002,
                gone: 0.002,
                collect_failed: 0.02,
                ..Odds::default()
            },
        ),
        ..Settings::default()
    }));
    let platform = Stack::new().wrap(Arc::clone(&provider))?;
    let options = ExecutionOptions::default().with_on_failure(OnFailure::Continue);
    let executor = AsyncExecutor::with_window(2_000)?.with_options(options);
    let options =
        RunOptions::new(platform, Arc::new(executor)).with_kept_results(KeepResults::Nothing);

    memory::reset_peak()?;
    let start = Instant::now();
    let outcome = Many.run(options).await?;
    let seconds = start.elapsed().as_secs_f64();
    let peak = memory::peak()? / MB;

    let stage = outcome.report.stages.first().context("the run had no stage")?;
    let all = INVOCATIONS as f64;
    let left = provider.counters();
    Ok(vec![
        Figure::beside(
            "full stack: outcomes",
            "invocations",
            stage.invocations.entered() as f64,
            all,
            Goal::AtLeast(1.0),
        ),
        Figure::beside(
            "full stack: succeeded",
            "invocations",
            stage.invocations.succeeded as f64,
            all,
            Goal::AtLeast(0.999),
        ),
        Figure::alone(
            "full stack: left behind",
            "activations",
            (left.running + left.unreleased) as f64,
            Goal::AtMost(0.0),
        ),
        Figure::alone("full stack: peak memory", "MB", peak, Goal::AtMost(64.0)),
        Figure::alone("full stack: throttled", "calls", stage.throttled as f64, Goal::Shown),
        Figure::alone("full stack: rate", "1/s", all / seconds, Goal::Shown),
    ])
}

#[derive(Debug)]
struct Many;

impl Driver for Many {
    fn name(&self) -> &str {
        "full-stack"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let timeout = Some(Duration::from_secs(10));
        let function =
            Deployable::from_source("no-op", "python:3".parse()?, "def main(args): return {}")
                .with_scaling(Scaling::default().with_timeout(timeout));
        let stage = Stage::from_fn("map", function, |index| {
            (index < INVOCATIONS).then(|| Ok(Payload::empty()))
        });
        ExecutionPlan::new(vec![stage.idempotent()])
    }
}
