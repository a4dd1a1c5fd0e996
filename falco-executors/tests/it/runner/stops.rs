//! Everything that ends a run before its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use falco_core::{
    Completion, Driver, ErrorKind, Event, ExecutionPlan, Monitor, Platform, Result, Stage, Verdict,
};
use falco_executors::report::StageState;
use falco_executors::{DriverExt, OneToOne, StopSignal};
use falco_testkit::{Fate, Fates, InMemory, Latency, Operation, Settings};
use tokio::time::{Instant, sleep};

use super::support::{Notes, Plan, function, numbers, options};

fn slow() -> Arc<InMemory> {
    let latency = Latency::fixed(Duration::from_secs(10));
    Arc::new(InMemory::new(Settings { latency, ..Settings::default() }))
}

/// The plan of every test here: 8 of 100 are in flight at once, for 10 s each.
fn plan() -> Plan {
    let next = Stage::derived("next", function("next"), ["map"], OneToOne::new());
    Plan(vec![numbers("map", 100), next])
}

#[tokio::test(start_paused = true)]
async fn a_stop_cancels_what_is_in_flight_and_removes() {
    let platform = slow();
    let started = Instant::now();
    let options = options(&platform).with_stop(sleep(Duration::from_secs(15)));
    let outcome = plan().run(options).await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(15));
    assert_eq!(outcome.error().unwrap().kind(), ErrorKind::Cancelled);
    let map = outcome.report.stage("map").unwrap();
    assert_eq!(map.state, StageState::Stopped);
    let counts = map.invocations;
    assert_eq!((counts.succeeded, counts.cancelled, counts.skipped), (8, 8, 84));
    let next = outcome.report.stage("next").unwrap();
    assert_eq!((next.state, next.invocations.cancelled), (StageState::Stopped, 8));
    assert!(platform.list_deployments().await.unwrap().is_empty());
    assert_eq!(platform.counters().running, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_deploying_leaves_nothing() {
    let platform = slow();
    platform.configure(|settings| settings.control_latency = Duration::from_secs(20));
    let options = options(&platform).with_stop(sleep(Duration::from_secs(1)));
    let error = plan().run(options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    platform.configure(|settings| settings.control_latency = Duration::ZERO);
    assert!(platform.list_deployments().await.unwrap().is_empty());
    assert_eq!(platform.counters().invokes, 0);
}

/// Deploying never answers.
fn deaf() -> Arc<InMemory> {
    let fates = Fates::by(|call| match call.operation {
        Operation::Deploy => Fate::Hang,
        _ => Fate::Serve,
    });
    Arc::new(InMemory::new(Settings { fates, ..Settings::default() }))
}

#[tokio::test(start_paused = true)]
async fn a_stopped_run_waits_for_a_deployment_in_flight_but_not_for_ever() {
    let started = Instant::now();
    let options = options(&deaf()).with_stop(sleep(Duration::from_secs(1)));
    let error = plan().run(options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let took = started.elapsed();
    assert!(took > Duration::from_secs(30) && took < Duration::from_secs(60), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn leaving_while_deploying_names_what_may_be_left() {
    let started = Instant::now();
    let signal = StopSignal::new(sleep(Duration::from_secs(1)));
    let signal = signal.with_leave(sleep(Duration::from_secs(2)));
    let error = plan().run(options(&deaf()).with_stop(signal)).await.unwrap_err();
    assert_eq!(started.elapsed(), Duration::from_secs(2));
    assert!(error.hint().unwrap().contains("left behind: map-run-1"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_second_signal_leaves_at_once_and_lists_what_stays() {
    let platform = slow();
    let signal = StopSignal::new(sleep(Duration::from_secs(15)));
    let signal = signal.with_leave(sleep(Duration::from_secs(17)));
    let plan = plan();
    let deployed = plan.deploy(options(&platform).with_stop(signal)).await.unwrap();
    // Removing takes longer than anybody's patience.
    platform.configure(|settings| settings.control_latency = Duration::from_secs(3_600));
    let started = Instant::now();
    let outcome = plan.execute(&super::support::Naive(8), &deployed).await;
    assert_eq!(outcome.report.stage("map").unwrap().state, StageState::Stopped);
    let leftovers = deployed.session().remove_all().await;
    assert_eq!(started.elapsed(), Duration::from_secs(17));
    let names: Vec<_> = leftovers.iter().map(|left| left.deployment.name.as_str()).collect();
    assert_eq!(names, ["map-run-1", "next-run-1"]);
}

#[tokio::test(start_paused = true)]
async fn leaving_does_not_wait_for_a_strategy_that_does_not_stop() {
    /// Takes nothing, answers nothing, and never ends.
    #[derive(Debug)]
    struct Deaf;

    impl falco_core::ExecutionStrategy for Deaf {
        fn execute(
            &self,
            _: falco_core::Target,
            invocations: falco_core::BoxStream<'static, falco_core::Invocation>,
        ) -> falco_core::BoxStream<'static, Completion> {
            use futures_util::StreamExt;
            futures_util::stream::pending().chain(invocations.filter_map(async |_| None)).boxed()
        }
    }

    let platform = slow();
    let signal = StopSignal::new(sleep(Duration::from_secs(2)));
    let signal = signal.with_leave(sleep(Duration::from_secs(5)));
    let plan = plan();
    let deployed = plan.deploy(options(&platform).with_stop(signal)).await.unwrap();
    let outcome = tokio::time::timeout(Duration::from_secs(60), plan.execute(&Deaf, &deployed));
    let outcome = outcome.await.expect("the run is left");
    assert_eq!(outcome.report.stage("map").unwrap().state, StageState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_run_stops_everything_and_leaves_its_deployments() {
    let platform = slow();
    let plan = plan();
    let run = tokio::time::timeout(Duration::from_secs(15), plan.run(options(&platform)));
    assert!(run.await.is_err());
    tokio::task::yield_now().await;
    assert_eq!(platform.counters().running, 0);
    let left = platform.list_deployments().await.unwrap();
    assert!(left.iter().all(|left| left.ownership.as_ref().unwrap().run.as_str() == "run-1"));
    assert_eq!(left.len(), 2);
}

/// Stops at a stage, or after so many completions.
#[derive(Debug)]
struct Stopping {
    before: Option<&'static str>,
    after: Option<u64>,
    seen: AtomicU64,
}

impl Driver for Stopping {
    fn name(&self) -> &str {
        "stopping"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        plan().plan()
    }

    fn before_stage(&self, stage: &Stage) -> Verdict {
        let stops = self.before.is_some_and(|name| stage.name == name);
        if stops { Verdict::Stop } else { Verdict::Continue }
    }

    fn on_completion(&self, _: &Completion) -> Verdict {
        let seen = self.seen.fetch_add(1, SeqCst) + 1;
        if Some(seen) == self.after { Verdict::Stop } else { Verdict::Continue }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_before_a_stage_stops_the_run() {
    let platform = slow();
    let driver = Stopping { before: Some("map"), after: None, seen: AtomicU64::new(0) };
    let outcome = driver.run(options(&platform)).await.unwrap();
    let error = outcome.error().unwrap().to_string();
    assert!(error.contains("before stage \"map\"") && error.contains("\"stopping\""), "{error}");
    assert_eq!(outcome.report.stage("map").unwrap().invocations.skipped, 100);
    assert_eq!(platform.counters().invokes, 0);
    assert!(platform.list_deployments().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_hook_for_completions_stops_the_run_and_sees_all_of_them() {
    let platform = slow();
    let driver = Stopping { before: None, after: Some(20), seen: AtomicU64::new(0) };
    let outcome = driver.run(options(&platform)).await.unwrap();
    assert!(outcome.error().unwrap().to_string().contains("\"stopping\""));
    let invocations = outcome.report.invocations;
    assert_eq!(driver.seen.load(SeqCst), invocations.entered());
    assert!(invocations.entered() < 100, "{invocations:?}");
    let map = outcome.report.stage("map").unwrap().invocations;
    assert_eq!(map.entered() + map.skipped, 100);
}

#[tokio::test(start_paused = true)]
async fn a_monitor_stops_the_run_and_all_monitors_see_the_end() {
    #[derive(Debug)]
    struct Budget(AtomicU64);

    impl Monitor for Budget {
        fn event(&self, event: &Event<'_>) -> Verdict {
            match event {
                Event::Completed { .. } if self.0.fetch_add(1, SeqCst) == 11 => Verdict::Stop,
                _ => Verdict::Continue,
            }
        }
    }

    let platform = slow();
    let notes = Arc::new(Notes::default());
    let options = options(&platform)
        .with_monitor(Arc::new(Budget(AtomicU64::new(0))))
        .with_monitor(notes.clone());
    let outcome = plan().run(options).await.unwrap();
    assert!(outcome.error().unwrap().to_string().contains("Budget"));
    assert!(platform.list_deployments().await.unwrap().is_empty());
    let lines = notes.lines();
    assert_eq!(lines.last().unwrap(), "run-1 ended with cancelled");
    assert!(lines.iter().any(|line| line.starts_with("map skipped ")), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_after_the_last_completion_changes_nothing() {
    let platform = slow();
    platform.configure(|settings| settings.latency = Latency::ZERO);
    let driver = Stopping { before: None, after: Some(200), seen: AtomicU64::new(0) };
    let outcome = driver.run(options(&platform)).await.unwrap();
    assert!(outcome.is_success(), "{:?}", outcome.error());
}
