//! Runs on a platform that is away for a while.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use falco_core::{
    AsyncPlatform, Deployable, Deployment, Error, ErrorKind, Event, Monitor, Platform, Result,
    Verdict, forward,
};
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

#[tokio::test(start_paused = true)]
async fn functions_that_are_deployed_at_once_share_one_outage() {
    let platform = platform();
    platform.set(Line::Cut);
    let seen = Arc::new(Seen::default());
    let line = away_until(platform.clone(), Duration::ZERO, Duration::from_secs(60));
    let plan = Plan(["a", "b", "c", "d"].map(|name| numbers(name, 1)).into());
    let (outcome, ()) = tokio::join!(plan.run(options(&platform).with_monitor(seen.clone())), line);
    let outcome = outcome.unwrap();
    assert!(outcome.is_success(), "{:?}", outcome.error());
    let outage = outcome.report.outage;
    assert!(outage >= Duration::from_secs(60) && outage <= Duration::from_secs(71), "{outage:?}");
    assert_eq!(*seen.0.lock().unwrap(), ["started", "ended"]);
}

#[tokio::test(start_paused = true)]
async fn patience_counts_from_the_beginning_of_the_outage_and_not_for_each_call_anew() {
    let platform = platform();
    platform.set(Line::Cut);
    let begun = Instant::now();
    let options = options(&platform).with_outage_patience(Duration::from_secs(100));
    // Deploying gives up, and what it may have left cannot be looked for any longer.
    let error = Plan(vec![numbers("map", 4)]).run(options).await.unwrap_err();
    assert!(error.to_string().contains("connection refused"), "{error}");
    let took = begun.elapsed().as_secs();
    assert!((100..115).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_deploying_in_an_outage_ends_within_half_a_minute() {
    let platform = platform();
    platform.set(Line::Cut);
    let stop = StopSignal::new(sleep(Duration::from_secs(10)));
    let begun = Instant::now();
    let error =
        Plan(vec![numbers("map", 4)]).run(options(&platform).with_stop(stop)).await.unwrap_err();
    assert_eq!(begun.elapsed().as_secs(), 40, "{:?}: {error}", begun.elapsed());
}

/// Deploys, and then nobody answers any more: the answer is lost with the line.
#[derive(Debug)]
struct LosesItsLine(Arc<Outages<InMemory>>);

#[async_trait]
impl Platform for LosesItsLine {
    forward! { self => self.0;
        name, capabilities, account, fetch_deployment, list_deployments, scale, remove, invoke
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        self.0.deploy(function).await?;
        self.0.set(Line::Cut);
        Err(Error::new(ErrorKind::Timeout, "no answer").with_may_have_run(true))
    }
}

#[async_trait]
impl AsyncPlatform for LosesItsLine {
    forward! { self => self.0; submit, collect, release, activation_log }
}

#[tokio::test(start_paused = true)]
async fn a_deployment_in_doubt_is_looked_for_with_the_patience_of_all_operations() {
    for (away, is_removed) in [(200, true), (900, false)] {
        let platform = platform();
        let line = tokio::spawn({
            let platform = platform.clone();
            async move {
                sleep(Duration::from_secs(away)).await;
                platform.set(Line::Up);
            }
        });
        let strategy = Arc::new(ParallelExecutor::with_concurrency(4).unwrap());
        let options = RunOptions::new(Arc::new(LosesItsLine(platform.clone())), strategy);
        let error = Plan(vec![numbers("map", 4)]).run(options).await.unwrap_err();
        assert_eq!(error.hint().is_some_and(|hint| hint.contains("left behind")), !is_removed);
        line.abort();
        let left = platform.inner().list_deployments().await.unwrap();
        assert_eq!(left.is_empty(), is_removed, "{away} s: {left:?}");
    }
}
