//! Runs on a platform that is away for a while.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::{Event, Monitor, Platform, Verdict};
use falco_executors::{DriverExt, OnFailure, ParallelExecutor, RunOptions, StopSignal};
use falco_testkit::{InMemory, Latency, Line, Outages, Settings};
use tokio::time::{Instant, sleep};

use super::support::{Plan, numbers};

/// Notes when an outage begins and ends.
#[derive(Debug, Default)]
struct Seen(Mutex<Vec<&'static str>>);

impl Monitor for Seen {
    fn event(&self, event: &Event<'_>) -> Verdict {
        let seen = match event {
            Event::OutageStarted { .. } => "started",
            Event::OutageEnded { .. } => "ended",
            _ => return Verdict::Continue,
        };
        self.0.lock().unwrap().push(seen);
        Verdict::Continue
    }
}

fn platform() -> Arc<Outages<InMemory>> {
    let settings =
        Settings { latency: Latency::fixed(Duration::from_secs(1)), ..Settings::default() };
    Arc::new(Outages::new(InMemory::new(settings)))
}

fn options(platform: &Arc<Outages<InMemory>>) -> RunOptions {
    let options = falco_executors::ExecutionOptions::default().with_on_failure(OnFailure::Continue);
    let strategy = ParallelExecutor::with_concurrency(4).unwrap().with_options(options);
    RunOptions::new(platform.clone(), Arc::new(strategy))
}

async fn away_until(platform: Arc<Outages<InMemory>>, cut: Duration, mended: Duration) {
    sleep(cut).await;
    platform.set(Line::Cut);
    sleep(mended - cut).await;
    platform.set(Line::Up);
}

#[tokio::test(start_paused = true)]
async fn deploying_waits_for_a_platform_without_layers_and_the_report_has_the_time_lost() {
    let platform = platform();
    platform.set(Line::Cut);
    let seen = Arc::new(Seen::default());
    let line = away_until(platform.clone(), Duration::ZERO, Duration::from_secs(60));
    let plan = Plan(vec![numbers("map", 4)]);
    let (outcome, ()) = tokio::join!(plan.run(options(&platform).with_monitor(seen.clone())), line);
    let outcome = outcome.unwrap();
    assert!(outcome.is_success() && outcome.leftovers.is_empty(), "{:?}", outcome.error());
    assert_eq!(*seen.0.lock().unwrap(), ["started", "ended"]);
    let outage = outcome.report.outage;
    assert!(outage >= Duration::from_secs(60) && outage <= Duration::from_secs(71), "{outage:?}");
    let shown = outcome.report.to_string();
    assert!(shown.contains("the platform could not be reached for 1."), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn removing_waits_for_a_platform_that_is_back_within_the_patience() {
    let platform = platform();
    let line = away_until(platform.clone(), Duration::from_millis(500), Duration::from_secs(200));
    let plan = Plan(vec![numbers("map", 4)]);
    let (outcome, ()) = tokio::join!(plan.run(options(&platform)), line);
    let outcome = outcome.unwrap();
    assert!(!outcome.is_success() && outcome.leftovers.is_empty(), "{:?}", outcome.leftovers);
    assert!(platform.list_deployments().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_patience_nothing_is_waited_for() {
    let platform = platform();
    platform.set(Line::Cut);
    let options = options(&platform).with_outage_patience(Duration::ZERO);
    let begun = Instant::now();
    let error = Plan(vec![numbers("map", 4)]).run(options).await.unwrap_err();
    assert!(error.is_unreachable() && begun.elapsed() < Duration::from_secs(1), "{error}");
}

#[tokio::test(start_paused = true)]
async fn after_a_stop_removing_waits_for_half_a_minute_and_names_what_is_left() {
    let platform = platform();
    let line = away_until(platform.clone(), Duration::from_millis(500), Duration::from_secs(900));
    let stop = StopSignal::new(sleep(Duration::from_secs(10)));
    let begun = Instant::now();
    let line = tokio::spawn(line);
    let mut plan = Plan(vec![numbers("map", 1)]);
    plan.0[0].deadline = Some(Duration::from_secs(5));
    let outcome = plan.run(options(&platform).with_stop(stop)).await.unwrap();
    line.abort();
    assert_eq!(begun.elapsed().as_secs(), 40, "{:?}", begun.elapsed());
    let left = outcome.leftovers[0].to_string();
    assert!(left.contains("nobody has answered for 30 s: connection re"), "{left}");
}
