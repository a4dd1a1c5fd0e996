//! The plan runner, the asynchronous executor and the full stack against a provider that throttles, fails and loses.

use std::sync::Arc;

use falco_core::*;
use falco_executors::{AsyncExecutor, DriverExt, ExecutionOptions, OnFailure, RunOptions};
use falco_layers::{HeldPolicy, Stack};
use falco_testkit::{Fates, InMemory, Latency, Odds, Settings};

use crate::support::*;

const INVOCATIONS: usize = 2000;

#[derive(Debug)]
struct Many;

impl Driver for Many {
    fn name(&self) -> &str {
        "many"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let scaling = Scaling::default().with_timeout(secs(5));
        let stage = Stage::from_fn("map", function().with_scaling(scaling), |index| {
            (index < INVOCATIONS).then(|| Ok(Payload::empty()))
        });
        ExecutionPlan::new(vec![stage.idempotent()])
    }
}

fn provider(odds: Odds) -> Arc<InMemory> {
    Arc::new(InMemory::new(Settings {
        capacity: Some(100),
        latency: Latency::log_normal(millis(200), 0.4),
        duplicates: 0.02,
        fates: Fates::random(11, odds),
        seed: 11,
        ..Settings::default()
    }))
}

async fn run(platform: Arc<dyn AsyncPlatform>) -> falco_executors::report::StageReport {
    let options = ExecutionOptions::default().with_on_failure(OnFailure::Continue);
    let executor = AsyncExecutor::with_window(400).unwrap().with_options(options);
    let outcome = Many.run(RunOptions::new(platform, Arc::new(executor))).await.unwrap();
    assert!(outcome.leftovers.is_empty());
    outcome.report.stages[0].clone()
}

#[tokio::test(start_paused = true)]
async fn every_invocation_has_exactly_one_outcome_and_nothing_is_left_behind() {
    let odds = Odds {
        throttled: 0.03,
        unavailable: 0.03,
        reset: 0.01,
        lost: 0.005,
        gone: 0.005,
        collect_failed: 0.05,
        ..Odds::default()
    };
    let provider = provider(odds);
    let stage = run(Stack::new().wrap(Arc::clone(&provider)).unwrap()).await;
    assert_eq!(stage.invocations.entered(), INVOCATIONS as u64);
    assert!(stage.invocations.succeeded >= INVOCATIONS as u64 - 2, "{:?}", stage.invocations);
    let counters = provider.counters();
    assert_eq!((counters.unreleased, counters.running), (0, 0), "{counters:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_with_replicas_reports_one_function_and_removes_all_of_them() {
    let odds = Odds { throttled: 0.03, unavailable: 0.02, ..Odds::default() };
    let provider = provider(odds);
    let stack = Stack::new().with_replicas(4);
    let stage = run(stack.wrap(Arc::clone(&provider)).unwrap()).await;
    assert_eq!(stage.invocations.succeeded, INVOCATIONS as u64, "{stage:?}");
    let counters = provider.counters();
    assert_eq!((counters.deploys, counters.removes), (4, 4), "{counters:?}");
    assert_eq!((counters.unreleased, counters.running), (0, 0), "{counters:?}");
    assert_eq!(stage.throttled, counters.throttled);
    assert!(provider.list_deployments().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_report_counts_the_refusals_that_the_provider_counts() {
    let odds = Odds { throttled: 0.05, unavailable: 0.02, ..Odds::default() };
    let provider = provider(odds);
    let stage = run(Stack::new().wrap(Arc::clone(&provider)).unwrap()).await;
    let counters = provider.counters();
    assert_eq!(stage.throttled, counters.throttled);
    assert_eq!(stage.retries, counters.submits - INVOCATIONS as u64);
    assert_eq!(stage.invocations.succeeded, INVOCATIONS as u64);
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_can_only_invoke_runs_asynchronously_when_its_calls_are_held() {
    let odds = Odds { throttled: 0.02, unavailable: 0.02, ..Odds::default() };
    let provider = provider(odds);
    provider.configure(|settings| settings.capabilities.submit = false);
    let stack = Stack::new().with_held(HeldPolicy::default()).wrap(Arc::clone(&provider)).unwrap();
    let stage = run(stack).await;
    assert_eq!(stage.invocations.succeeded, INVOCATIONS as u64, "{stage:?}");
    let counters = provider.counters();
    assert_eq!((counters.submits, counters.running), (0, 0), "{counters:?}");
}
