//! Long arguments: up to the limit that `capabilities` state, through a queue as well.

use std::time::Duration;

use falco_core::{
    AsyncPlatform, Deployable, ErrorKind, FunctionErrorKind, Invocation, Platform, Release,
};
use falco_fakes::gcp::FakeGcp;
use falco_fakes::http::Fault;
use falco_package::Archive;
use serde_json::{Value, json};

use crate::submission::collected;
use crate::support::{ECHO, connect, echoing, invocation, python, with_tasks};

const LIMIT: usize = 32 << 20;
const IN_TASK: usize = 72 << 10;
const UPLOADS: &str = "POST /upload/storage/";

/// An invocation whose argument has exactly so many bytes.
fn of_length(bytes: usize) -> Invocation {
    invocation(&json!({"x": "y".repeat(bytes - r#"{"x":""}"#.len())}))
}

fn arguments(fake: &FakeGcp) -> Vec<String> {
    fake.objects().into_iter().filter(|name| name.contains("/arguments/")).collect()
}

/// Functions of every family that return how long the argument's `x` is.
fn counting() -> [Deployable; 3] {
    let native = "#!/usr/bin/env python3\nimport json, os, sys\nout = os.fdopen(3, 'w')\nfor line in sys.stdin:\n    \
                  n = len(json.loads(line)['value']['x'])\n    out.write('{\"n\":%d}\\n' % n)\n    out.flush()\n";
    let native = Archive::new().with_executable("exec", native).unwrap().to_zip().unwrap();
    let node = "function main(args) { return { n: args.x.length }; }\n";
    [
        python("counting-python", "def main(args):\n    return {'n': len(args['x'])}\n"),
        Deployable::from_source("counting-node", "nodejs:22".parse().unwrap(), node),
        Deployable::from_archive("counting-native", "native".parse().unwrap(), native),
    ]
}

#[tokio::test]
async fn an_argument_at_the_limit_arrives_by_call_and_by_queue_and_one_over_it_is_not_sent() {
    let fake = FakeGcp::start();
    let platform = connect(with_tasks(fake.config())).await;
    let capabilities = platform.capabilities();
    assert_eq!(capabilities.max_payload, Some(LIMIT as u64));
    assert_eq!(capabilities.max_submit_payload, Some(LIMIT as u64));
    let (most, over) = (of_length(LIMIT), of_length(LIMIT + 1));
    let expected = json!({"n": LIMIT - 8});
    for function in counting() {
        let deployment = platform.deploy(&function).await.unwrap();
        let called = platform.invoke(&deployment, &most).await.unwrap().outcome.unwrap();
        assert_eq!(called.parse::<Value>().unwrap(), expected, "{}", deployment.name);
        let pending = platform.submit(&deployment, &most).await.unwrap();
        let queued = collected(&platform, &deployment, &pending).await.outcome.unwrap();
        assert_eq!(queued.parse::<Value>().unwrap(), expected, "{}", deployment.name);
        let sent = fake.requests().len();
        for error in [
            platform.invoke(&deployment, &over).await.unwrap_err(),
            platform.submit(&deployment, &over).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
            assert!(!error.may_have_run() && !error.is_retryable(), "{error:?}");
        }
        let calls = |seen: &&falco_fakes::http::Request| {
            seen.line().starts_with(UPLOADS) || seen.path.contains("/run/")
        };
        assert_eq!(fake.requests()[sent..].iter().find(calls).map(|seen| seen.line()), None);
        platform.remove(&deployment).await.unwrap();
    }
    assert!(fake.is_clean());
}

#[tokio::test]
async fn an_argument_too_long_for_a_task_is_stored_before_it_and_deleted_after_its_result() {
    let fake = echoing();
    let platform = connect(with_tasks(fake.config())).await;
    let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
    let short = platform.submit(&deployment, &of_length(IN_TASK)).await.unwrap();
    collected(&platform, &deployment, &short).await.outcome.unwrap();
    assert!(fake.requests_to(UPLOADS).is_empty(), "a task holds it");

    let long = of_length(IN_TASK + 1);
    let pending = platform.submit(&deployment, &long).await.unwrap();
    let upload = fake.requests_to(UPLOADS).pop().unwrap();
    let name = format!("falco/echo/arguments/{}.json", pending.id);
    assert_eq!(upload.path, "/upload/storage/v1/b/falco-fake-project-us-central1/o");
    assert_eq!((upload.query("uploadType"), upload.query("name")), (Some("media"), Some(&*name)));
    assert_eq!(upload.header("content-type"), Some("application/json"));
    assert_eq!(upload.body, long.payload().to_bytes());
    let task = fake.requests_to("/queues/falco/tasks").pop().unwrap().json()["task"].clone();
    assert_eq!(task["httpRequest"]["headers"]["X-Falco-Argument"], "stored");
    assert_eq!(task["httpRequest"]["body"], "e30=", "an empty object");

    // The process that collects it deletes it, whichever it is.
    let other = connect(with_tasks(fake.config())).await;
    let result = collected(&other, &deployment, &pending).await.outcome.unwrap();
    assert_eq!(result.len(), IN_TASK + 1);
    other.collect(&deployment, &[]).await.unwrap();
    assert_eq!(arguments(&fake), Vec::<String>::new());
}

#[tokio::test]
async fn an_argument_whose_task_is_refused_abandoned_or_never_made_is_deleted() {
    let fake = FakeGcp::start();
    let platform = connect(with_tasks(fake.config())).await;
    let sleeping = "import time\ndef main(args):\n    time.sleep(60)\n";
    let deployment = platform.deploy(&python("sleeping", sleeping)).await.unwrap();
    let long = of_length(IN_TASK + 1);

    let refusal = r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"slow down"}}"#;
    fake.inject(Fault::answer("/queues/falco/tasks", 429, refusal));
    platform.submit(&deployment, &long).await.unwrap_err();
    assert_eq!(arguments(&fake).len(), 1);
    platform.collect(&deployment, &[]).await.unwrap();
    assert_eq!(arguments(&fake), Vec::<String>::new());
    fake.heal();

    // Stored, and nobody waits for the answer any more.
    fake.inject(Fault::silence(UPLOADS).after_doing_it());
    let mut given_up = Box::pin(platform.submit(&deployment, &long));
    while arguments(&fake).is_empty() {
        let beat = tokio::time::sleep(Duration::from_millis(2));
        tokio::select! { _ = &mut given_up => panic!("it is never answered"), () = beat => {} }
    }
    drop(given_up);
    platform.collect(&deployment, &[]).await.unwrap();
    assert_eq!(arguments(&fake), Vec::<String>::new());
    fake.heal();

    let pending = platform.submit(&deployment, &long).await.unwrap();
    assert_eq!(arguments(&fake).len(), 1);
    platform.release(&deployment, std::slice::from_ref(&pending.id), Release::Abandoned);
    platform.collect(&deployment, &[]).await.unwrap();
    assert_eq!((arguments(&fake), fake.tasks()), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_queue_that_calls_again_when_the_argument_is_gone_runs_nothing() {
    let fake = FakeGcp::start();
    let platform = connect(with_tasks(fake.config()).access(falco_gcp::Access::Public)).await;
    for function in counting() {
        let deployment = platform.deploy(&function).await.unwrap();
        let long = of_length(IN_TASK + 1).with_idempotent(true);
        let pending = platform.submit(&deployment, &long).await.unwrap();
        collected(&platform, &deployment, &pending).await.outcome.unwrap();
        platform.release(&deployment, std::slice::from_ref(&pending.id), Release::Taken);
        platform.collect(&deployment, &[]).await.unwrap();
        let task = fake.requests_to("/queues/falco/tasks").pop().unwrap().json()["task"].clone();
        let request = &task["httpRequest"];
        let mut again = reqwest::Client::new().post(request["url"].as_str().unwrap()).body("{}");
        for (name, value) in request["headers"].as_object().unwrap() {
            again = again.header(name, value.as_str().unwrap());
        }
        let reply = again.send().await.unwrap();
        assert_eq!(reply.status(), 200, "or the queue would call for ever");
        assert!(reply.text().await.unwrap().contains("done with"));
        let results = fake.objects().into_iter().filter(|name| name.contains("/results/"));
        assert_eq!(results.count(), 0);
    }
}

#[tokio::test]
async fn a_result_at_the_limit_arrives_and_one_over_it_is_the_functions_fault() {
    let fake = FakeGcp::start();
    let platform = connect(fake.config()).await;
    assert_eq!(platform.capabilities().max_result, Some(LIMIT as u64));
    let big = "def main(args):\n    return {'x': 'y' * args['n']}\n";
    let node = "function main(args) { return { x: 'y'.repeat(args.n) }; }\n";
    for function in [
        python("big-python", big),
        Deployable::from_source("big-node", "nodejs:22".parse().unwrap(), node),
    ] {
        let deployment = platform.deploy(&function).await.unwrap();
        let most = LIMIT - r#"{"x":""}"#.len();
        let call = async |n| {
            platform.invoke(&deployment, &invocation(&json!({"n": n}))).await.unwrap().outcome
        };
        assert_eq!(call(most).await.unwrap().len(), LIMIT);
        let error = call(most + 1).await.unwrap_err();
        assert_eq!(error.kind, FunctionErrorKind::BadResult, "{error:?}");
    }
}
