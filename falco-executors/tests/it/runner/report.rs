//! The report, as a value, as JSON, and as a table.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use falco_core::{
    Activation, AttemptReason, Attempts, BoxStream, Completion, Error, ErrorKind, Event,
    ExecutionStrategy, FunctionError, FunctionErrorKind, Invocation, Outcome, Payload, Stage,
    Target, UsDollars,
};
use falco_executors::report::RunReport;
use falco_executors::{DriverExt, OneToOne, RunOptions};
use falco_testkit::InMemory;
use futures_util::StreamExt;

use super::support::{Naive, Plan, function, numbers};

/// Makes up what came of an invocation by its number.
#[derive(Debug)]
struct Scripted;

impl ExecutionStrategy for Scripted {
    fn execute(
        &self,
        _: Target,
        invocations: BoxStream<'static, Invocation>,
    ) -> BoxStream<'static, Completion> {
        invocations.map(|invocation| completion(&invocation)).boxed()
    }
}

fn completion(invocation: &Invocation) -> Completion {
    let number: u64 = invocation.id().as_str().parse().unwrap();
    let mut activation = Activation::succeeded("a", Payload::empty());
    activation.wait = Some(Duration::from_millis(number));
    activation.execution = Some(Duration::from_millis(10 * number));
    activation.cold_start = Some(number.is_multiple_of(10));
    activation.init = number.is_multiple_of(10).then_some(Duration::from_millis(300));
    activation.cost = Some(UsDollars(0.000_002));
    if number == 7 {
        let error = FunctionError::new(FunctionErrorKind::Raised, "division by zero");
        activation.outcome = Err(error.with_error_type("ZeroDivisionError"));
    }
    let throttled = Error::new(ErrorKind::Throttled, "slow down");
    invocation.report(&Event::CallFailed { invocation, error: &throttled });
    for reason in [AttemptReason::First, AttemptReason::CallFailed, AttemptReason::Straggler] {
        invocation.report(&Event::Attempt { invocation, reason });
    }
    let id = activation.id.clone();
    let stage = invocation.stage();
    invocation.report(&Event::DuplicateIgnored { stage, activation: &id });
    let outcome = match number {
        8 => Outcome::PlatformFailed(Error::new(ErrorKind::Unavailable, "out of order")),
        9 => Outcome::Unknown(Error::new(ErrorKind::Timeout, "no answer")),
        11 => Outcome::Cancelled,
        12 => Outcome::DeadlineExceeded,
        _ => Outcome::from_activation(activation),
    };
    let latency = Duration::from_millis(11 * number + 5);
    let attempts = Attempts::new(2).with_cost((number == 11).then_some(UsDollars(0.000_5)));
    invocation.clone().complete(outcome, attempts, SystemTime::UNIX_EPOCH, latency)
}

async fn report() -> RunReport {
    let platform = Arc::new(InMemory::default());
    let next = Stage::derived("next", function("next"), ["map"], OneToOne::new());
    let plan = Plan(vec![numbers("map", 100), next]);
    let options = RunOptions::new(platform, Arc::new(Scripted)).with_run_id("run-1");
    plan.run(options).await.unwrap().report
}

#[tokio::test(start_paused = true)]
async fn the_report_counts_each_outcome_by_itself() {
    let report = report().await;
    let map = report.stage("map").unwrap();
    let counts = map.invocations;
    assert_eq!(
        (counts.succeeded, counts.function_failed, counts.platform_failed, counts.unknown),
        (95, 1, 1, 1),
    );
    assert_eq!((counts.cancelled, counts.deadline_exceeded, counts.skipped), (1, 1, 0));
    assert_eq!((counts.entered(), counts.failed()), (100, 3));
    assert_eq!((map.attempts, map.retries, map.copies), (200, 100, 100));
    assert_eq!((map.throttled, map.duplicates_ignored, map.cold_starts), (100, 100, 10));
    let cost = map.cost.unwrap().0;
    assert!((cost - (96.0 * 0.000_002 + 0.000_5)).abs() < 1e-12, "{cost}");
}

#[tokio::test(start_paused = true)]
async fn the_report_distinguishes_the_latencies() {
    let report = report().await;
    let map = report.stage("map").unwrap();
    assert_eq!(map.cold_start.count, 10);
    assert_eq!((map.queue.count, map.execution.count, map.total.count), (96, 96, 99));
    assert_eq!(map.total.min, Duration::from_millis(5));
    for (got, millis) in [
        (map.queue.p50, 51.0),
        (map.execution.p50, 510.0),
        (map.execution.max, 990.0),
        (map.cold_start.p99, 300.0),
    ] {
        let got = got.as_secs_f64() * 1_000.0;
        assert!((got - millis).abs() <= millis / 500.0, "{got} instead of {millis}");
    }
    assert_eq!(report.total.count, map.total.count + report.stage("next").unwrap().total.count);
}

#[tokio::test(start_paused = true)]
async fn people_get_a_table() {
    insta::assert_snapshot!(report().await.to_string());
}

#[tokio::test(start_paused = true)]
async fn other_tools_get_json_in_milliseconds() {
    let report = report().await;
    insta::assert_json_snapshot!(report);
    let json = serde_json::to_string(&report).unwrap();
    let back: RunReport = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&back).unwrap(), json);
}

#[tokio::test(start_paused = true)]
async fn the_report_lists_the_first_hundred_failures_and_counts_the_rest() {
    let platform = InMemory::default().with_source("map", |_| -> falco_testkit::Reply {
        let error = FunctionError::new(FunctionErrorKind::Raised, "x".repeat(10_000));
        falco_testkit::Reply::failed(error)
    });
    let options = RunOptions::new(Arc::new(platform), Arc::new(Naive(4)));
    let report = Plan(vec![numbers("map", 250)]).run(options).await.unwrap().report;
    let map = report.stage("map").unwrap();
    assert_eq!((map.failures.len(), map.failures_not_listed), (100, 150));
    assert!(map.failures.iter().all(|failure| failure.reason.len() < 1_100));
    assert!(report.to_string().contains("map: 245 more failed"));
}
