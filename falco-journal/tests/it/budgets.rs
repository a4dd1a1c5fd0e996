//! A run that a budget stops, and that another process goes on with under a higher one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::{Batch, Driver, ExecutionPlan, Platform, Prices, Result, Stage, UsDollars};
use falco_executors::{AsyncExecutor, DriverExt, ParallelExecutor, RunOptions, RunOutcome};
use falco_journal::RunJournal;
use falco_layers::{Budget, Part, Share, Spread, Stack};
use falco_testkit::{InMemory, Latency, Settings};

use crate::support::{RUN, close, config, create, function, payload, resume};

#[derive(Debug)]
struct Twenty;

impl Driver for Twenty {
    fn name(&self) -> &str {
        "twenty"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let scaling = falco_core::Scaling::default().with_timeout(Duration::from_secs(2));
        let echo = function("def main(args): return args").with_scaling(scaling);
        let map = Stage::from_fn_sized("map", echo, 20, |index| Ok(payload(index as u64)));
        ExecutionPlan::new(vec![map])
    }
}

/// A platform whose calls take a second and cost a dollar, and two at most.
fn platform() -> Arc<InMemory> {
    let prices = Prices::default().with_second(1.0);
    let capabilities = Settings::default().capabilities.with_prices(prices);
    let latency = Latency::fixed(Duration::from_secs(1));
    Arc::new(InMemory::new(Settings { capabilities, latency, ..Settings::default() }))
}

async fn run(
    platform: &Arc<InMemory>,
    journal: Arc<RunJournal>,
    limit: f64,
    submits: bool,
) -> RunOutcome {
    let budget = Budget::new(UsDollars(limit)).unwrap();
    let options = RunOptions::from(platform.clone());
    let options = options.with_journal(journal.clone()).with_budget(budget);
    let options = match submits {
        true => options.with_strategy(AsyncExecutor::with_window(4).unwrap()),
        false => options.with_strategy(ParallelExecutor::with_concurrency(4).unwrap()),
    };
    let outcome = Twenty.run(options).await.unwrap();
    close(journal).await;
    outcome
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_for_money_goes_on_with_a_higher_budget_and_pays_for_nothing_twice() {
    for submits in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let platform = platform();
        let outcome = run(&platform, create(directory.path()), 8.5, submits).await;
        assert!(outcome.is_suspended(), "{:?}", outcome.error());
        // Seven calls, and one that may cost $1.50 more than it does would pass the limit.
        assert_eq!(outcome.report.invocations.succeeded, 7, "{submits}");
        assert_eq!(platform.counters().started, 7);
        assert_eq!(platform.list_deployments().await.unwrap().len(), 1, "it stays");

        // What the first process has paid counts: thirteen more and room for the last.
        let too_little = run(&platform, resume(directory.path()), 20.5, submits).await;
        assert!(too_little.is_suspended(), "{:?}", too_little.error());
        assert_eq!(too_little.report.invocations.succeeded, 19);
        assert_eq!(too_little.report.budget.unwrap().spent, UsDollars(19.0));
        let enough = run(&platform, resume(directory.path()), 21.0, submits).await;
        assert!(enough.is_success(), "{:?}", enough.error());
        assert_eq!(enough.report.budget.unwrap().spent, UsDollars(20.0));
        assert_eq!(platform.counters().started, 20);
        assert!(platform.list_deployments().await.unwrap().is_empty());
    }
}

/// Stages whose results other runs may use, with so many inputs.
#[derive(Debug)]
struct Pure(usize);

impl Driver for Pure {
    fn name(&self) -> &str {
        "pure"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let scaling = falco_core::Scaling::default().with_timeout(Duration::from_secs(2));
        let echo = function("def main(args): return args").with_scaling(scaling);
        let map = Stage::from_fn_sized("map", echo, self.0, |index| Ok(payload(index as u64)));
        ExecutionPlan::new(vec![map.pure()])
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_does_not_pay_for_the_results_that_it_takes_from_another() {
    let directory = tempfile::tempdir().unwrap();
    let platform = platform();
    let sequential = || ParallelExecutor::with_concurrency(1).unwrap();
    let go = async |journal: Arc<RunJournal>, inputs: usize, budget: Budget| {
        let options = RunOptions::from(platform.clone()).with_strategy(sequential());
        let options = options.with_journal(journal.clone()).with_budget(budget);
        let outcome = Pure(inputs).run(options).await.unwrap();
        close(journal).await;
        outcome
    };
    let whole = go(create(directory.path()), 10, Budget::new(UsDollars(20.0)).unwrap()).await;
    assert_eq!(whole.report.budget.unwrap().spent, UsDollars(10.0));

    // Two calls, of which the second needs room for a whole timeout.
    let reusing = config(directory.path()).with_reuse(RUN);
    let other = "6553f101-0000beef";
    let journal = RunJournal::create(&reusing, other.into()).unwrap();
    let shown = Arc::new(Mutex::new(Vec::new()));
    let lines = shown.clone();
    let show = move |line: &str| lines.lock().unwrap().push(line.to_owned());
    let budget = Budget::new(UsDollars(3.5)).unwrap().with_sample(1, show).unwrap();
    let second = go(journal, 12, budget).await;
    assert!(second.is_success(), "{:?}", second.error());
    let report = second.report.budget.unwrap();
    assert_eq!((report.spent, report.stages[0].completed), (UsDollars(2.0), 12));
    let shown = shown.lock().unwrap().clone();
    assert!(shown.len() == 1 && shown[0].contains("about $2.00"), "{shown:?}");
    let summary = |run: &str| RunJournal::summary(&reusing, &run.into()).unwrap();
    assert_eq!((summary(other).invocations.done, summary(other).cost), (12, None));

    // Two of four new inputs are paid for, and say what the others cost.
    let journal = RunJournal::create(&reusing, "6553f102-0000beef".into()).unwrap();
    let suspended = go(journal, 14, Budget::new(UsDollars(3.0)).unwrap()).await;
    assert!(suspended.is_suspended(), "{:?}", suspended.error());
    let report = suspended.report.budget.unwrap();
    assert_eq!((report.spent, report.to_finish()), (UsDollars(2.0), Some(UsDollars(2.0))));
}

#[tokio::test(start_paused = true)]
async fn a_run_pays_once_for_a_batch_that_an_earlier_process_had_in_flight() {
    let directory = tempfile::tempdir().unwrap();
    let platform = platform();
    let go = async |journal: Arc<RunJournal>, budget: Budget, stop_after: Duration| {
        let options = RunOptions::from(platform.clone())
            .with_strategy(AsyncExecutor::with_window(1).unwrap())
            .with_batch(Batch::of(3))
            .with_journal(journal.clone())
            .with_budget(budget)
            .with_stop(tokio::time::sleep(stop_after));
        let outcome = tokio::time::timeout(Duration::from_secs(600), Twenty.run(options)).await;
        close(journal).await;
        outcome.expect("it ends").unwrap()
    };
    let half = Duration::from_millis(500);
    let first = go(create(directory.path()), Budget::new(UsDollars(40.0)).unwrap(), half).await;
    assert!(first.is_suspended(), "{:?}", first.error());
    assert_eq!((platform.counters().submits, platform.counters().unreleased), (1, 1));

    let hour = Duration::from_secs(3_600);
    // Neither the sample nor the limit waits for what stays reserved.
    let budget = Budget::new(UsDollars(8.5)).unwrap().with_sample(4, |_| ()).unwrap();
    let second = go(resume(directory.path()), budget, hour).await;
    assert!(second.is_success(), "{:?}", second.error());
    let report = second.report.budget.unwrap();
    let nothing = UsDollars(0.0);
    let submits = platform.counters().submits;
    assert_eq!(
        (report.spent, report.reserved, report.in_doubt),
        (UsDollars(submits as f64), nothing, nothing)
    );
    // The provider deletes its results.
    let counters = platform.counters();
    assert_eq!((counters.unreleased, counters.taken), (0, submits));
}

/// Runs over two platforms, four calls at once, until it is done or stopped.
async fn run_over_two(
    platforms: &[Arc<InMemory>],
    journal: Arc<RunJournal>,
    limit: f64,
    stop_after: Duration,
) -> RunOutcome {
    let budget = Budget::new(UsDollars(limit)).unwrap();
    let parts = platforms.iter().zip(["one", "two"]);
    let parts = parts.map(|(it, name)| Part::new(it.clone()).named(name));
    let stack = Stack::new().with_journal(journal.clone()).with_budget(budget.clone());
    let spread = Spread::with_stack(Share::FreeCapacity, parts, &stack).unwrap();
    drop(stack);
    let options = RunOptions::from(Arc::new(spread))
        .with_strategy(AsyncExecutor::with_window(4).unwrap())
        .with_journal(journal.clone())
        .with_budget(budget)
        .with_stop(tokio::time::sleep(stop_after));
    let outcome = tokio::time::timeout(Duration::from_secs(600), Twenty.run(options)).await;
    close(journal).await;
    outcome.expect("it ends").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_run_over_two_platforms_pays_for_what_an_earlier_process_had_in_flight() {
    let directory = tempfile::tempdir().unwrap();
    let platforms = [platform(), platform()];
    let stop = Duration::from_millis(2_500);
    let first = run_over_two(&platforms, create(directory.path()), 40.0, stop).await;
    assert!(first.is_suspended(), "{:?}", first.error());
    let started = || platforms.each_ref().map(|it| it.counters().started);
    assert!(started().iter().all(|started| *started > 0), "both have run some");
    assert!(first.report.budget.unwrap().reserved > UsDollars(0.0), "nothing was in flight");

    // It has room for nothing that stays reserved.
    let hour = Duration::from_secs(3_600);
    let second = run_over_two(&platforms, resume(directory.path()), 21.0, hour).await;
    assert!(second.is_success(), "{:?}", second.error());
    let report = second.report.budget.unwrap();
    let nothing = UsDollars(0.0);
    assert_eq!(
        (report.spent, report.reserved, report.in_doubt),
        (UsDollars(20.0), nothing, nothing)
    );
    assert_eq!(started().iter().sum::<u64>(), 20);
}
