//! The steps beneath `run`, for drivers with loops of their own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use falco_core::{Error, ErrorKind, Input, InvocationId, Payload, Platform, Stage};
use falco_executors::DriverExt;
use falco_executors::report::StageState;
use falco_executors::session::{Session, StageSpec};
use falco_testkit::{Fate, Fates, InMemory, Latency, Operation, Settings};
use futures_util::{StreamExt, stream};

use super::support::{Naive, Notes, Plan, function, json, numbers, options};

#[tokio::test(start_paused = true)]
async fn a_plan_that_is_deployed_once_can_be_executed_many_times() {
    let platform = Arc::new(InMemory::default());
    let plan = Plan(vec![numbers("map", 30)]);
    let deployed = plan.deploy(options(&platform)).await.unwrap();
    for window in [1, 4] {
        let outcome = plan.execute(&Naive(window), &deployed).await;
        assert_eq!(outcome.report.invocations.succeeded, 30);
    }
    plan.remove(&deployed).await.unwrap();
    let counters = platform.counters();
    assert_eq!((counters.deploys, counters.invokes, counters.removes), (1, 60, 1));
}

/// The Go example's shape: deploy, loop until the results are good enough, remove.
#[tokio::test(start_paused = true)]
async fn a_driver_with_a_loop_of_its_own_is_monitored_like_a_plan() {
    let platform = Arc::new(InMemory::default());
    let notes = Arc::new(Notes::default());
    let session = Session::start(options(&platform).with_monitor(notes.clone())).unwrap();
    let stage = Stage::from_payloads("round", function("step"), vec![]);
    let deployment = session.deploy(&stage.function).await.unwrap();
    assert!(Arc::ptr_eq(&deployment, &session.deploy(&stage.function).await.unwrap()));

    let mut reports = Vec::new();
    for round in 0..3 {
        let inputs = (0..=round).map(|index| Ok(Input::numbered(index, Payload::empty())));
        let inputs = stream::iter(inputs.collect::<Vec<_>>());
        let mut running = session.execute(&Naive(2), &stage, &deployment, inputs);
        let mut seen = 0;
        while let Some(completion) = running.next().await {
            assert!(completion.is_success());
            seen += 1;
        }
        assert_eq!(seen, round + 1);
        reports.push(running.finish().await);
    }
    let report = session.report(reports);
    assert_eq!((report.invocations.succeeded, report.stages.len()), (6, 3));
    assert_eq!(report.total.count, 6);
    assert!(report.is_success());
    session.remove(&deployment).await.unwrap();
    assert!(session.remove_all().await.is_empty());
    assert!(platform.list_deployments().await.unwrap().is_empty());
    let lines = notes.lines();
    assert_eq!(lines.iter().filter(|line| *line == "round started").count(), 3);
    assert_eq!(lines.last().unwrap(), "run-1 finished");
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_is_finished_early_accounts_for_all_of_its_inputs() {
    let latency = Latency::fixed(Duration::from_secs(1));
    let platform = Arc::new(InMemory::new(Settings { latency, ..Settings::default() }));
    let session = Session::start(options(&platform)).unwrap();
    let stage = Stage::from_payloads("map", function("map"), vec![]);
    let deployment = session.deploy(&stage.function).await.unwrap();
    let inputs = || {
        let inputs = (0..20).map(|index| Ok(Input::numbered(index, Payload::empty())));
        stream::iter(inputs.collect::<Vec<_>>())
    };

    let mut running = session.execute(&Naive(4), &stage, &deployment, inputs());
    let first: InvocationId = running.next().await.unwrap().invocation;
    assert_eq!(first, "00000000");
    let report = running.finish().await;
    assert_eq!(report.state, StageState::Failed);
    let counts = report.invocations;
    assert_eq!((counts.succeeded, counts.unknown, counts.skipped), (1, 3, 16));

    let mut running = session.execute(&Naive(4), &stage, &deployment, inputs());
    running.next().await.unwrap();
    running.stop();
    assert_eq!(running.by_ref().count().await, 3);
    let counts = running.finish().await.invocations;
    assert_eq!((counts.succeeded + counts.cancelled, counts.skipped), (4, 16));
    assert_eq!(platform.counters().running, 0);
    assert!(session.remove_all().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_was_dropped_half_way_is_removed_with_the_others() {
    let platform = Arc::new(InMemory::default());
    let session = Session::start(options(&platform)).unwrap();
    session.deploy(&function("whole")).await.unwrap();
    // The answer is lost, and the caller gives up while what it left is being looked for.
    platform.configure(|settings| {
        settings.fates = Fates::by(|call| match call.operation {
            Operation::Deploy => Fate::LoseAnswer(Error::new(ErrorKind::Timeout, "no answer")),
            Operation::FetchDeployment => Fate::Hang,
            _ => Fate::Serve,
        });
    });
    let half = function("half");
    let deploying = tokio::time::timeout(Duration::from_secs(1), session.deploy(&half));
    assert!(deploying.await.is_err());
    assert_eq!(platform.list_deployments().await.unwrap().len(), 2);
    platform.configure(|settings| settings.fates = Fates::SERVE);
    assert!(session.remove_all().await.is_empty());
    assert!(platform.list_deployments().await.unwrap().is_empty());
}

/// A loop that halves a number until it is small, each time by what the round before has returned.
#[tokio::test(start_paused = true)]
async fn a_loop_runs_rounds_until_their_results_say_that_it_is_enough() {
    let platform = InMemory::default().with_source("halve", |call| {
        let n = call.payload().parse::<serde_json::Value>().unwrap()["n"].as_u64().unwrap();
        json(serde_json::json!({ "half": n / 2 }))
    });
    let platform = Arc::new(platform);
    let session = Session::start(options(&platform)).unwrap();
    let deployment = session.deploy(&function("halve")).await.unwrap();
    let (mut numbers, mut reports) = (vec![40, 7, 12], Vec::new());
    while numbers.iter().any(|n| *n > 1) {
        let payloads = numbers.iter().map(|n| json(serde_json::json!({ "n": n })));
        let stage = StageSpec::new(format!("round-{}", reports.len()));
        let round = session.round(stage, &deployment, payloads).await;
        reports.push(round.report.clone());
        let halves: Vec<BTreeMap<String, u64>> = round.results_as().unwrap();
        numbers = halves.iter().map(|half| half["half"]).collect();
    }
    assert_eq!((reports.len(), numbers), (5, vec![1, 0, 0]));
    assert!(session.end(&mut reports).await.is_empty());
    let report = session.report(reports);
    assert_eq!((report.invocations.succeeded, report.is_success()), (15, true));
    assert_eq!(platform.counters().deploys, 1);
    assert!(platform.list_deployments().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_round_with_a_failure_has_its_results_and_the_error_of_the_stage() {
    let fates = Fates::by(|call| match call.invocation {
        Some(invocation) if invocation.id() == "00000001" => Fate::unavailable(),
        _ => Fate::Serve,
    });
    let platform = Arc::new(InMemory::new(Settings { fates, ..Settings::default() }));
    let session = Session::start(options(&platform)).unwrap();
    let deployment = session.deploy(&function("echo")).await.unwrap();
    let payloads = (0..3).map(|n| json(serde_json::json!({ "n": n })));
    let round = session.round(StageSpec::new("round"), &deployment, payloads).await;
    assert_eq!(round.results.len(), 2);
    let error = round.results_as::<serde_json::Value>().unwrap_err();
    assert_eq!(error.kind(), round.report.error.as_ref().unwrap().kind());
    assert!(session.end(&mut [round.report]).await.is_empty());
    assert!(platform.list_deployments().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_deployments_stay_ends_without_removing_them() {
    let platform = Arc::new(InMemory::default());
    let session = Session::start(options(&platform).with_kept_deployments(true)).unwrap();
    session.deploy(&function("kept")).await.unwrap();
    assert!(session.end(&mut []).await.is_empty());
    assert_eq!(platform.list_deployments().await.unwrap().len(), 1);
}
