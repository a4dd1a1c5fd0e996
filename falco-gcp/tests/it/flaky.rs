//! Each fault that passes, at a few per cent: a caller that repeats what may be repeated gets every answer, and gets it right.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use falco_core::{Activation, AsyncPlatform, Deployment, Error, Payload, Pending, Platform};
use falco_fakes::gcp::FakeGcp;
use falco_fakes::http::Fault;
use falco_gcp::GcpFunctions;
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use crate::support::{ECHO, connect, echoing, invocation, python, with_tasks};

const CALLS: u64 = 100;
const SHARE: f64 = 0.06;
/// No answer takes so long, unless none comes; on a machine that busy, a call is made once more.
const STALLED: Duration = Duration::from_secs(1);
const HTML: &str = "<html><head><title>502</title></head><body>Error: Server Error</body></html>";
const CALL: &str = "POST /run/echo";
const TASK: &str = "POST /v2/projects/fake-project/locations/us-central1/queues/falco/tasks";
const OBJECTS: &str = "GET /storage/v1/b/falco-fake-project-us-central1/o";

/// Counts how often functions have run.
fn counting() -> (FakeGcp, Arc<AtomicU64>) {
    let (fake, runs) = (FakeGcp::start(), Arc::<AtomicU64>::default());
    let counted = Arc::clone(&runs);
    fake.answer_with(move |args: &Payload| {
        counted.fetch_add(1, Ordering::Relaxed);
        args.clone()
    });
    (fake, runs)
}

fn number(activation: Activation) -> u64 {
    activation.outcome.unwrap().parse::<serde_json::Value>().unwrap()["n"].as_u64().unwrap()
}

/// Calls until there is an answer, as a retry layer does for what is idempotent. Says how often it failed.
async fn insistently(
    platform: &GcpFunctions,
    deployment: &Deployment,
    n: u64,
) -> (u64, Vec<Option<Error>>) {
    let call = invocation(&json!({"n": n})).with_idempotent(true);
    let mut failures = Vec::new();
    loop {
        match tokio::time::timeout(STALLED, platform.invoke(deployment, &call)).await {
            Ok(Ok(activation)) => return (number(activation), failures),
            Ok(Err(error)) => {
                assert!(error.is_retryable(), "{error:?}");
                failures.push(Some(error));
            }
            Err(_) => failures.push(None),
        }
    }
}

#[tokio::test]
async fn calls_survive_every_fault_that_passes_and_say_which_of_them_may_have_run() {
    let faults = [
        ("429", Fault::answer(CALL, 429, "Rate exceeded.")),
        ("500 without an instance", Fault::answer(CALL, 500, "there was no available instance.")),
        ("500 of the front end", Fault::answer(CALL, 500, HTML).after_doing_it()),
        ("502", Fault::answer(CALL, 502, HTML)),
        ("503", Fault::answer(CALL, 503, "Service Unavailable")),
        ("503 after it", Fault::answer(CALL, 503, HTML).after_doing_it()),
        ("504 of the front end", Fault::answer(CALL, 504, HTML)),
        ("reset", Fault::reset(CALL)),
        ("reset after it", Fault::reset(CALL).after_doing_it()),
        ("half an answer", Fault::truncated(CALL).after_doing_it()),
        ("broken JSON", Fault::answer(CALL, 200, "{\"falco\":1,\"re").after_doing_it()),
        ("silence", Fault::silence(CALL)),
        ("silence after it", Fault::silence(CALL).after_doing_it()),
    ];
    for (name, fault) in faults {
        let (fake, runs) = counting();
        let platform = connect(fake.config()).await;
        let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
        fake.inject(fault.share(SHARE));
        let calls = stream::iter(0..CALLS).map(|n| insistently(&platform, &deployment, n));
        let ended: Vec<_> = calls.buffered(16).collect().await;
        let failures: Vec<_> = ended.iter().flat_map(|(_, failures)| failures).collect();
        assert!(!failures.is_empty(), "{name}: nothing failed");
        for (n, (answer, _)) in (0..).zip(&ended) {
            assert_eq!(*answer, n, "{name}");
        }
        // A run more than there are calls is one whose answer was lost, and its error said that it may have run.
        let lost = failures.iter().filter(|f| f.as_ref().is_none_or(Error::may_have_run)).count();
        let runs = runs.load(Ordering::Relaxed);
        assert!((CALLS..=CALLS + lost as u64).contains(&runs), "{name}: {runs} runs, {lost} lost");
    }
}

#[tokio::test]
async fn submissions_survive_every_fault_that_passes_and_each_runs_once() {
    let busy = r#"{"error":{"code":503,"status":"UNAVAILABLE","message":"try again"}}"#;
    let spent = r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"slow down"}}"#;
    let faults = [
        ("429", Fault::answer(TASK, 429, spent)),
        ("an acceptance that is lost", Fault::reset(TASK).after_doing_it()),
        ("503 for tasks", Fault::answer(TASK, 503, busy)),
        ("503 for objects", Fault::answer(OBJECTS, 503, busy)),
        ("503 in HTML", Fault::answer(OBJECTS, 503, HTML)),
        ("reset", Fault::reset(OBJECTS)),
        ("half an answer", Fault::truncated(OBJECTS)),
        ("silence", Fault::silence(OBJECTS)),
        ("503 of the function", Fault::answer(CALL, 503, HTML)),
    ];
    for (name, fault) in faults {
        let (fake, runs) = counting();
        let platform = connect(with_tasks(fake.config())).await;
        let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
        fake.inject(fault.share(SHARE));
        let mut waiting: Vec<(u64, Pending)> = Vec::new();
        for n in 0..40 {
            let call = invocation(&json!({"n": n}));
            loop {
                match platform.submit(&deployment, &call).await {
                    Ok(pending) => break waiting.push((n, pending)),
                    Err(error) => {
                        assert!(error.is_retryable() && !error.may_have_run(), "{error:?}")
                    }
                }
            }
        }
        while !waiting.is_empty() {
            let pending: Vec<_> = waiting.iter().map(|(_, pending)| pending.clone()).collect();
            let look = tokio::time::timeout(STALLED, platform.collect(&deployment, &pending)).await;
            let finished = match look {
                Ok(Ok(collected)) => collected.finished,
                Ok(Err(error)) => {
                    assert!(error.is_retryable(), "{name}: {error:?}");
                    continue;
                }
                Err(_) => continue,
            };
            for activation in finished {
                let at = waiting.iter().position(|(_, pending)| pending.id == activation.id);
                let (n, _) = waiting.swap_remove(at.unwrap());
                assert_eq!(number(activation), n, "{name}");
            }
        }
        assert!(fake.strikes() > 0, "{name}: nothing failed");
        assert_eq!(runs.load(Ordering::Relaxed), 40, "{name}");
    }
}

#[tokio::test]
async fn deploying_survives_faults_while_it_looks() {
    let looks = "/operations/";
    let faults = [
        Fault::answer(looks, 429, HTML),
        Fault::answer(looks, 500, HTML),
        Fault::answer(looks, 503, HTML),
        Fault::answer(looks, 200, "{\"name\":"),
        Fault::reset(looks),
        Fault::truncated(looks),
    ];
    let fake = echoing();
    let platform = connect(fake.config()).await;
    for fault in faults {
        fake.inject(fault.clone().times(2));
        platform.deploy(&python("echo", ECHO)).await.unwrap();
        fake.inject(fault.times(1));
        let found = platform.fetch_deployment("echo").await.unwrap();
        platform.remove(&found).await.unwrap();
        fake.heal();
    }
    assert!(fake.is_clean());
}
