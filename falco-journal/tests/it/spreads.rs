//! Runs over several platforms that another process goes on with.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{Driver, ExecutionPlan, Result, Stage};
use falco_executors::{
    AsyncExecutor, DriverExt, ExecutionOptions, OnFailure, ParallelExecutor, RunOptions, RunOutcome,
};
use falco_journal::RunJournal;
use falco_layers::{Part, Share, Spread, Stack};
use falco_testkit::{InMemory, Latency, Settings};

use crate::support::{close, create, function, payload, plan, resume};

const COUNT: u64 = 6;

/// One stage whose invocations must not run twice.
#[derive(Debug)]
struct Once;

impl Driver for Once {
    fn name(&self) -> &str {
        "once"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let echo = function("def main(args): return args");
        Ok(plan(vec![Stage::from_payloads("map", echo, (0..COUNT).map(payload).collect())]))
    }
}

/// Runs it for so long over platforms that take one call at a time each.
async fn run(
    platforms: &[Arc<InMemory>],
    journal: Arc<RunJournal>,
    submits: bool,
    time: Duration,
) -> RunOutcome {
    let parts = platforms.iter().zip(["one", "two"]);
    let parts = parts.map(|(it, name)| Part::new(it.clone()).named(name).with_concurrency(1));
    let stack = Stack::new().with_journal(journal.clone());
    let spread = Spread::with_stack(Share::FreeCapacity, parts, &stack).unwrap();
    drop(stack);
    let options = RunOptions::from(Arc::new(spread)).with_journal(journal.clone());
    let (calls, go_on) =
        (COUNT as usize, ExecutionOptions::default().with_on_failure(OnFailure::Continue));
    let options = match submits {
        true => {
            options.with_strategy(AsyncExecutor::with_window(calls).unwrap().with_options(go_on))
        }
        false => options
            .with_strategy(ParallelExecutor::with_concurrency(calls).unwrap().with_options(go_on)),
    };
    let outcome = Once.run(options.with_stop(tokio::time::sleep(time))).await.unwrap();
    close(journal).await;
    outcome
}

#[tokio::test(start_paused = true)]
async fn calls_that_waited_for_a_part_of_a_suspended_spread_were_not_sent() {
    for (submits, unknown) in [(false, 2), (true, 0)] {
        let directory = tempfile::tempdir().unwrap();
        let slow = || {
            let latency = Latency::fixed(Duration::from_secs(10));
            Arc::new(InMemory::new(Settings { latency, ..Settings::default() }))
        };
        let platforms = [slow(), slow()];
        let started = || platforms.iter().map(|it| it.counters().started).sum::<u64>();

        let first = create(directory.path());
        let first = run(&platforms, first, submits, Duration::from_secs(5)).await;
        assert!(first.is_suspended(), "{:?}", first.error());
        assert_eq!(started(), 2, "each part has one call");
        let (unknown_yet, cancelled) =
            (first.report.invocations.unknown, first.report.invocations.cancelled);
        assert_eq!((unknown_yet, cancelled), (0, COUNT), "another process goes on with all");

        let second = resume(directory.path());
        let second = run(&platforms, second, submits, Duration::from_secs(1_000)).await;
        let counts = &second.report.invocations;
        // Nobody knows of calls that were waited for when the process ended; submissions are collected.
        assert_eq!((counts.unknown, counts.succeeded), (unknown, COUNT - unknown), "{counts:?}");
        assert_eq!(started(), COUNT, "each invocation ran once");
    }
}
