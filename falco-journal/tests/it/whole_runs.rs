//! Runs that are killed, suspended or failed, and gone on with: plans on the platform in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use falco_core::{
    Completion, Driver, Event, ExecutionPlan, FunctionError, FunctionErrorKind, Journal, Monitor,
    OnFailure, Platform, Result, Stage, StagePolicy, Verdict,
};
use falco_executors::{
    AsyncExecutor, DriverExt, KeepResults, OnStop, OneToOne, ParallelExecutor, RunOptions,
    RunOutcome, SequentialExecutor,
};
use falco_journal::{Durability, JournalConfig, ResumeOptions, RunJournal, RunState};
use falco_layers::Stack;
use falco_testkit::{Fate, Fates, InMemory, Settings};
use tokio_util::sync::CancellationToken;

use crate::death::{Death, bury};
use crate::support::{RUN, close, config, function, payload};

/// Two stages, the second derived from the first.
#[derive(Debug)]
struct Pipeline {
    count: u64,
    idempotent: bool,
    /// How often the hook has seen each invocation.
    seen: Mutex<BTreeMap<String, u64>>,
}

impl Pipeline {
    fn new(count: u64, idempotent: bool) -> Self {
        Self { count, idempotent, seen: Mutex::default() }
    }
}

impl Driver for Pipeline {
    fn name(&self) -> &str {
        "pipeline"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let count = self.count;
        let echo = function("def main(args): return args");
        let map = Stage::from_fn_sized("map", echo.clone(), count as usize, |index| {
            Ok(payload(index as u64))
        });
        let again = Stage::derived("again", echo, ["map"], OneToOne::new());
        let stages = [map, again];
        let stages = stages.map(|stage| if self.idempotent { stage.idempotent() } else { stage });
        ExecutionPlan::new(stages.into())
    }

    fn on_completion(&self, completion: &Completion) -> Verdict {
        if completion.is_success() {
            let key = format!("{}/{}", completion.stage, completion.invocation);
            *self.seen.lock().unwrap().entry(key).or_default() += 1;
        }
        Verdict::Continue
    }
}

/// Stops the run after so many completions of functions that ran.
#[derive(Debug)]
struct After {
    left: AtomicU64,
    stop: CancellationToken,
}

impl Monitor for After {
    fn event(&self, event: &Event<'_>) -> Verdict {
        if let Event::Completed { completion } = event
            && completion.is_success()
            && self.left.fetch_sub(1, SeqCst) == 1
        {
            self.stop.cancel();
        }
        Verdict::Continue
    }
}

fn options(platform: &Arc<InMemory>, journal: &Arc<RunJournal>, executor: usize) -> RunOptions {
    let options = RunOptions::from(platform.clone())
        .with_kept_results(KeepResults::Stages(vec!["map".into(), "again".into()]));
    match executor {
        0 => options.with_strategy(SequentialExecutor::new()),
        1 => options.with_strategy(ParallelExecutor::with_concurrency(8).unwrap()),
        _ => options.with_strategy(AsyncExecutor::with_window(8).unwrap()),
    }
    .with_journal(journal.clone())
}

fn open(directory: &Path, resumed: bool, options: ResumeOptions) -> Arc<RunJournal> {
    let config = config(directory);
    match resumed {
        false => RunJournal::create(&config, RUN.into()).unwrap(),
        true => RunJournal::resume(&config, &RUN.into(), options).unwrap(),
    }
}

fn platform(fates: Fates) -> Arc<InMemory> {
    Arc::new(InMemory::new(Settings { fates, ..Settings::default() }))
}

/// Runs the pipeline until `after` completions, and suspends it there.
async fn suspended(
    directory: &Path,
    platform: &Arc<InMemory>,
    pipeline: &Pipeline,
    executor: usize,
    after: u64,
) -> RunOutcome {
    let journal = open(directory, false, ResumeOptions::default());
    let stop = CancellationToken::new();
    let monitor = After { left: AtomicU64::new(after), stop: stop.clone() };
    let options = options(platform, &journal, executor).with_monitor(Arc::new(monitor));
    let outcome = pipeline.run(options.with_stop(stop.cancelled_owned())).await.unwrap();
    journal.flush().await.unwrap();
    close(journal).await;
    outcome
}

#[tokio::test(start_paused = true)]
async fn a_suspended_run_goes_on_under_any_executor_and_sends_only_what_is_missing() {
    for executor in 0..3 {
        for next in 0..3 {
            let directory = tempfile::tempdir().unwrap();
            let platform = platform(Fates::default());
            let pipeline = Pipeline::new(40, true);
            let first = suspended(directory.path(), &platform, &pipeline, executor, 25).await;
            assert!(first.is_suspended() && !first.is_success());
            assert_eq!(platform.list_deployments().await.unwrap().len(), 1, "it stays");
            let run_before = platform.counters().started;

            let journal = open(directory.path(), true, ResumeOptions::default());
            let again = Pipeline::new(40, true);
            let outcome = again.run(options(&platform, &journal, next)).await.unwrap();
            assert!(outcome.is_success(), "{:?}", outcome.error());
            let counts = outcome.report.invocations;
            assert_eq!(counts.succeeded, 80);
            assert!(counts.recalled >= 25, "{counts:?}");
            let started = platform.counters().started - run_before;
            assert!(started <= 80 - counts.recalled, "{started} {counts:?}");
            assert_eq!(outcome.results_as::<serde_json::Value>("again").unwrap().len(), 40);
            let seen = again.seen.lock().unwrap().clone();
            assert!(seen.len() == 80 && seen.values().all(|times| *times == 1), "{seen:?}");
            assert!(platform.list_deployments().await.unwrap().is_empty(), "it was removed");
            close(journal).await;
            let summary = RunJournal::summary(&config(directory.path()), &RUN.into()).unwrap();
            assert_eq!((summary.state, summary.invocations.done), (RunState::Succeeded, 80));

            // A run that has succeeded sends nothing.
            let journal = open(directory.path(), true, ResumeOptions::default());
            let before = platform.counters().started;
            let outcome = again.run(options(&platform, &journal, next)).await.unwrap();
            assert_eq!(outcome.report.invocations.recalled, 80);
            assert_eq!(platform.counters().started, before);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_submitted_when_the_run_was_suspended_is_collected_and_not_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let platform = platform(Fates::default());
    let pipeline = Pipeline::new(40, false);
    let _ = suspended(directory.path(), &platform, &pipeline, 2, 10).await;
    let journal = open(directory.path(), true, ResumeOptions::default());
    let outcome = pipeline.run(options(&platform, &journal, 2)).await.unwrap();
    assert!(outcome.is_success(), "{:?}", outcome.error());
    assert_eq!(platform.counters().started, 80, "each invocation ran once");
}

#[tokio::test(start_paused = true)]
async fn a_suspended_run_with_replicas_collects_what_each_of_them_was_sent() {
    let directory = tempfile::tempdir().unwrap();
    let platform = platform(Fates::default());
    let pipeline = Pipeline::new(40, false);
    let options_of = |journal: &Arc<RunJournal>| {
        let stack = Stack::new().with_replicas(3).with_journal(journal.clone());
        RunOptions::from(stack.wrap(platform.clone()).unwrap())
            .with_strategy(AsyncExecutor::with_window(8).unwrap())
            .with_journal(journal.clone())
    };
    let journal = open(directory.path(), false, ResumeOptions::default());
    let stop = CancellationToken::new();
    let monitor = After { left: AtomicU64::new(10), stop: stop.clone() };
    let stopped =
        options_of(&journal).with_monitor(Arc::new(monitor)).with_stop(stop.cancelled_owned());
    assert!(pipeline.run(stopped).await.unwrap().is_suspended());
    journal.flush().await.unwrap();
    close(journal).await;
    assert_eq!(platform.list_deployments().await.unwrap().len(), 3, "they stay");
    let journal = open(directory.path(), true, ResumeOptions::default());
    let outcome = pipeline.run(options_of(&journal)).await.unwrap();
    assert!(outcome.is_success(), "{:?}", outcome.error());
    assert_eq!(platform.counters().started, 80, "each invocation ran once");
    assert!(platform.list_deployments().await.unwrap().is_empty(), "all were removed");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_to_be_removed_on_a_stop_leaves_nothing_and_deploys_again() {
    let directory = tempfile::tempdir().unwrap();
    let platform = platform(Fates::default());
    let pipeline = Pipeline::new(40, true);
    let journal = open(directory.path(), false, ResumeOptions::default());
    let stop = CancellationToken::new();
    let monitor = After { left: AtomicU64::new(10), stop: stop.clone() };
    let removing = options(&platform, &journal, 2)
        .with_monitor(Arc::new(monitor))
        .with_stop(stop.cancelled_owned())
        .with_on_stop(OnStop::Remove);
    let outcome = pipeline.run(removing).await.unwrap();
    assert!(!outcome.is_suspended());
    assert!(platform.list_deployments().await.unwrap().is_empty());
    close(journal).await;
    let journal = open(directory.path(), true, ResumeOptions::default());
    let outcome = pipeline.run(options(&platform, &journal, 2)).await.unwrap();
    assert!(outcome.is_success() && outcome.report.invocations.recalled >= 10);
    assert_eq!(platform.counters().deploys, 2);
}

#[tokio::test(start_paused = true)]
async fn only_what_failed_runs_again_with_more_memory() {
    let directory = tempfile::tempdir().unwrap();
    // Two inputs need more memory than functions have before somebody gives them more.
    let has_more = Arc::new(AtomicBool::new(false));
    let is_enough = has_more.clone();
    let fates = Fates::by(move |call| match call.invocation.map(|it| it.id().as_str()) {
        Some("00000003" | "00000007") if !is_enough.load(SeqCst) => {
            Fate::FailFunction(FunctionError::new(FunctionErrorKind::OutOfMemory, "too little"))
        }
        _ => Fate::Serve,
    });
    let platform = platform(fates);
    let run = |memory: Option<u32>, resumed, options_of: ResumeOptions| {
        has_more.store(memory.is_some() && options_of.rerun_failed, SeqCst);
        let journal = open(directory.path(), resumed, options_of);
        let platform = platform.clone();
        async move {
            let mut echo = function("def main(args): return args");
            echo.scaling.memory_mib = memory;
            let stage = Stage::from_fn_sized("map", echo, 10, |index| Ok(payload(index as u64)))
                .with_policy(StagePolicy::default().with_on_failure(OnFailure::Continue));
            let driver = Planned(vec![stage]);
            let outcome = driver.run(options(&platform, &journal, 1)).await.unwrap();
            close(journal).await;
            outcome
        }
    };
    let outcome = run(None, false, ResumeOptions::default()).await;
    assert_eq!(outcome.report.invocations.function_failed, 2);
    let started = platform.counters().started;

    // By itself, a resume keeps failures of what is not idempotent.
    let outcome = run(Some(2048), true, ResumeOptions::default()).await;
    let counts = outcome.report.invocations;
    assert_eq!((counts.function_failed, counts.recalled), (2, 10));
    assert_eq!(platform.counters().started, started);

    let outcome = run(Some(2048), true, ResumeOptions::default().with_rerun_failed(true)).await;
    let counts = outcome.report.invocations;
    assert_eq!((counts.succeeded, counts.recalled), (10, 8), "{:?}", outcome.error());
    assert_eq!(platform.counters().started, started + 2);
}

/// A driver of these stages.
#[derive(Debug)]
struct Planned(Vec<Stage>);

impl Driver for Planned {
    fn name(&self) -> &str {
        "planned"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        ExecutionPlan::new(self.0.clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_that_are_kept_hold_no_result_that_is_on_disk() {
    for is_suspended in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let platform = platform(Fates::default());
        let durable = config(directory.path()).with_durability(Durability::Machine);
        let journal = RunJournal::create(&durable, RUN.into()).unwrap();
        let stop = CancellationToken::new();
        let after = if is_suspended { 25 } else { u64::MAX };
        let monitor = After { left: AtomicU64::new(after), stop: stop.clone() };
        let keeping = options(&platform, &journal, 2)
            .with_kept_deployments(true)
            .with_monitor(Arc::new(monitor))
            .with_stop(stop.cancelled_owned());
        let outcome = Pipeline::new(40, true).run(keeping).await.unwrap();
        assert_eq!(outcome.is_suspended(), is_suspended);
        assert_eq!(platform.list_deployments().await.unwrap().len(), 1, "it is kept");
        let done = outcome.report.invocations.succeeded;
        // What was submitted and has no result stays, so that a resume collects it.
        let counters = platform.counters();
        assert_eq!(counters.unreleased, counters.started - done, "{counters:?}");
        assert_eq!(is_suspended, done < 80, "{done}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_journal_suspends_the_run_with_an_error_that_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let platform = platform(Fates::default());
    let small = JournalConfig::clone(&config(directory.path())).with_most_bytes(4_000);
    let journal = RunJournal::create(&small, RUN.into()).unwrap();
    let pipeline = Pipeline::new(200, true);
    let outcome = pipeline.run(options(&platform, &journal, 1)).await.unwrap();
    assert!(outcome.is_suspended());
    let error = outcome.error().unwrap().to_string();
    assert!(error.contains("is full"), "{error}");
    assert_eq!(platform.list_deployments().await.unwrap().len(), 1, "functions stay");
    close(journal).await;
    let journal = open(directory.path(), true, ResumeOptions::default());
    let outcome = pipeline.run(options(&platform, &journal, 1)).await.unwrap();
    assert!(outcome.is_success() && outcome.report.invocations.recalled > 0);
}

#[tokio::test(start_paused = true)]
async fn the_default_stack_holds_the_journal_once_and_held_calls_are_sent_again_where_that_is_safe()
{
    for idempotent in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            capabilities: InMemory::new(Settings::default())
                .capabilities()
                .with_submit(false)
                .with_wants_layers(true),
            ..Settings::default()
        };
        let platform = Arc::new(InMemory::new(settings));
        let pipeline = Pipeline::new(40, idempotent);
        let _ = suspended(directory.path(), &platform, &pipeline, 2, 10).await;
        let journal = open(directory.path(), true, ResumeOptions::default());
        let layered = Stack::new().with_journal(journal.clone()).wrap(platform.clone()).unwrap();
        assert!(format!("{layered:?}").matches("Journaled {").count() <= 1);
        let outcome = pipeline
            .run(
                RunOptions::from(layered)
                    .with_strategy(AsyncExecutor::with_window(8).unwrap())
                    .with_journal(journal.clone()),
            )
            .await
            .unwrap();
        let counts = outcome.report.invocations;
        match idempotent {
            true => assert_eq!(counts.succeeded, 80, "{:?}", outcome.error()),
            // What was held open when the process ended is unknown, and it did not run twice.
            false => {
                assert!(counts.unknown > 0 && counts.unknown <= 16, "{counts:?}");
                assert!(platform.counters().started <= 80);
            }
        }
    }
}

#[tokio::test]
async fn a_journal_and_a_run_id_of_another_run_do_not_go_together() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path(), false, ResumeOptions::default());
    let platform = platform(Fates::default());
    let error = Pipeline::new(1, true)
        .run(options(&platform, &journal, 1).with_run_id("another"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("another"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_power_loses_no_result_that_the_provider_has_deleted() {
    for after in [1, 10, 40, 70] {
        let (directory, later) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let platform = platform(Fates::default());
        let pipeline = Pipeline::new(40, false);
        let durable = config(directory.path()).with_durability(Durability::Machine);
        let journal = RunJournal::create(&durable, RUN.into()).unwrap();
        let stop = CancellationToken::new();
        let monitor = After { left: AtomicU64::new(after), stop: stop.clone() };
        let stopping = options(&platform, &journal, 2).with_monitor(Arc::new(monitor));
        let session = pipeline.deploy(stopping.with_stop(stop.cancelled_owned())).await.unwrap();
        let _ = pipeline.execute(&*session.strategy().clone(), &session).await;
        bury(directory.path(), later.path(), Death::Machine);

        let journal = open(later.path(), true, ResumeOptions::default());
        let outcome = pipeline.run(options(&platform, &journal, 2)).await.unwrap();
        let counts = outcome.report.invocations;
        // What was being sent is unknown, and nothing else, and nothing ran twice.
        assert!(counts.unknown <= 16 && counts.failed() == 0, "{counts:?}");
        assert!(platform.counters().started <= 80, "{:?}", platform.counters());
        assert!(counts.unknown > 0 || outcome.is_success(), "{:?}", outcome.error());
    }
}
