//! Broken peers. Without layers "nothing lost" means: one completion for each invocation, a refusal says so, and nothing
//! that may have run is sent again.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{
    AsyncPlatform, Completion, Error, ErrorKind, ExecutionStrategy, Invocation, Outcome, Payload,
    Platform, Target,
};
use falco_executors::{ExecutionOptions, OnFailure, ParallelExecutor};
use falco_fakes::http::Reply;
use falco_fakes::openwhisk::FakeSettings;
use falco_openwhisk::{ClientConfig, OpenWhisk};
use falco_testkit::{RawPeer, Script, Step};
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use serde_json::json;

use crate::support::{config, connect, deployment, echo, invocation, python};

/// Long enough for a busy machine to connect in.
const SILENCE: Duration = Duration::from_secs(3);

/// A platform whose server plays `scripts`, a connection each, once it is connected.
async fn behind(scripts: impl IntoIterator<Item = Script>) -> (RawPeer, OpenWhisk) {
    let known = ["{}", r#"{"runtimes":{}}"#].map(|body| Script::json("200 OK", body));
    let peer = RawPeer::start(known.into_iter().chain(scripts)).await.unwrap();
    let config = config(&peer.url())
        .http(ClientConfig::new("test").with_read_timeout(SILENCE))
        .build()
        .unwrap();
    let platform = OpenWhisk::connect(config).await.unwrap();
    (peer, platform)
}

async fn error_behind(script: Script) -> (RawPeer, Error) {
    let (peer, platform) = behind([script]).await;
    let error = platform.invoke(&deployment(), &invocation(&json!({}))).await.unwrap_err();
    (peer, error)
}

#[tokio::test]
async fn whatever_breaks_after_the_request_was_sent_leaves_doubt_and_is_not_repeated() {
    let cases = [
        (Script::reset_after_reading(), ErrorKind::Unavailable),
        (Script::close_after_reading(), ErrorKind::Unavailable),
        (Script::half_a_status_line(), ErrorKind::Unavailable),
        (Script::garbage(), ErrorKind::Unavailable),
        (Script::never_answer(), ErrorKind::Timeout),
        (Script::headers_then_stall(), ErrorKind::Timeout),
        (Script::truncated_body(), ErrorKind::Unavailable),
        (Script::proxied_html("502 Bad Gateway"), ErrorKind::Unavailable),
    ];
    let checks = cases.map(|(script, kind)| async move {
        let shown = format!("{script:?}");
        let (peer, error) = error_behind(script).await;
        assert_eq!((error.kind(), error.may_have_run()), (kind, true), "{shown}: {error}");
        let posts = peer.requests().iter().filter(|request| request.starts_with("POST")).count();
        assert!(posts <= 1, "{shown}: sent {posts} times");
    });
    join_all(checks).await;
}

#[tokio::test]
async fn a_missing_server_leaves_no_doubt() {
    let (peer, platform) = behind([]).await;
    drop(peer);
    // The port may still take connections for a moment.
    let error = platform.invoke(&deployment(), &invocation(&json!({}))).await.unwrap_err();
    if error.message().contains("no connection") {
        assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Unavailable, false));
    }
    let nobody = RawPeer::nobody().await.unwrap();
    let config = config(&format!("http://{nobody}")).build().unwrap();
    let error = OpenWhisk::connect(config).await.unwrap_err();
    let found = (error.kind(), error.is_retryable(), error.may_have_run());
    assert_eq!(found, (ErrorKind::Unavailable, true, false), "{error}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_after_naming_its_activation_is_followed() {
    const ID: &str = "44794bd6aab74415b4e42a308d880e5b";
    let head = format!(
        "HTTP/1.1 200 OK\r\nx-openwhisk-activation-id: {ID}\r\ncontent-type: application/json\r\n\
         content-length: 400\r\n\r\n{{\"activationId\":"
    );
    let broken = Script::new([Step::Read, Step::Send(head.into_bytes())]);
    let record = json!({"activationId": ID, "start": 1, "end": 3, "duration": 2, "annotations": [],
        "response": {"result": {"n": 1}, "status": "success", "success": true}});
    let (peer, platform) = behind([broken, Script::json("200 OK", &record.to_string())]).await;
    let activation = platform.invoke(&deployment(), &invocation(&json!({}))).await.unwrap();
    assert_eq!(activation.outcome.unwrap().as_str(), r#"{"n":1}"#);
    let asked = peer.requests().pop().unwrap();
    assert!(asked.starts_with(&format!("GET /api/v1/namespaces/_/activations/{ID} ")), "{asked}");
}

#[tokio::test]
async fn a_submission_whose_answer_breaks_off_is_worth_another_try_and_leaves_doubt() {
    let (_peer, platform) = behind([Script::truncated_body()]).await;
    let error = platform.submit(&deployment(), &invocation(&json!({}))).await.unwrap_err();
    let found = (error.kind(), error.is_retryable(), error.may_have_run());
    assert_eq!(found, (ErrorKind::Unavailable, true, true), "{error}");
}

async fn run(
    platform: Arc<dyn AsyncPlatform>,
    deployment: falco_core::Deployment,
    count: usize,
) -> Vec<Completion> {
    let invocations =
        (0..count).map(|n| Invocation::new("run", "stage", format!("{n:04}"), Payload::empty()));
    let options = ExecutionOptions::default().with_on_failure(OnFailure::Continue);
    let executor = ParallelExecutor::with_concurrency(8).unwrap().with_options(options);
    let target = Target::new(platform, deployment);
    executor.execute(target, stream::iter(invocations.collect::<Vec<_>>()).boxed()).collect().await
}

#[tokio::test]
async fn in_a_storm_of_429_each_invocation_ends_once_and_the_refused_say_when_to_come_back() {
    let (fake, platform) = connect(FakeSettings { invocations_per_minute: 10, ..echo() }).await;
    let deployment = platform.deploy(&python()).await.unwrap();
    let completions = run(Arc::new(platform), deployment, 50).await;
    assert_eq!(completions.len(), 50);
    let mut succeeded = 0;
    for completion in &completions {
        match &completion.outcome {
            Outcome::Succeeded(_) => succeeded += 1,
            Outcome::PlatformFailed(error) => {
                assert_eq!(error.kind(), ErrorKind::Throttled, "{error}");
                let wait = error.retry_after().expect("the time until the next minute");
                assert!(wait <= Duration::from_secs(60), "{wait:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(fake.activations(), succeeded);
}

#[tokio::test]
async fn invocations_of_unknown_fate_are_sent_once() {
    let (fake, platform) = connect(echo()).await;
    let deployment = platform.deploy(&python()).await.unwrap();
    for _ in 0..5 {
        fake.answer_next_invocation(
            Reply::new(502, "<html>bad gateway</html>").with_header("content-type", "text/html"),
        );
    }
    let completions = run(Arc::new(platform), deployment, 30).await;
    let unknown =
        completions.iter().filter(|completion| matches!(completion.outcome, Outcome::Unknown(_)));
    assert_eq!(unknown.count(), 5);
    assert_eq!(completions.iter().filter(|completion| completion.is_success()).count(), 25);
    assert_eq!(fake.count_requests(|request| request.query("blocking") == Some("true")), 30);
}

#[tokio::test]
async fn a_look_that_fails_is_an_error_and_the_next_one_finds_all() {
    const ID: &str = "44794bd6aab74415b4e42a308d880e5b";
    let accepted = Script::json("202 Accepted", &json!({"activationId": ID}).to_string());
    let record = json!({"activationId": ID, "start": 1_700_000_000_000_u64, "end": 1, "annotations": [],
        "response": {"result": {}, "status": "success", "success": true}});
    let (_peer, platform) = behind([
        accepted,
        Script::truncated_body(),
        Script::json("200 OK", "{\"no\":\"record\"}"),
        Script::json("200 OK", &record.to_string()),
    ])
    .await;
    let deployment = deployment();
    let pending = [platform.submit(&deployment, &invocation(&json!({}))).await.unwrap()];
    for kind in [ErrorKind::Unavailable, ErrorKind::Protocol] {
        let error = platform.collect(&deployment, &pending).await.unwrap_err();
        assert_eq!((error.kind(), error.may_have_run()), (kind, false), "{error}");
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
    let collected = platform.collect(&deployment, &pending).await.unwrap();
    assert_eq!(collected.finished.len(), 1);
}
