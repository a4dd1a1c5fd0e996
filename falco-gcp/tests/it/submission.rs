//! Submission by Cloud Tasks: accepted once, run once, reported once, and nothing left.

use std::num::NonZeroU32;
use std::time::Duration;

use falco_core::{
    AsyncPlatform, ErrorKind, FunctionErrorKind, Pending, Platform, Release, Scaling,
};
use falco_fakes::gcp::FakeGcp;
use falco_fakes::http::Fault;
use falco_gcp::{Access, CloudTasks, GcpWaits, Submission};
use serde_json::json;

use crate::support::{ECHO, connect, echoing, invocation, python, with_tasks};

const TASKS: &str = "/queues/falco/tasks";

#[tokio::test]
async fn an_acceptance_whose_reply_was_lost_is_found_out_and_runs_once() {
    let fake = echoing();
    let platform = connect(with_tasks(fake.config())).await;
    let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
    fake.inject(Fault::reset(TASKS).after_doing_it().times(1));
    let pending = platform.submit(&deployment, &invocation(&json!({"n": 1}))).await.unwrap();
    let tasks = fake.requests_to(TASKS);
    assert_eq!(tasks.len(), 2);
    assert_eq!(tasks[0].json()["task"]["name"], tasks[1].json()["task"]["name"], "the same task");
    let found = collected(&platform, &deployment, &pending).await;
    assert_eq!(found.outcome.unwrap().as_str(), r#"{"n":1}"#);
}

#[tokio::test]
async fn what_stays_in_doubt_says_that_it_may_have_run() {
    let fake = echoing();
    let platform = connect(with_tasks(fake.config())).await;
    let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
    fake.inject(Fault::reset(TASKS));
    let error = platform.submit(&deployment, &invocation(&json!({}))).await.unwrap_err();
    assert!(error.may_have_run(), "{error:?}");
    fake.heal();
    let refusal =
        json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow down"}})
            .to_string();
    fake.inject(Fault::answer(TASKS, 429, &refusal));
    let error = platform.submit(&deployment, &invocation(&json!({}))).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Throttled && !error.may_have_run(), "{error:?}");
}

#[tokio::test]
async fn a_new_queue_that_is_not_ready_is_waited_for() {
    let fake = echoing();
    let platform = connect(with_tasks(fake.config())).await;
    let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
    fake.queues_warm_up(3);
    platform.submit(&deployment, &invocation(&json!({}))).await.unwrap();
    assert_eq!(fake.requests_to(TASKS).len(), 4);
}

#[tokio::test]
async fn results_are_listed_and_read_once_and_deleted_when_released() {
    let fake = echoing();
    let platform = connect(with_tasks(fake.config())).await;
    let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
    let mut waiting = Vec::new();
    for n in 0..60 {
        waiting.push(platform.submit(&deployment, &invocation(&json!({"n": n}))).await.unwrap());
    }
    let mut polls = 0;
    while !waiting.is_empty() {
        let collected = platform.collect(&deployment, &waiting).await.unwrap();
        polls += 1;
        let found: Vec<_> =
            collected.finished.into_iter().map(|activation| activation.id).collect();
        waiting.retain(|pending| !found.contains(&pending.id));
        platform.release(&deployment, &found, Release::Taken);
        tokio::time::sleep(collected.poll_after).await;
    }
    let reads = fake.requests_to("GET /storage/v1/b/falco-fake-project-us-central1/o");
    let lists = reads.iter().filter(|seen| seen.path.ends_with("/o")).count();
    assert_eq!(lists, polls, "one list for each look");
    assert_eq!(reads.len() - lists, 60, "each result is read once");
    assert!(
        reads
            .iter()
            .filter(|seen| !seen.path.ends_with("/o"))
            .all(|seen| seen.path.contains("%2Fresults%2F"))
    );
    platform.collect(&deployment, &[]).await.unwrap();
    assert!(!fake.objects().iter().any(|name| name.contains("/results/")), "{:?}", fake.objects());
    platform.remove(&deployment).await.unwrap();
    assert!(fake.is_clean());
}

#[tokio::test]
async fn another_process_collects_what_this_one_submitted() {
    let fake = echoing();
    let platform = connect(with_tasks(fake.config())).await;
    let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
    let pending = platform.submit(&deployment, &invocation(&json!({"n": 1}))).await.unwrap();
    drop(platform);
    let stored = serde_json::to_string(&(&deployment, &pending)).unwrap();
    let other = connect(with_tasks(fake.config())).await;
    let (deployment, pending): (falco_core::Deployment, Pending) =
        serde_json::from_str(&stored).unwrap();
    collected(&other, &deployment, &pending).await.outcome.unwrap();
}

#[tokio::test]
async fn a_call_that_must_not_run_twice_does_not_when_the_queue_calls_twice() {
    let fake = FakeGcp::start();
    let platform = connect(with_tasks(fake.config()).access(Access::Public)).await;
    let counting = "import uuid\ndef main(args):\n    open(args['dir'] + '/' + uuid.uuid4().hex, 'w').close()\n    return {}\n";
    let deployment = platform.deploy(&python("counting", counting)).await.unwrap();
    for (idempotent, runs) in [(false, 1), (true, 3)] {
        let directory = tempfile::tempdir().unwrap();
        let call = invocation(&json!({"dir": directory.path()})).with_idempotent(idempotent);
        let pending = platform.submit(&deployment, &call).await.unwrap();
        collected(&platform, &deployment, &pending).await.outcome.unwrap();
        let task = fake.requests_to(TASKS).pop().unwrap().json()["task"]["httpRequest"].clone();
        for _ in 0..2 {
            let mut again = reqwest::Client::new().post(task["url"].as_str().unwrap());
            for (name, value) in task["headers"].as_object().unwrap() {
                again = again.header(name, value.as_str().unwrap());
            }
            let body = call.payload().to_bytes();
            assert_eq!(again.body(body).send().await.unwrap().status(), 200);
        }
        assert_eq!(
            std::fs::read_dir(directory.path()).unwrap().count(),
            runs,
            "idempotent: {idempotent}"
        );
        // Of results that are written twice the first counts, and it is reported as one.
        let found = platform.collect(&deployment, std::slice::from_ref(&pending)).await.unwrap();
        assert_eq!(found.finished.len(), 1);
    }
}

#[tokio::test]
async fn a_function_that_runs_too_long_or_crashes_is_reported_and_not_called_again() {
    let fake = FakeGcp::start();
    let platform = connect(with_tasks(fake.config())).await;
    let source = "import os, time\ndef main(args):\n    os._exit(3) if args.get('exit') else time.sleep(30)\n";
    let second = Scaling::default().with_timeout(Duration::from_secs(1));
    let deployment =
        platform.deploy(&python("failing", source).with_scaling(second)).await.unwrap();
    for (args, kind) in [
        (json!({"exit": true}), FunctionErrorKind::Crashed),
        (json!({}), FunctionErrorKind::Timeout),
    ] {
        let pending =
            platform.submit(&deployment, &invocation(&args).with_idempotent(true)).await.unwrap();
        let error = collected(&platform, &deployment, &pending).await.outcome.unwrap_err();
        assert_eq!(error.kind, kind, "{error:?}");
    }
    while !fake.tasks().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_function_that_cannot_store_results_is_not_deployed_in_silence() {
    let fake = FakeGcp::start();
    fake.forbid_storing();
    let config = fake
        .config()
        .submission(Submission::CloudTasks(CloudTasks::default().with_bucket("theirs")));
    fake.put_object("theirs", "x", "y");
    let platform = connect(config.service_account("worker@p.iam.gserviceaccount.com")).await;
    let error = platform.deploy(&python("echo", ECHO)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    for word in ["403", "worker@p", "roles/storage.objectUser", "theirs"] {
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
}

#[tokio::test]
async fn a_stored_result_that_is_not_falcos_is_a_failure_of_the_platform() {
    let fake = echoing();
    let platform = connect(with_tasks(fake.config())).await;
    let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
    let pending = Pending::new("0123456789abcdef0123456789abcdef", std::time::SystemTime::now());
    let name = format!("falco/echo/results/{}.json", pending.id);
    fake.put_object("falco-fake-project-us-central1", &name, "half a rec");
    let collected = platform.collect(&deployment, std::slice::from_ref(&pending)).await.unwrap();
    assert!(collected.finished.is_empty());
    let (id, error) = &collected.gone[0];
    assert_eq!((id, error.kind()), (&pending.id, ErrorKind::Protocol), "{error}");
    assert_eq!((error.operation(), error.function()), (Some("collect"), Some("echo")));
    assert!(
        error.may_have_run() && error.is_retryable(),
        "a caller that may run it twice runs it again"
    );
}

#[tokio::test]
async fn abandoned_tasks_are_taken_out_of_the_queue_and_the_rest_goes_with_the_function() {
    let fake = FakeGcp::start();
    let platform = connect(with_tasks(fake.config())).await;
    let slow = python("slow", "import time\ndef main(args):\n    time.sleep(20)\n    return {}\n");
    let slow = platform.deploy(&slow).await.unwrap();
    let other = platform
        .deploy(&python("other", "import time\ndef main(args):\n    time.sleep(20)\n"))
        .await
        .unwrap();
    let mut pending = Vec::new();
    for _ in 0..3 {
        pending.push(platform.submit(&slow, &invocation(&json!({}))).await.unwrap());
    }
    platform.submit(&other, &invocation(&json!({}))).await.unwrap();
    platform.release(&slow, std::slice::from_ref(&pending[0].id), Release::Abandoned);
    platform.collect(&slow, &pending[1..]).await.unwrap();
    assert_eq!(fake.tasks().len(), 3, "one is out of the queue");
    platform.remove(&slow).await.unwrap();
    let left = fake.tasks();
    assert!(left.len() == 1 && left[0].ends_with("-other"), "{left:?}");
}

#[tokio::test]
async fn what_a_queue_cannot_do_is_refused_before_anything_is_sent() {
    let fake = echoing();
    let platform = connect(with_tasks(fake.config())).await;
    let long = Scaling::default().with_timeout(Duration::from_secs(3000));
    let long = platform.deploy(&python("long", ECHO).with_scaling(long)).await.unwrap();
    let error = platform.submit(&long, &invocation(&json!({}))).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::InvalidInput && error.to_string().contains("1800"),
        "{error}"
    );
    let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
    assert!(fake.requests_to(TASKS).is_empty());
    let calls_only = connect(fake.config()).await;
    let error = calls_only.submit(&deployment, &invocation(&json!({}))).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Unsupported && error.hint().unwrap().contains("Held"),
        "{error}"
    );
}

pub(crate) async fn collected(
    platform: &falco_gcp::GcpFunctions,
    deployment: &falco_core::Deployment,
    pending: &Pending,
) -> falco_core::Activation {
    loop {
        let collected = platform.collect(deployment, std::slice::from_ref(pending)).await.unwrap();
        if let Some(found) = collected.finished.into_iter().next() {
            return found;
        }
        tokio::time::sleep(collected.poll_after).await;
    }
}

#[tokio::test]
async fn a_call_that_the_queue_has_given_up_is_gone_and_says_so() {
    let fake = echoing();
    let mut waits = GcpWaits::every(Duration::from_millis(10));
    waits.given_up = Duration::from_millis(200);
    let tasks = CloudTasks::default().with_attempts(NonZeroU32::new(2).unwrap());
    let config = fake.config().waits(waits).submission(Submission::CloudTasks(tasks));
    let platform = connect(config.start_timeout(Duration::from_secs(1))).await;
    let scaling = Scaling::default().with_timeout(Duration::from_secs(1));
    let function = python("echo", ECHO).with_scaling(scaling);
    let deployment = platform.deploy(&function).await.unwrap();
    fake.inject(Fault::answer("POST /run/echo", 503, "the instance failed"));
    let given_up = platform.submit(&deployment, &invocation(&json!({}))).await.unwrap();
    let (id, error) = loop {
        let pending = std::slice::from_ref(&given_up);
        let collected = platform.collect(&deployment, pending).await.unwrap();
        assert!(collected.finished.is_empty());
        match collected.gone.into_iter().next() {
            Some(gone) => break gone,
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    assert_eq!((&id, error.kind()), (&given_up.id, ErrorKind::Lost), "{error}");
    assert!(error.may_have_run() && error.to_string().contains("given the call up"), "{error}");
    assert_eq!((error.operation(), error.function()), (Some("collect"), Some("echo")));
    assert_eq!(fake.strikes(), 2, "two tries, as configured");

    // Another call of the same function is not.
    fake.heal();
    let later = platform.submit(&deployment, &invocation(&json!({"n": 1}))).await.unwrap();
    let found = collected(&platform, &deployment, &later).await;
    assert_eq!(found.outcome.unwrap().as_str(), r#"{"n":1}"#);
}
