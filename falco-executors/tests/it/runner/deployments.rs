//! Tests of a run's deployments: their number, their names, and that none stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use falco_core::{Deployable, Error, ErrorKind, Platform, RunId, Stage};
use falco_executors::session::Session;
use falco_executors::{DriverExt, RunOptions};
use falco_testkit::{Fate, Fates, InMemory, Operation, Settings};

use super::support::{Naive, Notes, Plan, function, json, numbers, options};

fn failing(operation: Operation, name: &'static str) -> Arc<InMemory> {
    let fates = Fates::by(move |call| {
        if call.operation == operation && call.function.starts_with(name) {
            Fate::unavailable()
        } else {
            Fate::Serve
        }
    });
    Arc::new(InMemory::new(Settings { fates, ..Settings::default() }))
}

async fn names(platform: &InMemory) -> Vec<String> {
    let mut names: Vec<String> =
        platform.list_deployments().await.unwrap().into_iter().map(|d| d.name).collect();
    names.sort();
    names
}

#[tokio::test(start_paused = true)]
async fn deployments_are_named_and_tagged_by_run_owner_and_expiry() {
    let platform = Arc::new(InMemory::default());
    let before = SystemTime::now();
    let plan = Plan(vec![numbers("map", 1)]);
    let options =
        options(&platform).with_expiry(Duration::from_secs(3_600)).with_kept_deployments(true);
    let outcome = plan.run(options).await.unwrap();
    assert!(outcome.leftovers.is_empty());

    let kept = platform.fetch_deployment("map-run-1").await.unwrap();
    let ownership = kept.ownership.unwrap();
    assert_eq!((ownership.run, ownership.owner.as_str()), (RunId::from("run-1"), "ada"));
    let lives = ownership.expires_at.duration_since(before).unwrap();
    assert!(lives >= Duration::from_secs(3_600) && lives < Duration::from_secs(3_700), "{lives:?}");
}

#[tokio::test(start_paused = true)]
async fn an_expiry_that_no_clock_reaches_is_refused_before_anything_is_sent() {
    let platform = Arc::new(InMemory::default());
    let options = options(&platform).with_expiry(Duration::MAX);
    let error = Plan(vec![numbers("map", 1)]).run(options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("expire"), "{error}");
    assert!(names(&platform).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn two_runs_of_one_driver_never_meet() {
    let platform = Arc::new(InMemory::default());
    let plan = Plan(vec![numbers("map", 20)]);
    let unnamed = || RunOptions::new(platform.clone(), Arc::new(Naive(4)));
    let (left, right) = tokio::join!(plan.deploy(unnamed()), plan.deploy(unnamed()));
    let (left, right) = (left.unwrap(), right.unwrap());
    assert_ne!(left.session().run(), right.session().run());
    assert!(left.session().run().started_at().is_some());
    assert_eq!(names(&platform).await.len(), 2);

    plan.remove(&left).await.unwrap();
    assert!(plan.execute(&Naive(4), &right).await.is_success());
    let kept = right.session().deployments();
    assert_eq!(names(&platform).await, [kept[0].name.clone()]);
    plan.remove(&right).await.unwrap();
    assert!(names(&platform).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_function_of_several_stages_is_deployed_once() {
    let platform = Arc::new(InMemory::default());
    let payloads = || vec![json(serde_json::json!({}))];
    let plan = Plan(vec![
        Stage::from_payloads("a", function("f"), payloads()),
        Stage::from_payloads("b", function("f"), payloads()),
    ]);
    assert!(plan.run(options(&platform)).await.unwrap().is_success());
    assert_eq!((platform.counters().deploys, platform.counters().removes), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn two_functions_under_one_name_are_refused_before_anything_is_sent() {
    let other_code = Deployable::from_source("f", "python:3".parse().unwrap(), "other");
    let other_env = function("f").with_env("A", "b");
    for (other, difference) in [(other_code, "code"), (other_env, "settings")] {
        let platform = Arc::new(InMemory::default());
        let plan = Plan(vec![
            Stage::from_payloads("a", function("f"), vec![]),
            Stage::from_payloads("b", other, vec![]),
        ]);
        let error = plan.run(options(&platform)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let message = error.to_string();
        assert!(message.contains("\"f\"") && message.contains(difference), "{message}");
        assert_eq!(platform.counters().deploys, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn when_one_function_cannot_be_deployed_the_others_are_removed() {
    let platform = failing(Operation::Deploy, "bad");
    let stages = ["good", "bad", "fine"].map(|name| numbers(name, 1));
    let error = Plan(stages.to_vec()).run(options(&platform)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(names(&platform).await.is_empty());
    assert_eq!(platform.counters().invokes, 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_deployment_left_is_removed() {
    let fates = Fates::by(|call| match call.operation {
        Operation::Deploy => Fate::LoseAnswer(Error::new(ErrorKind::Timeout, "no answer")),
        _ => Fate::Serve,
    });
    let platform = Arc::new(InMemory::new(Settings { fates, ..Settings::default() }));
    let error = Plan(vec![numbers("map", 1)]).run(options(&platform)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(names(&platform).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_removed_is_listed_after_trying_the_others() {
    let platform = failing(Operation::Remove, "stuck");
    let notes = Arc::new(Notes::default());
    let plan = Plan(["stuck", "stuck-2", "stuck-1", "loose"].map(|name| numbers(name, 1)).into());
    let outcome = plan.run(options(&platform).with_monitor(notes.clone())).await.unwrap();
    assert!(outcome.is_success());
    let left: Vec<&str> = outcome.leftovers.iter().map(|l| l.deployment.name.as_str()).collect();
    assert_eq!(left, ["stuck-1-run-1", "stuck-2-run-1", "stuck-run-1"]);
    let leftover = outcome.leftovers[2].to_string();
    assert!(
        leftover.starts_with("stuck-run-1 on ") && leftover.contains("unavailable"),
        "{leftover}"
    );
    assert_eq!(names(&platform).await, left);
    assert!(notes.lines().contains(&"stuck-run-1 left".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_error_of_deploying_says_what_could_not_be_removed_either() {
    let fates = Fates::by(|call| match call.operation {
        Operation::Deploy if call.function.starts_with("bad") => Fate::unavailable(),
        Operation::Remove => Fate::unavailable(),
        _ => Fate::Serve,
    });
    let platform = Arc::new(InMemory::new(Settings { fates, ..Settings::default() }));
    let plan = Plan(vec![numbers("good", 1), numbers("bad", 1)]);
    let error = plan.run(options(&platform)).await.unwrap_err();
    assert!(error.hint().unwrap().contains("left behind: good-run-1"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_function_that_no_platform_takes_is_refused_before_anything_is_sent() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let fates = Fates::by(move |_| {
        counted.fetch_add(1, Relaxed);
        Fate::Serve
    });
    let platform = Arc::new(InMemory::new(Settings { fates, ..Settings::default() }));
    let session = Session::start(options(&platform)).unwrap();
    let error = session.deploy(&function("f").with_env("", "x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(calls.load(Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn removing_again_removes_what_was_left() {
    let platform = failing(Operation::Remove, "stuck");
    let plan = Plan(vec![numbers("stuck", 1), numbers("loose", 1)]);
    let deployed = plan.deploy(options(&platform)).await.unwrap();
    let error = plan.remove(&deployed).await.unwrap_err();
    assert!(error.to_string().contains("stuck-run-1"), "{error}");
    platform.configure(|settings| settings.fates = Fates::SERVE);
    plan.remove(&deployed).await.unwrap();
    assert!(names(&platform).await.is_empty());
    assert!(deployed.session().deployments().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_removed_counts_as_removed() {
    let platform = Arc::new(InMemory::default());
    let plan = Plan(vec![numbers("map", 1)]);
    let deployed = plan.deploy(options(&platform)).await.unwrap();
    platform.remove(&deployed.session().deployments()[0]).await.unwrap();
    plan.remove(&deployed).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_id_that_no_name_can_carry_is_refused_before_anything_is_sent() {
    let platform = Arc::new(InMemory::default());
    let options = options(&platform).with_run_id("no such id");
    let error = Plan(vec![numbers("map", 1)]).run(options).await.unwrap_err();
    assert!(error.to_string().contains("\"no such id\""), "{error}");
    assert_eq!(platform.counters().deploys, 0);
}

#[tokio::test(start_paused = true)]
async fn a_plan_whose_functions_were_removed_does_not_execute() {
    let platform = Arc::new(InMemory::default());
    let plan = Plan(vec![numbers("map", 3)]);
    let deployed = plan.deploy(options(&platform)).await.unwrap();
    plan.remove(&deployed).await.unwrap();
    let outcome = plan.execute(&Naive(1), &deployed).await;
    assert!(outcome.error().unwrap().to_string().contains("\"map\" is not deployed any more"));
    assert_eq!(outcome.report.invocations.skipped, 3);
    assert!(names(&platform).await.is_empty());
}
