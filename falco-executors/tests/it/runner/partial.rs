//! Tests of the results of a stage that did not succeed.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{FunctionError, FunctionErrorKind, OnFailure, StagePolicy};
use falco_executors::{DriverExt, LogPolicy, ParallelExecutor, RunOptions, RunOutcome};
use falco_testkit::{Fate, Fates, InMemory, Latency, Reply, Settings};
use serde::Deserialize;
use serde_json::json as value;

use super::support::{Plan, json, numbers};

/// A stage goes on after failures.
fn going_on() -> StagePolicy {
    StagePolicy::default().with_on_failure(OnFailure::Continue)
}

#[derive(Debug, Deserialize, PartialEq)]
struct Square {
    square: u64,
}

/// Squares numbers; 3 fails with a traceback, 5 without one, but with a log.
async fn squares(keep_inputs: bool) -> RunOutcome {
    let platform = InMemory::default().with_source("square", |call| {
        let argument: serde_json::Value = call.payload().parse().unwrap();
        let n = argument["n"].as_u64().unwrap();
        let error = FunctionError::new(FunctionErrorKind::Raised, "bad luck");
        match n {
            3 => Reply::failed(error.with_error_type("ValueError").with_trace("line 1\nline 2")),
            5 => Reply::failed(FunctionError::new(FunctionErrorKind::Initialization, "see logs"))
                .printing("no module named numpy"),
            _ => Reply::succeeded(json(value!({"square": n * n}))),
        }
    });
    let plan = Plan(vec![numbers("square", 8).with_policy(going_on())]);
    let options = RunOptions::new(Arc::new(platform), Arc::new(ParallelExecutor::new()));
    let options = options.with_failed_logs(LogPolicy::without_traceback());
    plan.run(options.with_kept_inputs(keep_inputs)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn partial_results_come_with_their_ids_and_inputs() {
    let outcome = squares(true).await;
    assert!(outcome.results_as::<Square>("square").is_err());
    let partial = outcome.partial::<Square>("square").unwrap();
    let numbers: Vec<u64> = partial.iter().map(|done| done.id.as_str().parse().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2, 4, 6, 7]);
    for (n, done) in numbers.iter().zip(&partial) {
        assert_eq!(done.result, Square { square: n * n });
        assert_eq!(done.input, Some(json(value!({ "n": n }))));
    }
    let without = squares(false).await;
    assert!(without.partial::<Square>("square").unwrap().iter().all(|done| done.input.is_none()));
    assert!(outcome.partial::<Square>("ghost").is_err() && outcome.failures("ghost").is_empty());
}

#[tokio::test(start_paused = true)]
async fn failures_say_which_input_why_and_where() {
    let outcome = squares(false).await;
    let mut failures = outcome.failures("square").to_vec();
    failures.sort_by(|left, right| left.id.cmp(&right.id));
    let [raised, started] = &failures[..] else { panic!("{failures:?}") };
    assert_eq!((raised.id.as_str(), raised.kind.as_str()), ("00000003", "function error"));
    assert_eq!((raised.input.as_str(), raised.details()), ("{\"n\":3}", Some("line 1\nline 2")));
    assert_eq!(raised.to_string(), "00000003: function error: ValueError: bad luck");
    assert_eq!(
        (started.input.as_str(), started.kind.as_str()),
        ("{\"n\":5}", "initialization failed")
    );
    assert_eq!(started.details(), Some("no module named numpy"), "the log, without a traceback");
    let report = outcome.report.to_string();
    for line in ["    input: {\"n\":3}", "    input: {\"n\":5}"] {
        assert!(report.contains(line), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_table_shows_the_traceback_and_the_last_lines_printed() {
    #[derive(Debug, Default)]
    struct Logs(std::sync::Mutex<Vec<(String, usize)>>);
    impl falco_core::Monitor for Logs {
        fn event(&self, event: &falco_core::Event<'_>) -> falco_core::Verdict {
            if let falco_core::Event::Logged { stage, log } = event {
                self.0.lock().unwrap().push((stage.to_string(), log.lines.len()));
            }
            falco_core::Verdict::Continue
        }
    }
    let run = |policy| async move {
        let platform = InMemory::default().with_source("work", |_| {
            let error = FunctionError::new(FunctionErrorKind::Raised, "bad luck");
            let reply = Reply::failed(error.with_trace("Traceback\nline 7"));
            (0..300).fold(reply, |reply, n| reply.printing(format!("step {n}")))
        });
        let logs = Arc::new(Logs::default());
        let plan = Plan(vec![numbers("work", 60).with_policy(going_on())]);
        let options = RunOptions::new(Arc::new(platform), Arc::new(ParallelExecutor::new()));
        let options = options.with_failed_logs(policy).with_monitor(logs.clone());
        let outcome = plan.run(options).await.unwrap();
        let seen = logs.0.lock().unwrap().clone();
        (outcome.report.to_string(), seen)
    };
    let (table, seen) = run(LogPolicy::all()).await;
    assert!(table.contains("    Traceback\n    line 7\nwork "), "{table}");
    assert!(
        table.contains(" printed:\n    step 288\n") && table.contains("\n    step 299\n"),
        "{table}"
    );
    assert_eq!((seen.len(), &seen[0]), (20, &("work".to_owned(), 100)));
    for policy in [LogPolicy::without_traceback(), LogPolicy::none()] {
        let (table, seen) = run(policy).await;
        let is_without = table.contains("line 7") && !table.contains("step 299");
        assert!(is_without && seen.is_empty(), "{table}");
    }
}

#[tokio::test(start_paused = true)]
async fn logs_are_waited_for_however_long_patience_is() {
    let policy = LogPolicy::all().with_patience(Duration::MAX);
    let plan = Plan(vec![numbers("work", 1).with_policy(going_on())]);
    let options = RunOptions::new(printing(), Arc::new(ParallelExecutor::new()));
    let outcome = plan.run(options.with_failed_logs(policy)).await.unwrap();
    let log = outcome.report.stages[0].failures[0].log.as_deref();
    assert_eq!(log.map(str::len), Some(299), "{:?}", outcome.report);
}

/// Fails each call of `work` after it has printed 300 bytes.
fn printing() -> Arc<InMemory> {
    Arc::new(InMemory::default().with_source("work", |_| {
        let error = FunctionError::new(FunctionErrorKind::Raised, "bad luck");
        Reply::failed(error).printing("x".repeat(299))
    }))
}

#[tokio::test(start_paused = true)]
async fn logs_of_a_run_have_a_limit_and_what_is_left_out_says_so() {
    let plan = Plan(vec![numbers("work", 10).with_policy(going_on())]);
    let options = RunOptions::new(printing(), Arc::new(ParallelExecutor::new()));
    let policy = LogPolicy::all().with_total_bytes(1_000);
    let outcome = plan.run(options.with_failed_logs(policy)).await.unwrap();
    let logs = outcome.failures("work").iter().map(|it| it.log.as_deref().unwrap());
    let (mut lengths, mut left_out) = (Vec::new(), 0);
    for log in logs {
        match log.contains("left out") {
            true => left_out += 1,
            false => lengths.push(log.len()),
        }
    }
    lengths.sort_unstable();
    assert_eq!((lengths, left_out), (vec![99, 299, 299, 299], 6));
}

#[tokio::test(start_paused = true)]
async fn logs_are_fetched_while_later_stages_run() {
    #[derive(Debug, Default)]
    struct Order(std::sync::Mutex<Vec<String>>);
    impl falco_core::Monitor for Order {
        fn event(&self, event: &falco_core::Event<'_>) -> falco_core::Verdict {
            let text = match event {
                falco_core::Event::Logged { stage, .. } => format!("log of {stage}"),
                falco_core::Event::StageFinished { stage, .. } => format!("end of {stage}"),
                _ => return falco_core::Verdict::Continue,
            };
            self.0.lock().unwrap().push(text);
            falco_core::Verdict::Continue
        }
    }
    let platform = InMemory::new(Settings {
        latency: Latency::fixed(std::time::Duration::from_secs(2)),
        ..Settings::default()
    });
    let platform = platform.with_source("first", |call| {
        let argument: serde_json::Value = call.payload().parse().unwrap();
        match argument["n"] == 0 {
            true => {
                Reply::failed(FunctionError::new(FunctionErrorKind::Raised, "no")).printing("one")
            }
            false => Reply::succeeded(json(value!({}))),
        }
    });
    let first = numbers("first", 2).with_policy(going_on());
    let next = falco_core::Stage::derived(
        "next",
        falco_core::Deployable::from_source("next", "python:3".parse().unwrap(), "next".to_owned()),
        ["first"],
        falco_executors::OneToOne::new(),
    );
    let order = Arc::new(Order::default());
    let options = RunOptions::new(Arc::new(platform), Arc::new(ParallelExecutor::new()));
    let options = options.with_failed_logs(LogPolicy::all()).with_monitor(order.clone());
    let _ = Plan(vec![first, next]).run(options).await.unwrap();
    let seen = order.0.lock().unwrap().clone();
    assert_eq!(seen, ["end of first", "log of first", "end of next"]);
}

#[tokio::test(start_paused = true)]
async fn a_driver_with_loops_of_its_own_gets_the_logs_before_its_functions_are_removed() {
    use falco_executors::session::{Session, StageSpec};
    use futures_util::StreamExt;
    let options = RunOptions::new(printing(), Arc::new(ParallelExecutor::new()));
    let session = Session::start(options.with_failed_logs(LogPolicy::all())).unwrap();
    let runtime = "python:3".parse().unwrap();
    let function = falco_core::Deployable::from_source("work", runtime, "work".to_owned());
    let deployment = session.deploy(&function).await.unwrap();
    let input = falco_core::Input::numbered(0, json(value!({})));
    let inputs = futures_util::stream::iter([Ok(input)]);
    let strategy = ParallelExecutor::new();
    let mut running = session.execute(&strategy, StageSpec::new("work"), &deployment, inputs);
    while running.next().await.is_some() {}
    let stage = running.finish().await;
    session.remove(&deployment).await.unwrap();
    let report = session.report(vec![stage]);
    assert_eq!(report.stages[0].failures[0].log.as_ref().unwrap().len(), 299);
    assert!(session.remove_all().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_not_to_be_had_yet_is_asked_for_again() {
    let asked = std::sync::atomic::AtomicU32::new(0);
    let fates = Fates::by(move |call| match call.operation {
        falco_testkit::Operation::ActivationLog => {
            let before = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if before < 2 { Fate::unavailable() } else { Fate::Serve }
        }
        _ => Fate::Serve,
    });
    let settings = Settings { fates, ..Settings::default() };
    let platform = InMemory::new(settings).with_source("map", |_| {
        let error = FunctionError::new(FunctionErrorKind::Raised, "bad luck");
        Reply::failed(error).printing("late")
    });
    let options = RunOptions::new(Arc::new(platform), Arc::new(ParallelExecutor::new()));
    let plan = Plan(vec![numbers("map", 1)]);
    let outcome = plan.run(options.with_failed_logs(LogPolicy::all())).await.unwrap();
    assert_eq!(outcome.failures("map")[0].log.as_deref(), Some("late"));
}

#[tokio::test(start_paused = true)]
async fn logs_that_never_come_do_not_keep_the_run() {
    let fates = Fates::by(|call| match call.operation {
        falco_testkit::Operation::ActivationLog => Fate::Hang,
        falco_testkit::Operation::Invoke => Fate::raise(),
        _ => Fate::Serve,
    });
    let platform = Arc::new(InMemory::new(Settings { fates, ..Settings::default() }));
    let options = RunOptions::new(platform, Arc::new(ParallelExecutor::new()));
    let plan = Plan(vec![numbers("map", 3)]);
    let run = plan.run(options.with_failed_logs(LogPolicy::all()));
    let outcome = tokio::time::timeout(std::time::Duration::from_secs(30), run).await;
    assert!(!outcome.expect("it gives up").unwrap().is_success());
}

#[tokio::test(start_paused = true)]
async fn attempts_that_were_repeated_count_as_cold_starts_and_executions() {
    let platform = Arc::new(InMemory::new(Settings {
        fates: Fates::by(|call| match call.invocation {
            Some(invocation) if invocation.attempt() == 1 => Fate::raise(),
            _ => Fate::Serve,
        }),
        cold_start: Latency::fixed(std::time::Duration::from_millis(10)),
        ..Settings::default()
    }));
    let policy = StagePolicy::default().with_repeats(falco_core::Repeats::times(1));
    let options =
        RunOptions::new(platform, Arc::new(ParallelExecutor::with_concurrency(1).unwrap()));
    let outcome = Plan(vec![numbers("map", 4).with_policy(policy)]).run(options).await.unwrap();
    let map = outcome.report.stage("map").unwrap();
    assert!(outcome.is_success());
    assert_eq!((map.execution.count, map.invocations.succeeded), (8, 4));
    assert_eq!(map.cold_starts, 1, "the first attempt started the instance, and failed");
}
