//! Batches: several inputs in one call, and everything else as without.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::{
    Batch, Capabilities, Completion, Driver, ErrorKind, ExecutionPlan, ExecutionStrategy,
    FunctionError, FunctionErrorKind, OnFailure, RuntimeLimits, Scaling, Stage, Verdict,
};
use falco_executors::{
    AsyncExecutor, DriverExt, ExecutionOptions, LogPolicy, ParallelExecutor, RepeatPolicy,
    RunOptions, SequentialExecutor,
};
use falco_testkit::{Fates, InMemory, Latency, Odds, Reply, Settings};
use proptest::prelude::*;
use serde_json::{Value, json as value};
use tokio::time::Instant;

use super::support::{Plan, json, numbers};

const MILLI: Duration = Duration::from_millis(1);

fn number(call: &falco_testkit::FunctionCall<'_>) -> u64 {
    call.payload().parse::<Value>().unwrap()["n"].as_u64().unwrap()
}

fn crash() -> FunctionError {
    FunctionError::new(FunctionErrorKind::Crashed, "died")
}

/// How often each input ran.
type Runs = Arc<Mutex<BTreeMap<u64, u32>>>;

/// A platform whose function squares its number, and does what `fails` says at its n-th run.
fn squares(
    settings: Settings,
    each: Duration,
    fails: impl Fn(u64, u32) -> Option<FunctionError> + Send + Sync + 'static,
) -> (Arc<InMemory>, Runs) {
    let runs = Runs::default();
    let counted = runs.clone();
    let platform = InMemory::new(settings).with_function("python", move |call| {
        let n = number(call);
        let run = {
            let mut runs = counted.lock().unwrap();
            let run = runs.entry(n).or_default();
            *run += 1;
            *run
        };
        let reply = match fails(n, run) {
            Some(error) => Reply::failed(error),
            None => Reply::succeeded(json(value!({ "square": n * n }))),
        };
        reply.after(each).printing(format!("this is {n}"))
    });
    (Arc::new(platform), runs)
}

fn never(_: u64, _: u32) -> Option<FunctionError> {
    None
}

fn parallel(calls: usize, options: ExecutionOptions) -> Arc<dyn ExecutionStrategy> {
    Arc::new(ParallelExecutor::with_concurrency(calls).unwrap().with_options(options))
}

fn patient() -> ExecutionOptions {
    ExecutionOptions::default()
        .with_on_failure(OnFailure::Continue)
        .with_repeat_failed(RepeatPolicy::constant(3, MILLI))
        .with_repeat_lost(RepeatPolicy::constant(500, MILLI))
}

/// A plan whose hook notes how each input ended.
#[derive(Debug)]
struct Noted(Plan, Mutex<BTreeMap<String, String>>);

impl Noted {
    fn new(stage: Stage) -> Self {
        Self(Plan(vec![stage]), Mutex::default())
    }

    fn ends(self) -> BTreeMap<String, String> {
        self.1.into_inner().unwrap()
    }
}

impl Driver for Noted {
    fn name(&self) -> &str {
        "noted"
    }

    fn plan(&self) -> falco_core::Result<ExecutionPlan> {
        self.0.plan()
    }

    fn on_completion(&self, completion: &Completion) -> Verdict {
        let end = match (completion.result(), &completion.outcome) {
            (Some(result), _) => result.as_str().to_owned(),
            (None, falco_core::Outcome::FunctionFailed(activation)) => {
                activation.outcome.as_ref().unwrap_err().kind.to_string()
            }
            (None, outcome) => outcome.as_str().to_owned(),
        };
        let known = self.1.lock().unwrap().insert(completion.invocation.to_string(), end);
        assert_eq!(known, None, "one completion for each input");
        Verdict::Continue
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_inputs_in_batches_of_100_are_ten_calls_and_a_thousand_results() {
    for submits in [false, true] {
        let (platform, _) = squares(Settings::default(), MILLI, never);
        let strategy: Arc<dyn ExecutionStrategy> = match submits {
            true => Arc::new(AsyncExecutor::with_window(2).unwrap()),
            false => parallel(2, ExecutionOptions::default()),
        };
        let stage = numbers("s", 1000).with_batch(Batch::of(100));
        let options = RunOptions::new(platform.clone(), strategy);
        let outcome = Plan(vec![stage]).run(options).await.unwrap();
        assert!(outcome.is_success(), "{:?}", outcome.error());
        let counters = platform.counters();
        assert_eq!(counters.invokes + counters.submits, 10, "submits: {submits}");
        assert_eq!(counters.peak_running, 2);
        assert_eq!((counters.unreleased, counters.running), (0, 0));
        assert_eq!(counters.taken, if submits { 10 } else { 0 });
        let report = &outcome.report.stages[0];
        assert_eq!((report.invocations.succeeded, report.attempts), (1000, 1000));
        let results = outcome.partial_results("s").unwrap();
        assert_eq!(results[7].1.as_str(), r#"{"square":49}"#);
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_inputs_that_failed_are_sent_again() {
    let fails = |n, run| {
        (n == 3 && run == 1).then(|| FunctionError::new(FunctionErrorKind::Raised, "not yet"))
    };
    let (platform, runs) = squares(Settings::default(), MILLI, fails);
    let stage = numbers("s", 10).with_batch(Batch::of(10));
    let options = RunOptions::new(platform.clone(), parallel(4, patient()));
    assert!(Plan(vec![stage]).run(options).await.unwrap().is_success());
    let runs = runs.lock().unwrap();
    assert!((0..10).all(|n| runs[&n] == if n == 3 { 2 } else { 1 }), "{runs:?}");
    assert_eq!(platform.counters().invokes, 2);
}

#[tokio::test(start_paused = true)]
async fn a_crash_names_the_input_that_ran_with_its_own_log_and_the_rest_runs_once() {
    for submits in [false, true] {
        let (platform, runs) = squares(Settings::default(), MILLI, |n, _| (n == 0).then(crash));
        let options = ExecutionOptions::default().with_on_failure(OnFailure::Continue);
        let strategy: Arc<dyn ExecutionStrategy> = match submits {
            true => Arc::new(AsyncExecutor::with_window(4).unwrap().with_options(options)),
            false => parallel(4, options),
        };
        // Not idempotent: what follows the crash is known not to have run.
        let stage = numbers("s", 8).with_batch(Batch::of(8));
        let options =
            RunOptions::new(platform.clone(), strategy).with_failed_logs(LogPolicy::all());
        let outcome = Plan(vec![stage]).run(options).await.unwrap();
        let report = &outcome.report.stages[0];
        assert_eq!((report.invocations.succeeded, report.invocations.function_failed), (7, 1));
        assert!(runs.lock().unwrap().values().all(|runs| *runs == 1), "{runs:?}");
        let failure = &report.failures[0];
        assert_eq!(failure.id, "00000000");
        assert_eq!(failure.log.as_deref(), Some("this is 0"), "submits: {submits}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_ran_before_a_crash_runs_again_only_where_that_does_no_harm() {
    for is_idempotent in [false, true] {
        let (platform, runs) = squares(Settings::default(), MILLI, |n, _| (n == 5).then(crash));
        let mut stage = numbers("s", 8).with_batch(Batch::of(8));
        stage.idempotent = is_idempotent;
        let options = ExecutionOptions::default().with_on_failure(OnFailure::Continue);
        let options = RunOptions::new(platform, parallel(1, options));
        let outcome = Plan(vec![stage]).run(options).await.unwrap();
        let counts = outcome.report.stages[0].invocations;
        let expected = if is_idempotent { (7, 1, 0) } else { (2, 1, 5) };
        assert_eq!((counts.succeeded, counts.function_failed, counts.unknown), expected);
        assert_eq!(runs.lock().unwrap()[&0], if is_idempotent { 2 } else { 1 });
        assert_eq!(runs.lock().unwrap()[&7], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_ends_long_before_the_timeout_and_what_is_left_goes_again() {
    let second = Duration::from_secs(1);
    let (platform, runs) = squares(Settings::default(), second, never);
    let mut stage = numbers("s", 20).with_batch(Batch::of(20));
    stage.function.scaling = Scaling::default().with_timeout(second * 8);
    let options = RunOptions::new(platform.clone(), parallel(1, ExecutionOptions::default()));
    let outcome = Plan(vec![stage]).run(options).await.unwrap();
    assert!(outcome.is_success(), "{:?}", outcome.error());
    assert!(runs.lock().unwrap().values().all(|runs| *runs == 1), "nothing ran twice");
    // A quarter of eight seconds, and the input that has begun by then.
    assert_eq!(platform.counters().invokes, 7);
}

#[tokio::test(start_paused = true)]
async fn batches_keep_the_limits_of_arguments_and_of_results() {
    let capabilities = |change: fn(Capabilities) -> Capabilities| Settings {
        capabilities: change(Settings::default().capabilities),
        ..Settings::default()
    };
    let limits: [fn(Capabilities) -> Capabilities; 4] = [
        |it| it.with_max_payload(300),
        |it| it.with_max_result(4096 + 500),
        |it| it.with_runtime_limits("python", RuntimeLimits::default().with_max_payload(300)),
        |it| it.with_runtime_limits("python", RuntimeLimits::default().with_max_result(4096 + 500)),
    ];
    for change in limits {
        let (platform, runs) = squares(capabilities(change), MILLI, never);
        let stage = numbers("s", 200).with_batch(Batch::of(200));
        let options = RunOptions::new(platform.clone(), parallel(2, ExecutionOptions::default()));
        let outcome = Plan(vec![stage]).run(options).await.unwrap();
        assert!(outcome.is_success(), "{:?}", outcome.error());
        assert!((5..100).contains(&platform.counters().invokes), "{:?}", platform.counters());
        assert!(runs.lock().unwrap().values().all(|runs| *runs == 1));
    }
    let (platform, _) = squares(Settings::default(), MILLI, never);
    let stage = numbers("s", 100).with_batch(Batch::bytes(100));
    let options = RunOptions::new(platform.clone(), parallel(2, ExecutionOptions::default()));
    assert!(Plan(vec![stage]).run(options).await.unwrap().is_success());
    assert!((8..=15).contains(&platform.counters().invokes), "{:?}", platform.counters());
}

#[tokio::test(start_paused = true)]
async fn measured_batches_save_calls_and_leave_no_worker_idle_at_the_end() {
    // A call takes 20 ms by itself, and an input 5 ms.
    let latency = Latency::fixed(MILLI * 20);
    let settings = Settings { latency, ..Settings::default() };
    let (platform, _) = squares(settings, MILLI * 5, never);
    let stage = numbers("s", 2000).with_batch(Batch::auto());
    let options = RunOptions::new(platform.clone(), parallel(4, ExecutionOptions::default()));
    let began = Instant::now();
    assert!(Plan(vec![stage]).run(options).await.unwrap().is_success());
    // Ten seconds of work for four workers.
    let took = began.elapsed();
    assert!((MILLI * 2500..MILLI * 3100).contains(&took), "{took:?}");
    assert!(platform.counters().invokes < 110, "{:?}", platform.counters());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_and_the_first_failure_end_a_stage_with_batches_as_without() {
    let (platform, _) = squares(Settings::default(), MILLI * 100, never);
    let stage = numbers("s", 100).with_batch(Batch::of(10)).with_deadline(MILLI * 1500);
    let options = RunOptions::new(platform.clone(), parallel(1, ExecutionOptions::default()));
    let outcome = Plan(vec![stage]).run(options).await.unwrap();
    let counts = outcome.report.stages[0].invocations;
    assert_eq!(counts.succeeded, 10);
    assert_eq!(counts.succeeded + counts.deadline_exceeded + counts.skipped, 100);
    assert_eq!(platform.counters().running, 0, "a call of a stopped stage is dropped");

    let raised = || FunctionError::new(FunctionErrorKind::Raised, "no");
    let (platform, _) = squares(Settings::default(), MILLI, move |n, _| (n == 15).then(raised));
    let stage = numbers("s", 100).with_batch(Batch::of(10));
    let sequential: Arc<dyn ExecutionStrategy> = Arc::new(SequentialExecutor::new());
    let outcome = Plan(vec![stage]).run(RunOptions::new(platform, sequential)).await.unwrap();
    let counts = outcome.report.stages[0].invocations;
    // What follows in the same batch has run, and its results are kept.
    assert_eq!((counts.succeeded, counts.function_failed), (19, 1));
}

#[tokio::test(start_paused = true)]
async fn a_slow_input_is_copied_in_a_batch_of_its_own() {
    let first = Arc::new(Mutex::new(HashMap::<u64, u32>::new()));
    let platform = InMemory::default().with_function("python", move |call| {
        let n = number(call);
        let mut runs = first.lock().unwrap();
        let run = runs.entry(n).or_default();
        *run += 1;
        let slow = n == 60 && *run == 1;
        let took = if slow { Duration::from_secs(600) } else { MILLI };
        Reply::succeeded(json(value!({ "n": n }))).after(took)
    });
    let stage = numbers("s", 100).idempotent().with_batch(Batch::of(5)).with_policy(
        falco_core::StagePolicy::default().with_batch(Batch::of(5)).with_speculation(3.0),
    );
    let options = RunOptions::new(Arc::new(platform), parallel(4, ExecutionOptions::default()));
    let began = Instant::now();
    let outcome = Plan(vec![stage]).run(options).await.unwrap();
    assert!(outcome.is_success(), "{:?}", outcome.error());
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert!(outcome.report.stages[0].copies >= 1);
}

#[tokio::test(start_paused = true)]
async fn impossible_batches_are_refused_before_anything_is_deployed() {
    let (platform, _) = squares(Settings::default(), MILLI, never);
    let run = |batch| {
        let options = RunOptions::new(platform.clone(), parallel(1, ExecutionOptions::default()));
        let plan = Plan(vec![numbers("s", 3).with_batch(batch)]);
        async move { plan.run(options).await.unwrap_err() }
    };
    for nothing in [Batch::of(0), Batch::bytes(0)] {
        let error = run(nothing).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("stage \"s\""), "{error}");
    }
    platform.configure(|settings| {
        settings.capabilities = settings.capabilities.clone().with_shim(false);
    });
    let error = run(Batch::auto()).await;
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("batch"), "{error}");
    assert_eq!(platform.counters().deploys, 0);
}

fn ends(
    batch: Option<Batch>,
    strategy: Arc<dyn ExecutionStrategy>,
    inputs: usize,
    bad: u64,
    seed: u64,
    odds: Odds,
) -> BTreeMap<String, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let fates = Fates::random(seed, odds);
        let latency = Latency::uniform(Duration::ZERO, MILLI * 50);
        let settings = Settings { fates, latency, seed, ..Settings::default() };
        let fails = move |n: u64, run| match (n + bad) % 13 {
            0 => Some(crash()),
            1 => Some(FunctionError::new(FunctionErrorKind::Raised, "always")),
            2 if run <= 2 => Some(FunctionError::new(FunctionErrorKind::Raised, "at first")),
            3 if run == 1 => Some(crash()),
            _ => None,
        };
        let (platform, _) = squares(settings, MILLI, fails);
        let mut stage = numbers("s", inputs).idempotent();
        stage.policy.batch = batch;
        let noted = Noted::new(stage);
        let options = RunOptions::new(platform.clone(), strategy)
            .with_failed_logs(LogPolicy::without_traceback());
        let run = tokio::time::timeout(Duration::from_secs(86_400), noted.run(options)).await;
        let _ = run.expect("the run ends").unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(platform.counters().running, 0);
        noted.ends()
    })
}

fn any_batch() -> impl Strategy<Value = Batch> {
    prop_oneof![
        (1..40_usize).prop_map(Batch::of),
        (1..400_u64).prop_map(Batch::bytes),
        Just(Batch::auto()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn with_and_without_batches_every_input_ends_in_the_same_way_whatever_fails(
        batch in any_batch(),
        submits: bool,
        window in 1..6_usize,
        inputs in 0..80_usize,
        bad in 0..13_u64,
        seed: u64,
        lost in prop_oneof![Just(0.0), 0.0..0.1],
    ) {
        let odds = Odds {
            reset: lost,
            gone: lost / 2.0,
            lost: if submits { lost / 2.0 } else { 0.0 },
            collect_failed: lost,
            ..Odds::default()
        };
        let strategy = || -> Arc<dyn ExecutionStrategy> {
            match submits {
                true => Arc::new(AsyncExecutor::with_window(window).unwrap().with_options(patient())),
                false => parallel(window, patient()),
            }
        };
        let without = ends(None, strategy(), inputs, bad, seed, odds.clone());
        let with = ends(Some(batch), strategy(), inputs, bad, seed, odds);
        prop_assert_eq!(without.len(), inputs);
        prop_assert_eq!(with, without);
    }
}
