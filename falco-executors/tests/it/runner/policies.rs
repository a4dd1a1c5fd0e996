//! Policies of single stages, where they differ from the rest of the run.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{ErrorKind, OnFailure, Repeats, Stage, StagePolicy};
use falco_executors::report::StageState;
use falco_executors::{
    AsyncExecutor, DriverExt, ExecutionOptions, ParallelExecutor, RunOptions, SequentialExecutor,
};
use falco_testkit::{Fate, Fates, InMemory, Latency, Settings};

use super::support::{Plan, numbers};

const SECOND: Duration = Duration::from_secs(1);

fn with(name: &str, count: usize, policy: StagePolicy) -> Stage {
    numbers(name, count).with_policy(policy)
}

/// `bad` fails at each first attempt, and its third input always.
fn flaky() -> Arc<InMemory> {
    let fates = Fates::by(|call| match call.invocation {
        Some(invocation) if invocation.attempt() == 1 => Fate::raise(),
        Some(invocation) if invocation.id() == "00000002" => Fate::raise(),
        _ => Fate::Serve,
    });
    Arc::new(InMemory::new(Settings { fates, ..Settings::default() }))
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_calls_at_once_holds_for_its_stage_only() {
    let latency = Latency::fixed(SECOND);
    for submits in [false, true] {
        let platform =
            Arc::new(InMemory::new(Settings { latency: latency.clone(), ..Settings::default() }));
        let options = match submits {
            true => {
                RunOptions::new(platform.clone(), Arc::new(AsyncExecutor::with_window(16).unwrap()))
            }
            false => RunOptions::new(
                platform.clone(),
                Arc::new(ParallelExecutor::with_concurrency(16).unwrap()),
            ),
        };
        let limited = with("limited", 20, StagePolicy::default().with_concurrency(2));
        assert!(Plan(vec![limited]).run(options).await.unwrap().is_success());
        assert_eq!(platform.counters().peak_running, 2, "submits: {submits}");
        let options = RunOptions::new(
            platform.clone(),
            Arc::new(ParallelExecutor::with_concurrency(16).unwrap()),
        );
        assert!(Plan(vec![numbers("free", 20)]).run(options).await.unwrap().is_success());
        assert_eq!(platform.counters().peak_running, 16);
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_one_holds_also_for_copies() {
    let latency =
        Latency::by(|invocation| match (invocation.id().as_str(), invocation.attempt()) {
            ("00000015", 1) => SECOND * 60,
            _ => SECOND,
        });
    let platform = Arc::new(InMemory::new(Settings { latency, ..Settings::default() }));
    let policy = StagePolicy::default().with_concurrency(1).with_speculation(3.0);
    let limited = with("limited", 16, policy).idempotent();
    let options = RunOptions::new(platform.clone(), Arc::new(SequentialExecutor::new()));
    let outcome = Plan(vec![limited]).run(options).await.unwrap();
    assert!(outcome.is_success());
    assert_eq!((platform.counters().peak_running, outcome.report.stages[0].copies), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stage_repeats_and_goes_on_after_failures_as_its_own_policy_says() {
    let pauses = Repeats::times(2).with_pauses(SECOND, SECOND);
    let policy = StagePolicy::default().with_repeats(pauses).with_on_failure(OnFailure::Continue);
    let plan = Plan(vec![with("patient", 10, policy), numbers("strict", 10)]);
    let options = RunOptions::new(flaky(), Arc::new(SequentialExecutor::new()));
    let outcome = plan.run(options).await.unwrap();
    let patient = outcome.report.stage("patient").unwrap();
    let counts = patient.invocations;
    assert_eq!((counts.succeeded, counts.function_failed, counts.skipped), (9, 1, 0));
    assert_eq!((patient.attempts, patient.retries), (9 * 2 + 3, 9 + 2));
    let strict = outcome.report.stage("strict").unwrap().invocations;
    assert_eq!((strict.succeeded, strict.function_failed, strict.skipped), (0, 1, 9));
    assert_eq!(patient.state, StageState::Failed);
    assert!(outcome.results("patient").is_err(), "the policy does not make it whole");
}

#[tokio::test(start_paused = true)]
async fn a_stage_copies_stragglers_and_others_do_not() {
    let latency =
        Latency::by(|invocation| match (invocation.id().as_str(), invocation.attempt()) {
            ("00000019", 1) => SECOND * 60,
            _ => SECOND,
        });
    let platform = Arc::new(InMemory::new(Settings { latency, ..Settings::default() }));
    let policy = StagePolicy::default().with_speculation(3.0);
    let plan = Plan(vec![with("copied", 20, policy).idempotent(), numbers("not", 20).idempotent()]);
    let options =
        RunOptions::new(platform, Arc::new(ParallelExecutor::with_concurrency(4).unwrap()));
    let outcome = plan.run(options).await.unwrap();
    let copies = |stage| outcome.report.stage(stage).unwrap().copies;
    assert_eq!((copies("copied"), copies("not")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_runs_deadline_is_the_default_of_each_stage() {
    let platform = Arc::new(InMemory::new(Settings {
        latency: Latency::fixed(SECOND * 5),
        ..Settings::default()
    }));
    let run_wide = ExecutionOptions::default().with_deadline(SECOND * 2);
    let strategy = ParallelExecutor::with_concurrency(8).unwrap().with_options(run_wide);
    let plan = Plan(vec![numbers("short", 4), numbers("long", 4).with_deadline(SECOND * 60)]);
    let outcome = plan.run(RunOptions::new(platform, Arc::new(strategy))).await.unwrap();
    assert!(outcome.results("short").unwrap_err().to_string().contains("deadline of 2.00 s"));
    assert_eq!(outcome.report.stage("long").unwrap().state, StageState::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_makes_no_sense_is_refused_before_anything_is_sent() {
    for (policy, what) in [
        (StagePolicy::default().with_concurrency(0), "invalid concurrency 0"),
        (StagePolicy::default().with_speculation(0.5), "invalid speculation factor 0.5"),
    ] {
        let platform = flaky();
        let options = RunOptions::new(platform.clone(), Arc::new(SequentialExecutor::new()));
        let error = Plan(vec![with("map", 1, policy)]).run(options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = error.to_string();
        assert!(error.contains(what) && error.contains("\"map\""), "{error}");
        assert_eq!(platform.counters().deploys, 0);
    }
}
