//! Stages side by side, one after the other, and what a failure does to those that follow.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;

use falco_core::{
    BoxStream, Completion, ErrorKind, Event, ExecutionStrategy, Invocation, Monitor, Stage, Target,
    Verdict,
};
use falco_executors::report::StageState;
use falco_executors::{Chunks, DriverExt, FanIn, FanOut, KeepResults, Merge, OneToOne, Shuffle};
use falco_testkit::{Fate, Fates, InMemory, Latency, Reply, Settings};
use futures_util::{StreamExt, stream};
use serde_json::json as value;
use tokio::time::Instant;

use super::support::{Naive, Notes, Plan, function, json, numbers, options};

fn derived(name: &str, upstream: &[&str], by: impl falco_core::Derivation) -> Stage {
    Stage::derived(name, function(name), upstream.iter().copied(), by)
}

fn slow(seconds: u64) -> Settings {
    let latency = Latency::fixed(Duration::from_secs(seconds));
    Settings { latency, ..Settings::default() }
}

#[tokio::test(start_paused = true)]
async fn independent_stages_run_at_the_same_time() {
    let platform = Arc::new(InMemory::new(slow(10)));
    let plan = Plan(["a", "b", "c"].map(|name| numbers(name, 8)).to_vec());
    let started = Instant::now();
    assert!(plan.run(options(&platform)).await.unwrap().is_success());
    assert_eq!(started.elapsed(), Duration::from_secs(10));
    assert_eq!(platform.counters().peak_running, 24);
}

#[tokio::test(start_paused = true)]
async fn a_one_to_one_stage_starts_with_its_first_input() {
    let by_number = Latency::by(|invocation| {
        let argument: serde_json::Value = invocation.payload().parse().unwrap();
        Duration::from_secs(argument["n"].as_u64().unwrap() + 1)
    });
    let platform = Arc::new(InMemory::new(Settings { latency: by_number, ..Settings::default() }));
    let notes = Arc::new(Notes::default());
    let plan = Plan(vec![numbers("first", 8), derived("second", &["first"], OneToOne::new())]);
    let started = Instant::now();
    let outcome = plan.run(options(&platform).with_monitor(notes.clone())).await.unwrap();
    assert!(outcome.is_success());
    // The slowest takes 8 s in each stage, and waits for no other.
    assert_eq!(started.elapsed(), Duration::from_secs(16));
    let lines = notes.lines();
    let at = |line: &str| lines.iter().position(|noted| noted == line).unwrap();
    assert!(at("second started") < at("first succeeded"));
}

#[tokio::test(start_paused = true)]
async fn a_diamond_brings_the_results_that_a_loop_would() {
    let platform = InMemory::default()
        .with_source("double", |call| {
            let argument: serde_json::Value = call.payload().parse().unwrap();
            Reply::succeeded(json(value!({"n": argument["n"].as_u64().unwrap() * 2})))
        })
        .with_source("sum", |call| {
            let argument: serde_json::Value = call.payload().parse().unwrap();
            let numbers = argument["results"].as_array().unwrap().iter();
            let sum: u64 = numbers.map(|result| result["n"].as_u64().unwrap()).sum();
            Reply::succeeded(json(value!({ "sum": sum })))
        });
    let plan = Plan(vec![
        numbers("source", 100),
        derived("double", &["source"], OneToOne::new()),
        derived("same", &["source"], OneToOne::new()),
        derived("sum", &["double", "same"], FanIn::new()),
    ]);
    let outcome = plan.run(options(&Arc::new(platform))).await.unwrap();
    let sums: Vec<serde_json::Value> = outcome.results_as("sum").unwrap();
    assert_eq!(sums, [value!({"sum": (0..100).sum::<u64>() * 3})]);
    assert_eq!(outcome.report.invocations.succeeded, 301);
}

#[tokio::test(start_paused = true)]
async fn every_derivation_fits_into_one_plan() {
    let platform = InMemory::default().with_source("items", |call| {
        let argument: serde_json::Value = call.payload().parse().unwrap();
        let n = argument["n"].as_u64().unwrap();
        Reply::succeeded(json(value!({"items": [{"pairs": {"even": n}}, {"pairs": {"odd": n}}]})))
    });
    let plan = Plan(vec![
        numbers("items", 10),
        derived("each", &["items"], FanOut::of_field("items")),
        derived("by_key", &["each"], Shuffle::of_field("pairs", 7).unwrap()),
        derived("chunks", &["items"], Chunks::of(4).unwrap()),
        derived("merged", &["by_key", "chunks"], Merge::new()),
    ]);
    let outcome = plan.run(options(&Arc::new(platform))).await.unwrap();
    let counts = |stage| outcome.report.stage(stage).unwrap().invocations.succeeded;
    assert_eq!(["items", "each", "by_key", "chunks", "merged"].map(counts), [10, 20, 2, 3, 5]);
    let ids: Vec<_> =
        outcome.results("merged").unwrap().iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(ids[2..], ["chunks/00000000", "chunks/00000001", "chunks/00000002"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_in_a_circle_however_small_the_windows() {
    let platform = Arc::new(InMemory::new(slow(1)));
    let plan = Plan(vec![
        numbers("source", 300),
        derived("left", &["source"], OneToOne::new()),
        derived("right", &["source"], OneToOne::new()),
        derived("more", &["left", "source", "right"], Merge::new()),
        derived("all", &["more", "source"], FanIn::new()),
    ]);
    let options = options(&platform).with_kept_results(KeepResults::Nothing);
    let deployed = plan.deploy(options).await.unwrap();
    let outcome = plan.execute(&Naive(1), &deployed).await;
    assert_eq!(outcome.report.invocations.succeeded, 300 * 6 + 1);
    plan.remove(&deployed).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stage_without_inputs_is_followed_by_one_without() {
    let platform = Arc::new(InMemory::default());
    let plan = Plan(vec![numbers("none", 0), derived("next", &["none"], OneToOne::new())]);
    let outcome = plan.run(options(&platform)).await.unwrap();
    assert!(outcome.is_success());
    assert_eq!(outcome.results("next").unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn failed_invocations_end_barriers_and_let_the_rest_pass_through() {
    let platform = Arc::new(InMemory::new(Settings {
        fates: Fates::by(|call| match call.invocation {
            Some(invocation) if invocation.stage().as_str() == "map" && call.number == 3 => {
                Fate::raise()
            }
            _ => Fate::Serve,
        }),
        ..slow(1)
    }));
    let plan = Plan(vec![
        numbers("map", 20),
        derived("each", &["map"], OneToOne::new()),
        derived("all", &["map"], FanIn::new()),
        derived("after", &["all"], OneToOne::new()),
        numbers("apart", 5),
    ]);
    let outcome = plan.run(options(&platform)).await.unwrap();
    let state = |stage| outcome.report.stage(stage).unwrap().state;
    assert_eq!(state("map"), StageState::Failed);
    assert_eq!(state("each"), StageState::UpstreamFailed);
    assert_eq!(state("all"), StageState::UpstreamFailed);
    assert_eq!(state("after"), StageState::UpstreamFailed);
    assert_eq!(state("apart"), StageState::Succeeded);
    let counts = |stage| outcome.report.stage(stage).unwrap().invocations;
    assert_eq!((counts("map").succeeded, counts("map").function_failed), (19, 1));
    assert_eq!(counts("each").succeeded, 19);
    assert_eq!(counts("all").entered(), 0);

    let error = outcome.error().unwrap().to_string();
    assert!(error.contains("\"map\": 1 of 20") && error.contains("raised on purpose"), "{error}");
    assert!(outcome.results("each").unwrap_err().to_string().contains("\"map\""));
    assert_eq!(outcome.partial_results("each").unwrap().len(), 19);
    assert!(outcome.results("apart").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_is_cut_short_cuts_its_descendants_short() {
    let platform = Arc::new(InMemory::new(slow(1)));
    let inputs = |index: usize| match index {
        0..16 => Some(Ok(json(value!({ "n": index })))),
        _ => Some(Err(falco_core::Error::new(ErrorKind::NotFound, "file-16 is not there"))),
    };
    let plan = Plan(vec![
        Stage::from_fn("map", function("map"), inputs),
        derived("each", &["map"], OneToOne::new()),
        derived("next", &["each"], OneToOne::new()),
        numbers("apart", 50),
    ]);
    let outcome = plan.run(options(&platform)).await.unwrap();
    let stage = |stage| outcome.report.stage(stage).unwrap();
    assert_eq!(stage("map").state, StageState::Failed);
    assert!(stage("map").error.as_ref().unwrap().to_string().contains("file-16"));
    for name in ["each", "next"] {
        assert_eq!(stage(name).state, StageState::UpstreamFailed, "{name}");
    }
    assert!(stage("each").invocations.cancelled > 0, "{:?}", stage("each").invocations);
    assert_eq!(stage("apart").invocations.succeeded, 50);
    assert_eq!(platform.counters().running, 0);
}

#[tokio::test(start_paused = true)]
async fn results_are_kept_of_the_stages_that_were_named() {
    let platform = Arc::new(InMemory::default());
    let plan = Plan(vec![numbers("map", 3), derived("next", &["map"], OneToOne::new())]);
    let kept = KeepResults::Stages(vec!["map".into()]);
    let outcome = plan.run(options(&platform).with_kept_results(kept)).await.unwrap();
    assert_eq!(outcome.results("map").unwrap().len(), 3);
    let error = outcome.results("next").unwrap_err().to_string();
    assert!(error.contains("with_kept_results"), "{error}");
    assert!(outcome.results("ghost").unwrap_err().to_string().contains("no stage \"ghost\""));
    let error = outcome.results_as::<Vec<u8>>("map").unwrap_err().to_string();
    assert!(error.contains("\"00000000\"") && error.contains("\"map\""), "{error}");
}

/// How far one stage is ahead of the other, at most.
#[derive(Debug, Default)]
struct Lead {
    now: AtomicI64,
    most: AtomicI64,
}

impl Monitor for Lead {
    fn event(&self, event: &Event<'_>) -> Verdict {
        if let Event::Completed { completion } = event {
            let step = if completion.stage == "fast" { 1 } else { -1 };
            let now = self.now.fetch_add(step, SeqCst) + step;
            self.most.fetch_max(now, SeqCst);
        }
        Verdict::Continue
    }
}

#[tokio::test(start_paused = true)]
async fn no_stage_runs_far_ahead_of_the_one_that_follows() {
    let latency = Latency::by(|invocation| match invocation.stage().as_str() {
        "slow" => Duration::from_secs(1),
        _ => Duration::from_millis(1),
    });
    let platform = Arc::new(InMemory::new(Settings { latency, ..Settings::default() }));
    let lead = Arc::new(Lead::default());
    let plan = Plan(vec![numbers("fast", 2_000), derived("slow", &["fast"], OneToOne::new())]);
    let outcome = plan.run(options(&platform).with_monitor(lead.clone())).await.unwrap();
    assert!(outcome.is_success());
    let most = lead.most.load(SeqCst);
    assert!(most < 200, "{most} of 2000");
}

/// Ends after its first invocation, and never lets go of the others.
#[derive(Debug)]
struct Leaky;

impl ExecutionStrategy for Leaky {
    fn execute(
        &self,
        target: Target,
        mut invocations: BoxStream<'static, Invocation>,
    ) -> BoxStream<'static, Completion> {
        let first = async move {
            let first = invocations.next().await;
            std::mem::forget(invocations);
            stream::iter(first)
        };
        Naive(1).execute(target, stream::once(first).flatten().boxed())
    }
}

#[tokio::test(start_paused = true)]
async fn a_strategy_that_never_lets_go_does_not_keep_the_run() {
    let platform = Arc::new(InMemory::default());
    let plan = Plan(vec![
        numbers("map", 1),
        derived("many", &["map"], FanOut::by(|_| Ok(vec![json(value!({})); 1_000]))),
    ]);
    let deployed = plan.deploy(options(&platform)).await.unwrap();
    let run = tokio::time::timeout(Duration::from_secs(60), plan.execute(&Leaky, &deployed));
    let outcome = run.await.expect("the run ends");
    let counts = outcome.report.stage("many").unwrap().invocations;
    assert_eq!(counts.succeeded, 1);
    assert!(counts.skipped_is_lower_bound && counts.skipped > 0, "{counts:?}");
    plan.remove(&deployed).await.unwrap();
}
