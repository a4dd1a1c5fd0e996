//! Tests of faults, and how they are reported.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use falco_core::{Deployment, ErrorKind, FunctionErrorKind, Payload, Platform};
use falco_fakes::gcp::FakeGcp;
use falco_fakes::http::Fault;
use falco_testkit::{RawPeer, Script};
use serde_json::json;

use crate::support::{ECHO, connect, deployed, echoing, invocation, python};

const CREATE: &str = "POST /v2/projects/fake-project/locations/us-central1/functions";

fn quota(status: &str, code: u16) -> String {
    json!({"error": {"code": code, "status": status, "message": "told by Google", "details": [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3s"},
    ]}})
    .to_string()
}

#[tokio::test]
async fn a_failed_build_is_reported_in_full_and_leaves_nothing() {
    let fake = echoing();
    fake.fail_next_operation(
        json!({"code": 3, "message": "Build failed with status: FAILURE. No matching distribution \
        found for numpyy", "details": [{"@type": "type.googleapis.com/google.rpc.Help", "links": [
            {"description": "Build log", "url": "https://console.cloud.google.com/build/1"}]}]}),
    );
    let platform = connect(fake.config()).await;
    let error = platform.deploy(&python("echo", ECHO)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(
        (error.platform(), error.operation(), error.function()),
        (Some("gcp"), Some("deploy"), Some("echo"))
    );
    assert!(
        error.to_string().contains("found for numpyy") && error.hint().unwrap().contains("build/1"),
        "{error}"
    );
    assert!(fake.is_clean(), "what failed to be created is deleted");
}

#[tokio::test]
async fn a_failed_update_leaves_the_function_that_was_there() {
    let fake = echoing();
    let (platform, deployment) = deployed(&fake).await;
    // The first operation that ends is the update's: creating is refused at once.
    fake.fail_next_operation(json!({"code": 9, "message": "no such base image"}));
    let error = platform.deploy(&python("echo", ECHO).with_env("CHANGED", "1")).await.unwrap_err();
    assert!(error.to_string().contains("no such base image"), "{error}");
    assert!(fake.function("echo").is_some());
    platform.deploy(&python("echo", ECHO).with_env("CHANGED", "1")).await.unwrap();
    platform.remove(&deployment).await.unwrap();
}

#[tokio::test]
async fn an_operation_that_cannot_be_looked_at_has_not_failed() {
    let fake = echoing();
    fake.operations_need(5);
    fake.inject(Fault::answer("/operations/", 503, "<html>busy</html>").times(2));
    fake.inject(Fault::reset("/operations/").times(1));
    deployed(&fake).await;
    assert_eq!(fake.requests_to("/operations/").len(), 8);
}

#[tokio::test]
async fn an_operation_to_which_nobody_answers_is_an_outage_for_the_layers_to_see() {
    let fake = echoing();
    let platform = connect(fake.config()).await;
    for looks in ["/operations/", "GET /v2/projects/fake-project/locations/us-central1/functions/"]
    {
        fake.inject(Fault::reset(looks));
        let error = platform.deploy(&python("echo", ECHO)).await.unwrap_err();
        assert!(error.is_unreachable() && error.is_retryable(), "{looks}: {error}");
        fake.heal();
        platform.deploy(&python("echo", ECHO)).await.unwrap();
    }
}

#[tokio::test]
async fn another_operation_on_the_same_function_is_waited_for() {
    let fake = echoing();
    let busy = quota("ABORTED", 409);
    let (platform, deployment) = deployed(&fake).await;
    fake.inject(Fault::answer("PATCH", 409, &busy).times(2));
    platform.deploy(&python("echo", ECHO).with_env("CHANGED", "1")).await.unwrap();
    fake.inject(Fault::answer("DELETE", 409, &busy).times(2));
    platform.remove(&deployment).await.unwrap();
    assert_eq!(fake.requests_to("PATCH").len(), 3);
    assert_eq!(fake.requests_to("DELETE").len(), 3);
}

#[tokio::test]
async fn a_create_whose_reply_was_lost_may_be_repeated() {
    let fake = echoing();
    let platform = connect(fake.config()).await;
    fake.inject(Fault::reset(CREATE).after_doing_it().times(2));
    // The first strike meets the upload URL, which may be asked for again as well.
    for _ in 0..2 {
        let error = platform.deploy(&python("echo", ECHO)).await.unwrap_err();
        assert!(error.is_retryable() && !error.may_have_run(), "{error:?}");
    }
    platform.deploy(&python("echo", ECHO)).await.unwrap();
    assert_eq!(platform.list_deployments().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_spent_quota_is_throttling_with_the_wait_that_google_suggests() {
    let fake = echoing();
    let platform = connect(fake.config()).await;
    fake.inject(Fault::answer(CREATE, 429, &quota("RESOURCE_EXHAUSTED", 429)));
    let error = platform.deploy(&python("echo", ECHO)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.retry_after()),
        (ErrorKind::Throttled, Some(Duration::from_secs(3)))
    );
    assert!(error.is_retryable() && !error.may_have_run() && error.hint().is_some());
}

#[tokio::test]
async fn tokens_that_expire_in_the_middle_are_replaced_once_for_all() {
    let fake = echoing();
    let (platform, deployment) = deployed(&fake).await;
    let (platform, deployment) = (Arc::new(platform), Arc::new(deployment));
    for _ in 0..3 {
        fake.revoke_tokens();
        let before = fake.requests_to("POST /token").len();
        let calls: Vec<_> = (0..64)
            .map(|n| {
                let (platform, deployment) = (Arc::clone(&platform), Arc::clone(&deployment));
                tokio::spawn(async move {
                    platform
                        .invoke(&deployment, &invocation(&json!({"n": n})))
                        .await
                        .unwrap()
                        .outcome
                        .unwrap()
                })
            })
            .collect();
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap().as_str(), format!("{{\"n\":{n}}}"));
        }
        assert_eq!(fake.requests_to("POST /token").len() - before, 1, "one request for 64 callers");
    }
    // The token for Google's own APIs was revoked as well.
    platform.fetch_deployment("echo").await.unwrap();
}

#[tokio::test]
async fn a_grant_that_takes_its_time_is_waited_for() {
    let fake = echoing();
    fake.grants_need(4);
    let (platform, deployment) = deployed(&fake).await;
    assert_eq!(fake.requests_to("POST /run/echo").len(), 5);
    platform.invoke(&deployment, &invocation(&json!({}))).await.unwrap();
}

/// The meaning of each answer of the front end: kind, retryable, may have run.
#[tokio::test]
async fn answers_that_are_not_the_functions_are_distinguished() {
    let fake = echoing();
    let (platform, deployment) = deployed(&fake).await;
    let html = "<html><style>b{}</style><b>Error</b> from the front end</html>";
    for (status, body, kind, retryable, may_have_run) in [
        (401, html, ErrorKind::Unauthorized, false, false),
        (403, html, ErrorKind::Forbidden, false, false),
        (404, html, ErrorKind::NotFound, false, false),
        (411, html, ErrorKind::Protocol, false, false),
        (413, html, ErrorKind::PayloadTooLarge, false, false),
        (429, "Rate exceeded.", ErrorKind::Throttled, true, false),
        (
            500,
            "The request was aborted because there was no available instance.",
            ErrorKind::Throttled,
            true,
            false,
        ),
        (500, html, ErrorKind::Unavailable, true, true),
        (503, "Service Unavailable", ErrorKind::Unavailable, true, true),
        (504, html, ErrorKind::Timeout, true, true),
        (302, "", ErrorKind::Protocol, false, true),
        (200, html, ErrorKind::Protocol, false, true),
        (200, r#"{"some":"other function"}"#, ErrorKind::Protocol, false, true),
        (200, r#"{"falco": 1, "resu"#, ErrorKind::Protocol, true, true),
    ] {
        fake.inject(Fault::answer("POST /run/echo", status, body));
        let error = platform.invoke(&deployment, &invocation(&json!({}))).await.unwrap_err();
        let found = (error.kind(), error.is_retryable(), error.may_have_run());
        assert_eq!(found, (kind, retryable, may_have_run), "{status} {body}: {error}");
        assert_eq!((error.platform(), error.function()), (Some("gcp"), Some("echo")));
        assert!(!error.to_string().contains("b{}"), "{error}");
        fake.heal();
    }
}

#[tokio::test]
async fn a_gateway_that_does_not_reach_google_is_an_outage_and_an_instance_that_fails_is_not() {
    let fake = echoing();
    let (platform, deployment) = deployed(&fake).await;
    let page = "<html><h1>Bad Gateway</h1></html>";
    for (status, header, unreachable) in [
        (502, ("server", "nginx"), true),
        (503, ("server", "HAProxy"), true),
        (504, ("server", "squid/6.6"), true),
        (500, ("server", "nginx"), false),
        (429, ("server", "nginx"), false),
        (502, ("server", "Google Frontend"), false),
        (503, ("server", "Google Frontend"), false),
        (504, ("server", "Google Frontend"), false),
        (503, ("x-cloud-trace-context", "0123456789abcdef/1;o=1"), false),
    ] {
        let fault = Fault::answer("POST /run/echo", status, page).with_header("server", "proxy");
        fake.inject(fault.with_header(header.0, header.1));
        let error = platform.invoke(&deployment, &invocation(&json!({}))).await.unwrap_err();
        assert_eq!(error.is_unreachable(), unreachable, "{status} {header:?}: {error}");
        if unreachable {
            assert!(error.is_retryable() && error.may_have_run(), "{status} {header:?}: {error}");
        }
        fake.heal();
    }
    // An API answers in JSON, and what stands before it does not.
    let busy = r#"{"error":{"code":503,"status":"UNAVAILABLE","message":"try again"}}"#;
    for (body, unreachable) in [(page, true), (busy, false)] {
        fake.inject(Fault::answer("/functions/echo", 503, body));
        let error = platform.fetch_deployment("echo").await.unwrap_err();
        assert_eq!(error.is_unreachable(), unreachable, "{body}: {error}");
        fake.heal();
    }
}

#[tokio::test]
async fn failures_of_the_function_itself_are_not_failures_of_the_platform() {
    let fake = echoing();
    let (platform, deployment) = deployed(&fake).await;
    let timeout = Fault::answer("POST /run/echo", 504, "upstream request timeout");
    let crash = Fault::answer("POST /run/echo", 500, "name 'x' is not defined")
        .with_header("x-google-status", "crash");
    for (fault, kind, words) in [
        (timeout, FunctionErrorKind::Timeout, "longer than 60s"),
        (crash, FunctionErrorKind::Crashed, "name 'x' is not defined"),
    ] {
        fake.inject(fault);
        let activation = platform.invoke(&deployment, &invocation(&json!({}))).await.unwrap();
        let error = activation.outcome.unwrap_err();
        assert!(error.kind == kind && error.message.contains(words), "{error:?}");
        fake.heal();
    }
}

#[tokio::test]
async fn a_suggested_wait_of_the_front_end_is_kept() {
    let fake = echoing();
    let (platform, deployment) = deployed(&fake).await;
    fake.inject(
        Fault::answer("POST /run/echo", 429, "Rate exceeded.").with_header("retry-after", "7"),
    );
    let error = platform.invoke(&deployment, &invocation(&json!({}))).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
}

fn moved_to(deployment: &Deployment, peer: &RawPeer) -> Deployment {
    let attributes: BTreeMap<_, _> = deployment.attributes.clone();
    let mut moved = deployment.clone();
    moved.attributes = attributes;
    moved.with_attribute("uri", format!("http://{}", peer.address()))
}

#[tokio::test]
async fn a_lost_exchange_says_whether_the_function_may_have_run() {
    let fake = echoing();
    let (platform, deployment) = deployed(&fake).await;
    for (script, kinds, may_have_run) in [
        (Script::reset_after_reading(), [ErrorKind::Unavailable; 2], true),
        (Script::close_after_reading(), [ErrorKind::Unavailable; 2], true),
        (Script::half_a_status_line(), [ErrorKind::Unavailable, ErrorKind::Protocol], true),
        (Script::truncated_body(), [ErrorKind::Unavailable; 2], true),
        (Script::garbage(), [ErrorKind::Unavailable, ErrorKind::Protocol], true),
        (Script::proxied_html("502 Bad Gateway"), [ErrorKind::Unavailable; 2], true),
    ] {
        let peer = RawPeer::start([script.clone()]).await.unwrap();
        let elsewhere = moved_to(&deployment, &peer);
        let error = platform.invoke(&elsewhere, &invocation(&json!({}))).await.unwrap_err();
        assert!(kinds.contains(&error.kind()), "{script:?}: {error}");
        assert_eq!(error.may_have_run(), may_have_run, "{script:?}: {error}");
    }
    // Nobody listens: it cannot have run.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nowhere = deployment.clone().with_attribute("uri", format!("http://{free}"));
    let error = platform.invoke(&nowhere, &invocation(&json!({}))).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && !error.may_have_run(), "{error:?}");
}

#[tokio::test]
async fn a_function_whose_url_is_not_encrypted_gets_no_token() {
    let fake = echoing();
    let (platform, deployment) = deployed(&fake).await;
    let odd = deployment.with_attribute("uri", "ftp://127.0.0.1/");
    let error = platform.invoke(&odd, &invocation(&json!({}))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
}

#[tokio::test]
async fn of_many_calls_under_faults_each_ends_once_and_refused_ones_did_not_run() {
    let fake = FakeGcp::start();
    let ran: Arc<std::sync::Mutex<BTreeMap<u64, u32>>> = Arc::default();
    fake.answer_with({
        let ran = Arc::clone(&ran);
        move |args: &Payload| {
            let n = args.parse::<serde_json::Value>().unwrap()["n"].as_u64();
            *ran.lock().unwrap().entry(n.unwrap_or(u64::MAX)).or_default() += 1;
            args.clone()
        }
    });
    let (platform, deployment) = deployed(&fake).await;
    fake.inject(Fault::answer("POST /run/echo", 429, "Rate exceeded.").share(0.2));
    fake.inject(Fault::answer("POST /run/echo", 503, "crashed").share(0.1).after_doing_it());
    fake.inject(Fault::reset("POST /run/echo").share(0.1).after_doing_it());
    let calls = (0..200u64).map(|n| {
        let (platform, deployment) = (&platform, &deployment);
        async move { (n, platform.invoke(deployment, &invocation(&json!({"n": n}))).await) }
    });
    let ended = futures_util::future::join_all(calls).await;
    assert_eq!(ended.len(), 200);
    let mut kinds = BTreeMap::new();
    for (n, end) in ended {
        let runs = ran.lock().unwrap().get(&n).copied().unwrap_or(0);
        assert!(runs <= 1, "{n} was sent again");
        match end {
            Ok(activation) => {
                assert_eq!(activation.outcome.unwrap().as_str(), format!("{{\"n\":{n}}}"));
                *kinds.entry("ok").or_insert(0) += 1;
            }
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                assert_eq!(runs == 1, error.may_have_run(), "{error:?}");
                *kinds.entry(error.kind().as_str()).or_insert(0) += 1;
            }
        }
    }
    assert!(kinds["ok"] > 80 && kinds["throttled"] > 10 && kinds["unavailable"] > 10, "{kinds:?}");
}
