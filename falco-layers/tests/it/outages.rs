//! A platform that is away: nothing is lost below the patience, and nothing is silent above it.

mod calls;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::*;
use falco_executors::{
    AsyncExecutor, DriverExt, ExecutionOptions, OnFailure, OneToOne, ParallelExecutor, Patience,
    RunOptions, RunOutcome, SequentialExecutor,
};
use falco_layers::{Held, HeldPolicy, Retry, RetryPolicy, Stack};
use falco_testkit::{Fate, Fates, InMemory, Latency, Line, Operation, Outages, Reply, Settings};
use proptest::prelude::*;
use tokio::time::{Instant, sleep};

use crate::support::*;

/// Pauses of the probes reach ten seconds, and the calls that follow take up to five.
const LONGEST_BLINDNESS: u64 = 20;
const PATIENCE: u64 = 120;

type Away = Arc<Outages<InMemory>>;

/// How often each invocation ran.
type Runs = Arc<Mutex<HashMap<String, usize>>>;

fn platform(settings: Settings) -> (Away, Runs) {
    let runs = Runs::default();
    let seen = Arc::clone(&runs);
    let inner = InMemory::new(settings).with_function("python:3", move |call| {
        let id = format!("{}/{}", call.invocation.stage(), call.invocation.id());
        *seen.lock().unwrap().entry(id).or_default() += 1;
        Reply::succeeded(call.payload().clone())
    });
    (Arc::new(Outages::new(inner)), runs)
}

/// Cuts the line as the schedule says: up for so many seconds, then away in this way for so many.
async fn follow(platform: Away, schedule: Vec<(u64, Line, u64)>) {
    for (up, line, away) in schedule {
        sleep(secs(up)).await;
        platform.set(line);
        sleep(secs(away)).await;
        platform.set(Line::Up);
    }
}

#[derive(Debug)]
struct Work {
    invocations: usize,
    idempotent: bool,
}

impl Driver for Work {
    fn name(&self) -> &str {
        "work"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let invocations = self.invocations;
        let scaling = Scaling::default().with_timeout(secs(60));
        let function = function().with_scaling(scaling);
        let stage = Stage::from_fn("map", function.clone(), move |index| {
            (index < invocations).then(|| Ok(Payload::empty()))
        });
        if !self.idempotent {
            return ExecutionPlan::new(vec![stage]);
        }
        // Another stage runs at the same time.
        let next = Stage::derived("next", function.with_name("next"), ["map"], OneToOne::new());
        ExecutionPlan::new(vec![stage.idempotent(), next.idempotent()])
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Sequential,
    Parallel(usize),
    Async(usize),
    Held(usize),
}

impl Kind {
    fn strategy(self, options: ExecutionOptions) -> Arc<dyn ExecutionStrategy> {
        match self {
            Self::Sequential => Arc::new(SequentialExecutor::new().with_options(options)),
            Self::Parallel(n) => {
                Arc::new(ParallelExecutor::with_concurrency(n).unwrap().with_options(options))
            }
            Self::Async(n) | Self::Held(n) => {
                let patience = Patience::default().with_outage(secs(PATIENCE));
                let executor = AsyncExecutor::with_window(n).unwrap().with_patience(patience);
                Arc::new(executor.with_options(options))
            }
        }
    }
}

async fn run(
    kind: Kind,
    work: &Work,
    platform: &Away,
    schedule: Vec<(u64, Line, u64)>,
) -> Result<RunOutcome> {
    let mut stack = Stack::new().with_outage_patience(secs(PATIENCE));
    if let Kind::Held(_) = kind {
        stack = stack.with_held(HeldPolicy::default());
    }
    let layered = stack.wrap(Arc::clone(platform)).unwrap();
    let options = ExecutionOptions::default().with_on_failure(OnFailure::Continue);
    let options = RunOptions::new(layered, kind.strategy(options));
    // Not at a full second, where other things happen.
    let offset = millis(work.invocations as u64 * 37 % 1_000);
    let following = follow(Arc::clone(platform), schedule);
    let line = tokio::spawn(async move {
        sleep(offset).await;
        following.await;
    });
    let outcome = work.run(options).await;
    line.abort();
    outcome
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Sequential),
        (1_usize..40).prop_map(Kind::Parallel),
        (1_usize..40).prop_map(Kind::Async),
        (1_usize..40).prop_map(Kind::Held),
    ]
}

fn schedules() -> impl Strategy<Value = Vec<(u64, Line, u64)>> {
    let line = prop::sample::select(vec![Line::Cut, Line::Hung]);
    let up = prop_oneof![LONGEST_BLINDNESS..60, LONGEST_BLINDNESS..600];
    let long = (up, line.clone(), 1..PATIENCE - LONGEST_BLINDNESS);
    // Those that follow one another closely may count as one.
    let short = (0..LONGEST_BLINDNESS, line, 1_u64..8);
    let all = prop_oneof![prop::collection::vec(long, 1..5), prop::collection::vec(short, 1..4)];
    // The first may come while functions are deployed.
    (0_u64..20, all).prop_map(|(first, mut schedule)| {
        schedule[0].0 = first;
        schedule
    })
}

fn paused<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(test)
}

fn settings(seed: u64) -> Settings {
    Settings {
        latency: Latency::uniform(millis(50), secs(8)),
        record_delay: Latency::uniform(millis(0), millis(300)),
        // So that outages begin while functions are deployed and removed.
        control_latency: millis(5 + seed % 2_000),
        seed,
        ..Settings::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn outages_shorter_than_the_patience_cost_time_and_nothing_else(
        kind in kinds(), invocations in 1_usize..120, idempotent: bool, schedule in schedules(), seed: u64,
    ) {
        paused(async {
            let (platform, runs) = platform(settings(seed));
            let work = Work { invocations, idempotent };
            let outcome = run(kind, &work, &platform, schedule).await.unwrap();
            for stage in &outcome.report.stages {
                prop_assert_eq!(stage.invocations.entered(), invocations as u64, "{}", stage.stage);
            }
            let stage = &outcome.report.stages[0];
            if idempotent {
                prop_assert!(outcome.is_success(), "{:?} {:?}", outcome.error(), stage.invocations);
            } else {
                // What was on its way when the line was cut is unknown; all others have run.
                let known = stage.invocations.succeeded + stage.invocations.unknown;
                prop_assert_eq!(known, invocations as u64, "{:?}", stage.invocations);
                let runs = runs.lock().unwrap();
                prop_assert!(runs.values().all(|runs| *runs == 1), "something ran twice: {:?}", runs);
            }
            prop_assert!(outcome.leftovers.is_empty(), "{:?}", outcome.leftovers);
            prop_assert!(platform.inner().list_deployments().await.unwrap().is_empty());
            prop_assert_eq!(platform.inner().counters().unreleased, 0);
            Ok(())
        })?;
    }

    #[test]
    fn an_outage_longer_than_the_patience_ends_the_run_and_keeps_what_was_done(
        kind in kinds(), up in 1_u64..30, seed: u64,
    ) {
        paused(async {
            let (platform, _) = platform(settings(seed));
            let work = Work { invocations: 600, idempotent: true };
            let begun = Instant::now();
            let outcome = run(kind, &work, &platform, vec![(up, Line::Cut, 100 * PATIENCE)]).await;
            let error = match &outcome {
                Ok(outcome) => outcome.error().unwrap(),
                // It began while functions were deployed.
                Err(error) => error,
            };
            let error = error.to_string();
            prop_assert!(error.contains("nobody has answered since"), "{error}");
            prop_assert!(error.contains("refused") || error.contains("reset"), "{error}");
            let took = begun.elapsed();
            prop_assert!(took < secs(up + 3 * PATIENCE), "{took:?}");
            let Ok(outcome) = outcome else { return Ok(()) };
            let done = outcome.partial_results("next").unwrap().len() as u64;
            prop_assert_eq!(done, outcome.report.stages[1].invocations.succeeded);
            prop_assert_eq!(outcome.leftovers.len(), 2);
            prop_assert_eq!(platform.inner().list_deployments().await.unwrap().len(), 2);
            Ok(())
        })?;
    }
}

#[test]
fn held_calls_outlast_an_outage() {
    paused(async {
        let (platform, _) = platform(settings(1));
        let work = Work { invocations: 200, idempotent: true };
        let outcome =
            run(Kind::Held(40), &work, &platform, vec![(5, Line::Cut, 60)]).await.unwrap();
        assert!(outcome.is_success(), "{:?}", outcome.error());
    });
}

#[test]
fn neither_an_answer_from_memory_nor_a_call_that_is_held_ends_an_outage() {
    paused(async {
        let latency = Latency::fixed(secs(3_600));
        let (platform, _) = platform(Settings { latency, ..Settings::default() });
        let held = Stack::new().with_held(HeldPolicy::default());
        let layered = held.wrap(Arc::clone(&platform)).unwrap();
        let recorder = Recorder::new();
        let watcher: Arc<dyn Monitor> = recorder.clone();
        layered.watch_outages(Arc::downgrade(&watcher));
        let deployment = layered.deploy(&function()).await.unwrap();
        platform.set(Line::Cut);
        let listing = tokio::spawn({
            let layered = Arc::clone(&layered);
            async move { layered.list_deployments().await }
        });
        sleep(secs(2)).await;
        assert_eq!(recorder.lines().len(), 1, "{:?}", recorder.lines());
        // From now on calls are taken, and nobody answers them.
        listing.abort();
        platform.set(Line::Hung);
        for _ in 0..10 {
            let pending = Pending::new("held-1", std::time::SystemTime::now());
            layered.collect(&deployment, &[pending]).await.unwrap();
            sleep(secs(1)).await;
        }
        assert_eq!(recorder.lines().len(), 1, "{:?}", recorder.lines());
        let call = invocation("1");
        let submitted = tokio::time::timeout(secs(18), layered.submit(&deployment, &call));
        let _pending = submitted.await.unwrap().unwrap();
        assert_eq!(recorder.lines().len(), 1, "{:?}", recorder.lines());
    });
}

#[test]
fn one_invocation_that_breaks_each_connection_does_not_stop_the_others() {
    paused(async {
        let broken = Error::new(ErrorKind::Unavailable, "connection reset")
            .with_unreachable(true)
            .with_may_have_run(true);
        let fates = Fates::by(move |call| match call.invocation {
            Some(invocation) if invocation.id().as_str().ends_with("00000077") => {
                Fate::LoseAnswer(broken.clone())
            }
            _ => Fate::Serve,
        });
        let settings =
            Settings { latency: Latency::fixed(millis(100)), fates, ..Settings::default() };
        let (platform, runs) = platform(settings);
        let work = Work { invocations: 2_000, idempotent: true };
        let outcome = run(Kind::Parallel(10), &work, &platform, vec![]).await.unwrap();
        let counts = outcome.report.stages[0].invocations;
        assert_eq!((counts.succeeded, counts.unknown), (1_999, 1), "{counts:?}");
        let most = runs.lock().unwrap().values().copied().max();
        assert_eq!(most, Some(6), "the first shows nothing yet, then five attempts");
    });
}

#[test]
fn the_options_of_a_run_may_have_less_patience_than_the_layers() {
    paused(async {
        let (platform, _) = platform(settings(1));
        let work = Work { invocations: 200, idempotent: true };
        let layered = Stack::new().wrap(Arc::clone(&platform)).unwrap();
        let strategy = Kind::Parallel(10).strategy(ExecutionOptions::default());
        let options = RunOptions::new(layered, strategy).with_outage_patience(secs(30));
        let line = tokio::spawn(follow(Arc::clone(&platform), vec![(2, Line::Cut, 3_600)]));
        let begun = Instant::now();
        let outcome = work.run(options).await.unwrap();
        let error = outcome.error().unwrap().to_string();
        assert!(error.contains("nobody has answered for 30 s"), "{error}");
        assert!(begun.elapsed() < secs(90), "{:?}", begun.elapsed());
        assert_eq!(outcome.leftovers.len(), 2);
        assert!(outcome.report.outage > secs(30));
        line.abort();
    });
}
