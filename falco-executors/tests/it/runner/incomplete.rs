//! Nothing incomplete calls itself a success.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{Completion, Derivation, ErrorKind, ExecutionStrategy, Invocation, Stage};
use falco_executors::report::{StageReport, StageState};
use falco_executors::{
    DriverExt, FanIn, KeepResults, OneToOne, ParallelExecutor, RunOptions, RunOutcome, StopSignal,
};
use falco_testkit::{Fates, InMemory, Latency, Settings};
use futures_util::StreamExt;
use tokio::time::sleep;

use super::support::{Naive, Plan, function, numbers};

pub(super) const SECOND: Duration = Duration::from_secs(1);

fn parallel(concurrency: usize) -> Arc<dyn ExecutionStrategy> {
    Arc::new(ParallelExecutor::with_concurrency(concurrency).unwrap())
}

/// `slow` takes a second an invocation, all others answer at once.
fn slow_and_fast() -> Arc<InMemory> {
    let latency = Latency::by(|invocation| match invocation.stage().as_str() {
        "slow" => SECOND,
        _ => Duration::ZERO,
    });
    Arc::new(InMemory::new(Settings { latency, ..Settings::default() }))
}

fn derived(name: &str, upstream: &[&str], by: impl Derivation) -> Stage {
    Stage::derived(name, function(name), upstream.iter().copied(), by)
}

pub(super) fn report<'a>(outcome: &'a RunOutcome, stage: &str) -> &'a StageReport {
    outcome.report.stage(stage).unwrap()
}

pub(super) fn all_of(plan: &[Stage]) -> KeepResults {
    KeepResults::Stages(plan.iter().map(|stage| stage.name.clone()).collect())
}

#[tokio::test(start_paused = true)]
async fn a_deadline_in_a_derived_stage_fails_the_run() {
    let plan = vec![
        numbers("slow", 10),
        derived("fast", &["slow"], OneToOne::new()).with_deadline(SECOND * 5 / 2),
        derived("all", &["fast"], FanIn::new()),
    ];
    let keep = all_of(&plan);
    let options = RunOptions::new(slow_and_fast(), parallel(2)).with_kept_results(keep);
    let outcome = Plan(plan).run(options).await.unwrap();
    let fast = report(&outcome, "fast");
    assert_eq!(fast.state, StageState::Failed);
    assert!(fast.invocations.succeeded < 10 && fast.invocations.skipped_is_lower_bound);
    for stage in ["fast", "all"] {
        let error = outcome.results(stage).unwrap_err().to_string();
        assert!(error.contains("its deadline of 2.50 s passed"), "{error}");
    }
    assert_eq!(report(&outcome, "all").state, StageState::UpstreamFailed);
    assert_eq!(report(&outcome, "all").invocations.entered(), 0);
    assert_eq!(outcome.error().unwrap().kind(), ErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_over_inputs_counts_those_that_were_not_sent() {
    let plan = Plan(vec![numbers("slow", 10).with_deadline(SECOND * 5 / 2)]);
    let outcome = plan.run(RunOptions::new(slow_and_fast(), parallel(2))).await.unwrap();
    let counts = report(&outcome, "slow").invocations;
    assert_eq!((counts.succeeded, counts.deadline_exceeded, counts.skipped), (4, 2, 4));
    let error = outcome.error().unwrap().to_string();
    assert!(
        error.contains("2.50 s passed: 4 invocations had succeeded, 2 in flight were given up, 4"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stopped_run_hands_out_no_half_of_its_results() {
    for by in ["then", "fan in"] {
        let next = match by {
            "then" => derived("next", &["slow"], OneToOne::new()),
            _ => derived("next", &["slow"], FanIn::new()),
        };
        let plan = Plan(vec![numbers("slow", 20), next]);
        let options = RunOptions::new(slow_and_fast(), parallel(2));
        let outcome = plan.run(options.with_stop(sleep(SECOND * 5 / 2))).await.unwrap();
        for (stage, succeeded) in [("slow", 4), ("next", if by == "then" { 4 } else { 0 })] {
            let report = report(&outcome, stage);
            assert_eq!(report.state, StageState::Stopped, "{stage}, {by}");
            assert_eq!(report.invocations.succeeded, succeeded, "{stage}, {by}");
        }
        let error = outcome.results("next").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert!(error.to_string().contains("the run was stopped"), "{error}");
        assert!(report(&outcome, "next").invocations.skipped_is_lower_bound);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_left_at_once_has_not_succeeded() {
    let platform = slow_and_fast();
    let plan = Plan(vec![numbers("slow", 4)]);
    let leave = StopSignal::new(std::future::pending()).with_leave(sleep(SECOND / 2));
    let options = RunOptions::new(platform, Arc::new(Naive(8))).with_stop(leave);
    let outcome = plan.run(options).await.unwrap();
    let slow = report(&outcome, "slow");
    assert_eq!((slow.state, slow.invocations.cancelled), (StageState::Stopped, 4));
    assert!(outcome.results("slow").unwrap_err().to_string().contains("left at once"));
}

#[tokio::test(start_paused = true)]
async fn a_strategy_that_answers_twice_fails_the_stage() {
    /// Makes each completion twice.
    #[derive(Debug)]
    struct Stammering;

    impl ExecutionStrategy for Stammering {
        fn execute(
            &self,
            target: falco_core::Target,
            invocations: falco_core::BoxStream<'static, Invocation>,
        ) -> falco_core::BoxStream<'static, Completion> {
            let twice = |completion: Completion| {
                futures_util::stream::iter([completion.clone(), completion])
            };
            Naive(1).execute(target, invocations).flat_map(twice).boxed()
        }
    }

    let options = RunOptions::new(slow_and_fast(), Arc::new(Stammering));
    let outcome = Plan(vec![numbers("map", 3)]).run(options).await.unwrap();
    let error = outcome.results("map").unwrap_err().to_string();
    assert!(error.contains("made 6 completions of 3 invocations"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_feeds_only_stopped_stages_is_stopped() {
    for keeps in [false, true] {
        let plan = vec![
            numbers("bad", 1),
            numbers("slow", 100),
            derived("work", &["slow"], OneToOne::new()),
            derived("total", &["work", "bad"], FanIn::new()),
            numbers("apart", 5),
        ];
        let platform = slow_and_fast();
        platform.configure(|settings| {
            settings.fates = Fates::by(|call| match call.invocation {
                Some(invocation) if invocation.stage().as_str() == "bad" => {
                    falco_testkit::Fate::raise()
                }
                _ => falco_testkit::Fate::Serve,
            });
        });
        let options = RunOptions::new(platform.clone(), parallel(2));
        let keep = if keeps { KeepResults::Stages(vec!["work".into()]) } else { KeepResults::Last };
        let outcome = Plan(plan).run(options.with_kept_results(keep)).await.unwrap();
        assert_eq!(report(&outcome, "total").state, StageState::UpstreamFailed);
        assert_eq!(report(&outcome, "apart").state, StageState::Succeeded);
        let work = report(&outcome, "work");
        if keeps {
            assert_eq!(work.invocations.succeeded, 100);
            assert_eq!(outcome.results("work").unwrap().len(), 100);
        } else {
            assert_eq!(report(&outcome, "slow").state, StageState::Stopped);
            assert_eq!(work.state, StageState::Stopped);
            assert!(platform.counters().invokes < 10);
            let error = work.error.as_ref().unwrap().to_string();
            assert!(error.contains("no stage that follows it"), "{error}");
            assert!(error.contains("\"bad\": 1 of 1") && error.contains("on purpose"), "{error}");
        }
    }
}
