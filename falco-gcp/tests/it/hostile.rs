//! Replies that nobody has foreseen: no panic, no endless wait, an error that is one line.

use std::time::Duration;

use falco_core::{AsyncPlatform, Error, Platform};
use falco_fakes::gcp::FakeGcp;
use falco_fakes::http::Fault;
use falco_gcp::{Credentials, GcpFunctions, GcpWaits};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::{ECHO, connect, echoing, invocation, python, with_tasks};

/// A record with an odd field, and the answer behind it.
fn records() -> impl Strategy<Value = Vec<u8>> {
    const ANSWERS: [&str; 3] =
        [r#"{"ok":{"value":[1,"ä",null]},"ms":1.5}"#, r#"{"error":{"a":"\ud83d"}}"#, "NaN"];
    let answer =
        (proptest::sample::select(&ANSWERS), proptest::sample::select(&["shim", "native"]));
    answer.prop_flat_map(|(answer, answered)| {
        let head = json!({
            "falco": 1, "id": "x", "cold": true, "init_ms": 1.5, "started_ms": 1.8e12,
            "execution_ms": 2.5, "instance": "i", "revision": "r", "memory_kib": 1024,
            "answered": answered, "bytes": answer.len(),
            "error": {"kind": "crashed", "message": "m", "trace": "t", "exit_status": 1},
        });
        mutated(head).prop_map(move |head| [&head, &b"\n"[..], answer.as_bytes()].concat())
    })
}

fn function() -> Value {
    json!({
        "name": "projects/p/locations/l/functions/echo", "state": "ACTIVE", "environment": "GEN_2",
        "labels": {"falco": "1", "falco-name": "echo", "falco-run": "r", "falco-expires": "12"},
        "buildConfig": {"runtime": "python312"},
        "serviceConfig": {"uri": "http://127.0.0.1:1/", "availableMemory": "512Mi", "timeoutSeconds": 5,
                          "availableCpu": "1", "maxInstanceCount": 3},
    })
}

/// Values that a field may have instead of its own.
fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!(-1)),
        Just(json!(1e300)),
        Just(json!(u64::MAX)),
        Just(json!([])),
        Just(json!({})),
        "\\PC{0,12}".prop_map(Value::String),
        Just(json!("../../x?y#z")),
        Just(json!("x".repeat(100_000))),
    ]
}

/// A reply of which some field, however deep, is odd or missing, or whose text is cut or has a byte changed.
fn mutated(reply: Value) -> impl Strategy<Value = Vec<u8>> {
    let paths = paths(&reply, String::new());
    (
        proptest::sample::select(paths),
        proptest::option::of(odd()),
        any::<prop::sample::Index>(),
        0..4u8,
        any::<u8>(),
    )
        .prop_map(move |(path, value, at, how, byte)| {
            let mut reply = reply.clone();
            match value {
                Some(value) => *reply.pointer_mut(&path).unwrap() = value,
                None => {
                    let (parent, name) = path.rsplit_once('/').unwrap();
                    if let Some(fields) = reply.pointer_mut(parent).and_then(Value::as_object_mut) {
                        fields.remove(name);
                    }
                }
            }
            let mut bytes = reply.to_string().into_bytes();
            let at = at.index(bytes.len());
            match how {
                0 => bytes.truncate(at),
                1 => bytes[at] = byte,
                _ => {}
            }
            bytes
        })
}

fn paths(value: &Value, at: String) -> Vec<String> {
    let mut all = Vec::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        let path = format!("{at}/{name}");
        all.extend(paths(value, path.clone()));
        all.push(path);
    }
    all
}

fn is_one_line(error: &Error) -> bool {
    let shown = error.to_string();
    shown.len() < 4096 && !shown.contains('\n')
}

/// Runs `check` for many replies to requests that contain `part`.
fn with_replies(
    part: &str,
    replies: impl Strategy<Value = Vec<u8>>,
    check: impl Fn(&Runtime, &GcpFunctions, &falco_core::Deployment),
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fake: FakeGcp = echoing();
    let (platform, deployment) = runtime.block_on(async {
        let platform = connect(with_tasks(fake.config())).await;
        let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
        (platform, deployment)
    });
    let any_bytes = proptest::collection::vec(any::<u8>(), 0..200);
    let strategy = (prop_oneof![3 => replies, 1 => any_bytes], 0..4usize);
    let mut runner =
        TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    let result = runner.run(&strategy, |(body, status)| {
        fake.heal();
        let status = [200, 200, 400, 500][status];
        fake.inject(Fault::answer(part, status, &String::from_utf8_lossy(&body)));
        check(&runtime, &platform, &deployment);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn hostile_answers_of_a_function() {
    with_replies("POST /run/", records(), |runtime, platform, deployment| {
        match runtime.block_on(platform.invoke(deployment, &invocation(&json!({})))) {
            Ok(activation) => {
                assert!(activation.outcome.is_err() || activation.outcome.unwrap().is_object())
            }
            Err(error) => assert!(is_one_line(&error), "{error}"),
        }
    });
}

#[test]
fn hostile_descriptions_of_a_function() {
    with_replies(
        "GET /v2/projects/fake-project/locations/us-central1/functions",
        mutated(function()),
        |runtime, platform, _| {
            if let Err(error) = runtime.block_on(platform.fetch_deployment("echo")) {
                assert!(is_one_line(&error), "{error}");
            }
        },
    );
}

#[test]
fn hostile_lists() {
    let list = json!({"functions": [], "nextPageToken": "", "unreachable": []});
    with_replies(
        "GET /v2/projects/fake-project/locations/us-central1/functions",
        mutated(list),
        |runtime, platform, _| {
            if let Err(error) = runtime.block_on(platform.list_deployments()) {
                assert!(is_one_line(&error), "{error}");
            }
        },
    );
}

#[test]
fn hostile_listings_of_results() {
    let id = "0123456789abcdef0123456789abcdef";
    let list =
        json!({"items": [{"name": format!("falco/echo/results/{id}.json")}], "nextPageToken": ""});
    with_replies("GET /storage/", mutated(list), move |runtime, platform, deployment| {
        let pending = [falco_core::Pending::new(id, std::time::SystemTime::now())];
        match runtime.block_on(platform.collect(deployment, &pending)) {
            Ok(collected) => {
                assert!(collected.finished.iter().all(|activation| activation.id == id))
            }
            Err(error) => assert!(is_one_line(&error), "{error}"),
        }
    });
}

#[test]
fn hostile_logs() {
    let entry = json!({"timestamp": "2026-11-24T00:00:00Z", "textPayload": "x", "labels": {"falco_activation": "y"}});
    let page = json!({"entries": [entry], "nextPageToken": ""});
    with_replies("entries:list", mutated(page), |runtime, platform, deployment| {
        let ids = ["0123456789abcdef0123456789abcdef".into()];
        if let Err(error) = runtime.block_on(platform.activation_log(deployment, &ids)) {
            assert!(is_one_line(&error), "{error}");
        }
    });
}

#[test]
fn hostile_token_endpoints() {
    let reply = json!({"access_token": "ya29.x", "expires_in": 3600, "id_token": "a.b.c"});
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fake = echoing();
    let mut runner =
        TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    let result = runner.run(&mutated(reply), |body| {
        fake.heal();
        fake.inject(Fault::answer("POST /token", 200, &String::from_utf8_lossy(&body)));
        // Whatever is granted is not a token of the fake's.
        let error =
            runtime.block_on(GcpFunctions::connect(fake.config().build().unwrap())).unwrap_err();
        assert!(is_one_line(&error), "{error}");
        assert!(!format!("{error:?}").contains("ya29."), "{error:?}");
        Ok(())
    });
    result.unwrap();
}

/// Deploys, submits and removes while every reply to requests with `part` is another one.
fn whole_life_with(part: &'static str, reply: Value) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fake = echoing();
    let mut waits = GcpWaits::every(Duration::from_millis(1));
    (waits.operation, waits.grant) = (Duration::from_millis(20), Duration::from_millis(20));
    let config = with_tasks(fake.config()).waits(waits);
    let any_bytes = proptest::collection::vec(any::<u8>(), 0..200);
    let strategy = (prop_oneof![3 => mutated(reply), 1 => any_bytes], 0..4usize);
    let mut runner =
        TestRunner::new(Config { cases: 32, failure_persistence: None, ..Config::default() });
    let result = runner.run(&strategy, |(body, status)| {
        fake.heal();
        let status = [200, 200, 400, 500][status];
        fake.inject(Fault::answer(part, status, &String::from_utf8_lossy(&body)));
        let ended: Vec<Result<(), Error>> = runtime.block_on(async {
            let platform = GcpFunctions::connect(config.clone().build().unwrap()).await;
            let platform = match platform {
                Ok(platform) => platform,
                Err(error) => return vec![Err(error)],
            };
            let deployed = platform.deploy(&python("echo", ECHO)).await;
            let Ok(deployment) = &deployed else { return vec![deployed.map(drop)] };
            let submitted = platform.submit(deployment, &invocation(&json!({}))).await;
            let removed = platform.remove(deployment).await;
            vec![submitted.map(drop), removed]
        });
        for error in ended.into_iter().filter_map(Result::err) {
            assert!(is_one_line(&error), "{error}");
            assert_eq!(error.platform(), Some("gcp"), "{error:?}");
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn hostile_operations() {
    let name = "projects/fake-project/locations/us-central1/operations/operation-1";
    let operation = json!({"name": name, "done": true, "metadata": {"verb": "create"},
        "error": {"code": 3, "message": "m", "details": [{"@type": "x.Help", "links": []}]}});
    whole_life_with("/operations/", operation);
}

#[test]
fn hostile_upload_urls() {
    let source = json!({"bucket": "b", "object": "o"});
    let reply = json!({"uploadUrl": "http://127.0.0.1:1/upload", "storageSource": source});
    whole_life_with("functions:generateUploadUrl", reply);
}

#[test]
fn hostile_policies() {
    let binding = json!({"role": "roles/run.invoker", "members": ["allUsers"], "condition": {}});
    whole_life_with("IamPolicy", json!({"etag": "e", "version": 1, "bindings": [binding]}));
}

#[test]
fn hostile_queues_and_tasks() {
    let task = json!({"name": "projects/p/locations/l/queues/falco/tasks/1-echo"});
    whole_life_with("/queues", json!({"tasks": [task], "nextPageToken": "", "state": "RUNNING"}));
}

#[test]
fn hostile_runtimes() {
    let runtime = json!({"name": "python312", "stage": "GA", "environment": "GEN_2"});
    whole_life_with("/runtimes", json!({"runtimes": [runtime]}));
}

#[test]
fn hostile_results() {
    with_replies("/o/falco", records(), |runtime, platform, deployment| {
        let ids = ["0123456789abcdef0123456789abcdef"];
        let pending = ids.map(|id| falco_core::Pending::new(id, std::time::SystemTime::now()));
        if let Err(error) = runtime.block_on(platform.collect(deployment, &pending)) {
            assert!(is_one_line(&error), "{error}");
        }
    });
}

#[test]
fn hostile_metadata_servers() {
    let fake = echoing();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reply = json!({"access_token": "ya29.marked", "expires_in": 3600, "token_type": "Bearer"});
    let any_bytes = proptest::collection::vec(any::<u8>(), 0..200);
    let mut runner =
        TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    let strategy = prop_oneof![3 => mutated(reply), 1 => any_bytes];
    let result = runner.run(&strategy, |body| {
        fake.heal();
        let fault = Fault::answer("/computeMetadata/", 200, &String::from_utf8_lossy(&body));
        fake.inject(fault.with_header("metadata-flavor", "Google"));
        let config = fake.config().credentials(Credentials::Metadata);
        for config in [config.clone(), config.project("fake-project")] {
            let connected = runtime.block_on(GcpFunctions::connect(config.build().unwrap()));
            let error = connected.unwrap_err();
            assert!(is_one_line(&error), "{error}");
            assert!(!format!("{error:?}").contains("marked"), "{error:?}");
        }
        Ok(())
    });
    result.unwrap();
}
