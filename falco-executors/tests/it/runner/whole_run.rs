//! `run`: deploy, execute, and always remove.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::{
    Completion, Driver, ExecutionPlan, ExecutionStrategy, Platform, Result, Stage, Verdict,
};
use falco_executors::report::StageState;
use falco_executors::{
    AsyncExecutor, DriverExt, OneToOne, ParallelExecutor, RunOptions, SequentialExecutor,
};
use falco_testkit::{Fate, Fates, InMemory, Latency, Settings};
use tokio::time::Instant;

use super::support::{Notes, Plan, function, numbers, options};

#[tokio::test(start_paused = true)]
async fn a_run_deploys_executes_and_removes() {
    let platform = Arc::new(InMemory::default());
    let notes = Arc::new(Notes::default());
    let driver = Plan(vec![numbers("only", 3)]);
    let outcome = driver.run(options(&platform).with_monitor(notes.clone())).await.unwrap();

    assert!(outcome.is_success() && outcome.leftovers.is_empty());
    let report = outcome.report.stage("only").unwrap();
    assert_eq!((report.state, report.invocations.succeeded), (StageState::Succeeded, 3));
    assert_eq!(outcome.results("only").unwrap()[2].1.as_str(), r#"{"n":2}"#);
    assert_eq!(platform.list_deployments().await.unwrap(), []);
    let lines = notes.lines();
    assert_eq!(
        lines[..3],
        ["run-1 started with [\"only\"]", "only-run-1 deployed", "only started"]
    );
    assert_eq!(
        lines[lines.len() - 3..],
        ["only succeeded", "only-run-1 removed", "run-1 finished"]
    );
}

/// Notes the ids in the order in which the hook sees them.
#[derive(Debug)]
struct InOrder(Plan, Mutex<Vec<String>>);

impl Driver for InOrder {
    fn name(&self) -> &str {
        "in-order"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        self.0.plan()
    }

    fn on_completion(&self, completion: &Completion) -> Verdict {
        self.1.lock().unwrap().push(format!("{}/{}", completion.stage, completion.invocation));
        Verdict::Continue
    }
}

#[tokio::test(start_paused = true)]
async fn hooks_see_a_sequential_stage_in_the_order_of_its_inputs() {
    let platform = Arc::new(InMemory::new(Settings {
        latency: Latency::uniform(Duration::ZERO, Duration::from_secs(1)),
        ..Settings::default()
    }));
    let driver = InOrder(Plan(vec![numbers("map", 50)]), Mutex::default());
    let options = RunOptions::new(platform, Arc::new(SequentialExecutor::new()));
    assert!(driver.run(options).await.unwrap().is_success());
    let expected: Vec<String> = (0..50).map(|n| format!("map/{n:08}")).collect();
    assert_eq!(*driver.1.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_stops_a_stage_and_those_that_follow() {
    let platform = Arc::new(InMemory::new(Settings {
        latency: Latency::fixed(Duration::from_secs(1)),
        fates: Fates::of_invocation("00000009", Fate::raise()),
        ..Settings::default()
    }));
    let next = Stage::derived("next", function("next"), ["map"], OneToOne::new());
    let plan = Plan(vec![numbers("map", 100), next]);
    let executor = ParallelExecutor::with_concurrency(4).unwrap();
    let outcome = plan.run(RunOptions::new(platform.clone(), Arc::new(executor))).await.unwrap();
    let map = outcome.report.stage("map").unwrap();
    let counts = map.invocations;
    assert_eq!((counts.function_failed, counts.entered() + counts.skipped), (1, 100));
    assert!(counts.skipped > 80, "{counts:?}");
    assert_eq!(map.failures[0].id, "00000009");
    assert_eq!(outcome.report.stage("next").unwrap().state, StageState::UpstreamFailed);
    assert_eq!(platform.counters().running, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_misses_its_deadline_fails_and_removes() {
    let platform = Arc::new(InMemory::new(Settings {
        latency: Latency::fixed(Duration::from_secs(4)),
        ..Settings::default()
    }));
    let plan = Plan(vec![numbers("map", 10).with_deadline(Duration::from_secs(6))]);
    let executor = ParallelExecutor::with_concurrency(4).unwrap();
    let outcome = plan.run(RunOptions::new(platform.clone(), Arc::new(executor))).await.unwrap();
    let counts = outcome.report.stage("map").unwrap().invocations;
    assert_eq!((counts.succeeded, counts.deadline_exceeded, counts.skipped), (4, 4, 2));
    assert!(outcome.error().unwrap().to_string().contains("deadline"));
    assert!(platform.list_deployments().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_run_waits_for_nothing_but_its_invocations() {
    let strategies: [Arc<dyn ExecutionStrategy>; 3] = [
        Arc::new(SequentialExecutor::new()),
        Arc::new(ParallelExecutor::new()),
        Arc::new(AsyncExecutor::new()),
    ];
    for strategy in strategies {
        let next = Stage::derived("next", function("next"), ["map"], OneToOne::new());
        let plan = Plan(vec![numbers("map", 20), next]);
        let started = Instant::now();
        let options = RunOptions::new(Arc::new(InMemory::default()), strategy.clone());
        assert!(plan.run(options).await.unwrap().is_success());
        assert_eq!(started.elapsed(), Duration::ZERO, "{strategy:?}");
    }
}
