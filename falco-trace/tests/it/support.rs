//! Runs with faults, on paused time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use falco_core::{
    Deployable, Driver, ExecutionPlan, ExecutionStrategy, OnFailure, Payload, Result, Stage,
    UsDollars,
};
use falco_executors::{
    AsyncExecutor, DriverExt, ExecutionOptions, OneToOne, ParallelExecutor, RepeatPolicy,
    RunOptions, RunOutcome, Speculation,
};
use falco_layers::Stack;
use falco_testkit::{Fates, InMemory, Latency, Odds, Settings};
use falco_trace::{FileEnd, Recorder, RunView, read_file};

#[derive(Debug)]
pub(crate) struct Plan(pub(crate) Vec<Stage>);

impl Driver for Plan {
    fn name(&self) -> &str {
        "plan"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        ExecutionPlan::new(self.0.clone())
    }
}

fn function(name: &str) -> Deployable {
    Deployable::from_source(name, "python:3".parse().unwrap(), name.to_owned())
}

/// Two stages, of which the second follows each result of the first.
pub(crate) fn plan(count: usize) -> Plan {
    let payloads = (0..count).map(|n| Payload::json(&serde_json::json!({ "n": n })).unwrap());
    let map = Stage::from_payloads("map", function("map"), payloads.collect());
    let next = Stage::derived("next", function("next"), ["map"], OneToOne::new());
    let keep_going = |mut stage: Stage| {
        stage.policy.on_failure = Some(OnFailure::Continue);
        stage.idempotent()
    };
    Plan(vec![keep_going(map), keep_going(next)])
}

/// A platform on which much goes wrong.
pub(crate) fn faulty(seed: u64) -> InMemory {
    InMemory::new(Settings {
        latency: Latency::uniform(Duration::from_millis(5), Duration::from_millis(60))
            .with_stragglers(0.1, 20.0),
        cold_start: Latency::fixed(Duration::from_millis(80)),
        request_latency: Latency::fixed(Duration::from_millis(2)),
        cost: Some(UsDollars(0.000_002)),
        fates: Fates::random(
            seed,
            Odds {
                throttled: 0.08,
                unavailable: 0.04,
                reset: 0.03,
                raised: 0.15,
                ..Odds::default()
            },
        ),
        seed,
        ..Settings::default()
    })
}

fn options() -> ExecutionOptions {
    ExecutionOptions::default()
        .with_repeat_failed(RepeatPolicy::exponential(1, Duration::from_millis(20)))
        .with_repeat_lost(RepeatPolicy::exponential(3, Duration::from_millis(20)))
        .with_speculation(Speculation::slower_than(4.0).unwrap())
}

pub(crate) fn strategy(submits: bool) -> Arc<dyn ExecutionStrategy> {
    match submits {
        true => Arc::new(AsyncExecutor::with_window(16).unwrap().with_options(options())),
        false => Arc::new(ParallelExecutor::with_concurrency(16).unwrap().with_options(options())),
    }
}

pub(crate) async fn run(
    recorder: &Arc<Recorder>,
    seed: u64,
    submits: bool,
    count: usize,
) -> RunOutcome {
    let platform = Stack::new().wrap(faulty(seed)).unwrap();
    let options = RunOptions::new(platform, strategy(submits))
        .with_run_id("run-1")
        .with_owner("ada")
        .with_monitor(recorder.clone());
    plan(count).run(options).await.unwrap()
}

pub(crate) fn replayed(path: &Path) -> (RunView, FileEnd) {
    let mut view = RunView::default();
    let end = read_file(path, |record| view.apply(&record)).unwrap();
    (view, end)
}
