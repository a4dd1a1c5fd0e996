//! Replies that make no sense: no panic, no endless wait, one answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::{AsyncPlatform, Platform, Scaling};
use falco_openwhisk::{OpenWhisk, OpenWhiskWaits};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;
use wiremock::matchers::any as any_request;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::{config, deployment, invocation, server};

const ID: &str = "44794bd6aab74415b4e42a308d880e5b";
const CASES: usize = 200;

fn valid() -> Vec<u8> {
    json!([{"activationId": ID, "namespace": "guest", "name": "function", "version": "0.0.1",
            "start": 1_700_000_000_123_u64, "end": 1_700_000_000_183_u64, "duration": 60,
            "response": {"result": {"greeting": "hi"}, "size": 19, "status": "success", "success": true},
            "logs": ["2024-01-01T10:00:00.123456789Z stdout: hello"],
            "annotations": [{"key": "limits", "value": {"timeout": 60000, "memory": 256}},
                            {"key": "initTime", "value": 41}, {"key": "waitTime", "value": 512}]}])
    .to_string()
    .into_bytes()
}

/// Arbitrary bytes, or a good reply with a few of its bytes changed, cut at any place.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let mutated =
        (prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), 0.3..1.0_f64)
            .prop_map(|(changes, kept)| {
                let mut body = valid();
                let length = body.len();
                for (index, byte) in changes {
                    body[index.index(length)] = byte;
                }
                body.truncate((length as f64 * kept.sqrt()) as usize + 1);
                // The list without its brackets is a record.
                if kept < 0.6 {
                    body.remove(0);
                }
                body
            });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..300), mutated]
}

fn reply() -> impl Strategy<Value = ResponseTemplate> {
    let status = prop::sample::select(vec![200_u16, 202, 400, 404, 429, 500, 502, 503]);
    let id = prop::sample::select(vec!["", ID, "short", "ÿ", "../../x"]);
    (status, id, body()).prop_map(|(status, id, body)| {
        let reply = ResponseTemplate::new(status).set_body_bytes(body);
        if id.is_ascii() && !id.is_empty() {
            reply.insert_header("x-openwhisk-activation-id", id)
        } else {
            reply
        }
    })
}

#[tokio::test]
async fn replies_of_any_bytes_are_answered_for() {
    let server = server().await;
    let next = Arc::new(Mutex::new(ResponseTemplate::new(200)));
    let answer = next.clone();
    Mock::given(any_request())
        .respond_with(move |_: &wiremock::Request| answer.lock().unwrap().clone())
        .mount(&server)
        .await;
    // What has to be followed is not followed for long.
    let waits = OpenWhiskWaits::default().with_follow_grace(Duration::ZERO);
    let config = config(&server.uri()).waits(waits).build().unwrap();
    let platform = OpenWhisk::connect(config).await.unwrap();
    let scaling = Scaling::default().with_timeout(Duration::from_millis(1));
    let deployment = deployment().with_scaling(scaling);
    let mut runner = TestRunner::deterministic();
    for _ in 0..CASES {
        *next.lock().unwrap() = reply().new_tree(&mut runner).unwrap().current();
        let invocation = invocation(&json!({}));
        let answers = async {
            let _ = platform.invoke(&deployment, &invocation).await;
            if let Ok(pending) = platform.submit(&deployment, &invocation).await {
                let _ = platform.collect(&deployment, std::slice::from_ref(&pending)).await;
                let _ =
                    platform.activation_log(&deployment, std::slice::from_ref(&pending.id)).await;
                platform.release(&deployment, &[pending.id], falco_core::Release::Abandoned);
            }
            let _ = platform.fetch_deployment("function").await;
            let _ = platform.list_deployments().await;
        };
        tokio::time::timeout(Duration::from_secs(30), answers).await.expect("it answers");
    }
}

#[tokio::test]
async fn a_description_of_any_bytes_does_not_panic() {
    let server = MockServer::start().await;
    let next = Arc::new(Mutex::new(ResponseTemplate::new(200)));
    let answer = next.clone();
    Mock::given(any_request())
        .respond_with(move |_: &wiremock::Request| answer.lock().unwrap().clone())
        .mount(&server)
        .await;
    let mut runner = TestRunner::deterministic();
    for _ in 0..50 {
        *next.lock().unwrap() = reply().new_tree(&mut runner).unwrap().current();
        let config = config(&server.uri()).build().unwrap();
        let _ = OpenWhisk::connect(config).await;
    }
}
