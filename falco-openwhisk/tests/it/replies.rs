//! Tests of replies: every reply of the contract is distinguished.

use std::time::Duration;

use falco_core::{AsyncPlatform, Error, ErrorKind, FunctionErrorKind, Platform, Scaling};
use falco_fakes::openwhisk::{FakeOpenWhisk, FakeSettings};
use falco_openwhisk::{OpenWhisk, OpenWhiskWaits};
use serde_json::{Value, json};
use tokio::time::Instant;
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::{
    config, connect, connect_to, connect_with, deployment, echo, function, invocation, python,
    server,
};

const ID: &str = "44794bd6aab74415b4e42a308d880e5b";

async fn answering(answer: ResponseTemplate) -> (MockServer, OpenWhisk) {
    let server = server().await;
    Mock::given(method("POST")).respond_with(answer).mount(&server).await;
    let platform = connect_to(&server.uri()).await;
    (server, platform)
}

fn refusal(status: u16, text: &str) -> ResponseTemplate {
    ResponseTemplate::new(status)
        .insert_header("x-request-id", "tid-17")
        .set_body_json(json!({"error": text, "code": "tid-17"}))
}

fn page(status: u16) -> ResponseTemplate {
    ResponseTemplate::new(status)
        .set_body_raw("<html><title>Bad Gateway</title><hr>nginx</html>", "text/html")
}

fn with_id(answer: ResponseTemplate) -> ResponseTemplate {
    answer.insert_header("X-OpenWhisk-Activation-Id", ID)
}

fn record(status: &str, result: &Value, duration: u64) -> Value {
    json!({"activationId": ID, "namespace": "guest", "name": "function", "version": "0.0.1",
           "start": 1_700_000_000_000_u64, "end": 1_700_000_000_000 + duration, "duration": duration,
           "response": {"result": result, "status": status, "success": status == "success"}, "logs": [],
           "annotations": [{"key": "waitTime", "value": 5}, {"key": "timeout", "value": false}]})
}

async fn error_of(answer: ResponseTemplate) -> Error {
    let (_server, platform) = answering(answer).await;
    platform.invoke(&deployment(), &invocation(&json!({}))).await.unwrap_err()
}

#[tokio::test]
async fn refusals_say_what_they_are_and_whether_the_function_may_have_run() {
    use ErrorKind::*;
    let text =
        |status: u16| ResponseTemplate::new(status).set_body_string("The server was not able ..");
    for (answer, kind, retryable, may_have_run) in [
        (
            refusal(400, "The request content was malformed:\nJSON object expected"),
            InvalidInput,
            false,
            false,
        ),
        (
            refusal(400, "The 'k' runtime is no longer supported. You may ..."),
            Unsupported,
            false,
            false,
        ),
        (refusal(401, "The supplied authentication is invalid"), Unauthorized, false, false),
        (refusal(403, "not authorized to access 'ns/act'."), Forbidden, false, false),
        (refusal(404, "The requested resource does not exist."), NotFound, false, false),
        (
            refusal(409, "Resource by this name exists but is not in this collection."),
            Conflict,
            false,
            false,
        ),
        (refusal(413, "Request larger than allowed: 2 > 1 bytes."), PayloadTooLarge, false, false),
        (ResponseTemplate::new(413).set_body_string("too large"), PayloadTooLarge, false, false),
        (
            refusal(429, "Too many concurrent requests in flight (count: 30, allowed: 30)."),
            Throttled,
            true,
            false,
        ),
        (refusal(429, "Too many requests"), Throttled, true, false),
        (refusal(500, "There was an internal server error."), Unavailable, true, true),
        (
            refusal(503, "The server is currently unavailable (because ...)."),
            Unavailable,
            true,
            false,
        ),
        (text(503), Timeout, true, true),
        (text(408), Timeout, true, true),
        (page(502), Unavailable, true, true),
        (page(504), Timeout, true, true),
        (page(404), Protocol, false, false),
        (page(403), Protocol, false, false),
        (
            ResponseTemplate::new(308).insert_header("location", "https://h/x?q=1"),
            InvalidInput,
            false,
            false,
        ),
        (page(200), Protocol, false, true),
    ] {
        let error = error_of(answer).await;
        let found = (error.kind(), error.is_retryable(), error.may_have_run());
        assert_eq!(found, (kind, retryable, may_have_run), "{error}");
        assert_eq!(error.platform(), Some("openwhisk"));
        assert_eq!((error.operation(), error.function()), (Some("invoke"), Some("function")));
        assert!(!error.to_string().contains('\n') && !error.to_string().contains("q=1"), "{error}");
    }
}

#[tokio::test]
async fn a_gateway_that_reaches_no_controller_is_an_outage_and_a_controller_in_trouble_is_not() {
    let late = "The server was not able to produce a timely response to your request.";
    for (answer, unreachable) in [
        (page(502), true),
        (page(503), true),
        (page(504), true),
        (ResponseTemplate::new(503).set_body_string(late), false),
        (refusal(503, "The server is currently unavailable."), false),
        (page(500), false),
    ] {
        let error = error_of(answer).await;
        assert_eq!(error.is_unreachable(), unreachable, "{error}");
    }
}

#[tokio::test]
async fn a_refusal_keeps_the_request_id_and_a_page_its_words() {
    assert_eq!(error_of(refusal(400, "no")).await.request_id(), Some("tid-17"));
    // Old servers have numbers, and no header.
    let old =
        ResponseTemplate::new(500).set_body_json(json!({"error": "internal", "code": 173_953}));
    assert_eq!(error_of(old).await.request_id(), Some("173953"));
    let error = error_of(page(502)).await;
    assert!(error.message().contains("Bad Gateway nginx"), "{error}");
}

#[tokio::test]
async fn the_rate_limit_suggests_the_next_minute_of_the_servers_clock() {
    let rate = "Too many requests in the last minute (count: 61, allowed: 60).";
    let answer = refusal(429, rate).insert_header("date", "Tue, 24 Nov 2026 10:00:48 GMT");
    assert_eq!(error_of(answer).await.retry_after(), Some(Duration::from_secs(12)));
    let gateway = refusal(429, rate).insert_header("retry-after", "3");
    assert_eq!(error_of(gateway).await.retry_after(), Some(Duration::from_secs(3)));
    let error = error_of(refusal(429, "Too many concurrent requests in flight (count: 30)")).await;
    assert_eq!(error.retry_after(), None);
}

#[tokio::test]
async fn outcomes_of_the_function_are_activations() {
    let error = json!({"error": "boom"});
    for (http, status, kind) in [
        (502, "application error", FunctionErrorKind::Raised),
        (502, "action developer error", FunctionErrorKind::Unspecified),
    ] {
        let answer = ResponseTemplate::new(http).set_body_json(record(status, &error, 7));
        let (_server, platform) = answering(with_id(answer)).await;
        let activation = platform.invoke(&deployment(), &invocation(&json!({}))).await.unwrap();
        assert_eq!(activation.id, ID);
        assert_eq!(activation.outcome.unwrap_err().kind, kind);
        assert_eq!(activation.execution, Some(Duration::from_millis(7)));
    }
    let ok = ResponseTemplate::new(200)
        .insert_header("x-request-id", "tid-9")
        .set_body_json(record("success", &json!({"code": 1, "error_free": true}), 7));
    let (_server, platform) = answering(with_id(ok)).await;
    let activation = platform.invoke(&deployment(), &invocation(&json!({}))).await.unwrap();
    assert_eq!(activation.outcome.unwrap().as_str(), r#"{"code":1,"error_free":true}"#);
    assert_eq!(activation.request_id.as_deref(), Some("tid-9"));
}

#[tokio::test]
async fn a_bare_array_is_a_bad_result_of_the_activation_that_the_header_names() {
    let (_server, platform) =
        answering(with_id(ResponseTemplate::new(200).set_body_json(json!([1, 2])))).await;
    let activation = platform.invoke(&deployment(), &invocation(&json!({}))).await.unwrap();
    assert_eq!(activation.id, ID);
    assert_eq!(activation.outcome.unwrap_err().kind, FunctionErrorKind::BadResult);
}

#[tokio::test]
async fn an_array_that_looks_like_a_record_an_error_or_an_acceptance_is_still_an_array() {
    let other_id = ID.replace('4', "5");
    let like_a_record = json!([other_id, 5, 6, 7, "0.0.1", {"result": {}, "success": true, "status": "success"}, []]);
    for array in
        [json!(["x", 5]), like_a_record, json!([["x", "y", "z"]]), json!([{"error": "no"}])]
    {
        for status in [200, 502] {
            let answer = ResponseTemplate::new(status).set_body_json(&array);
            let (_server, platform) = answering(with_id(answer)).await;
            let activation = platform.invoke(&deployment(), &invocation(&json!({}))).await.unwrap();
            assert_eq!(activation.id, ID, "{array}");
            assert_eq!(activation.outcome.unwrap_err().kind, FunctionErrorKind::BadResult);
        }
    }
    // An error that is an array is a text, and not the fields of an exception.
    let failed = record("application error", &json!({"error": ["a", "b", "c"]}), 1);
    let (_server, platform) =
        answering(with_id(ResponseTemplate::new(502).set_body_json(failed))).await;
    let activation = platform.invoke(&deployment(), &invocation(&json!({}))).await.unwrap();
    let error = activation.outcome.unwrap_err();
    assert_eq!((error.message.as_str(), error.error_type), (r#"["a","b","c"]"#, None));
    // Without the header there is no activation to name.
    let error = error_of(ResponseTemplate::new(202).set_body_json(json!([ID]))).await;
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Protocol, true), "{error}");
}

#[tokio::test]
async fn refusals_of_the_server_are_distinguished_from_those_of_proxies() {
    let text = |status: u16, text: &str| ResponseTemplate::new(status).set_body_string(text);
    for (answer, kind) in [
        (text(400, "Request too large"), ErrorKind::PayloadTooLarge),
        (text(413, "Request too large"), ErrorKind::PayloadTooLarge),
        (text(414, "URI length exceeds the configured limit"), ErrorKind::InvalidInput),
        (text(431, "HTTP header value exceeds the limit"), ErrorKind::InvalidInput),
        (refusal(404, "The requested resource could not be found."), ErrorKind::Unsupported),
        (
            refusal(405, "HTTP method not allowed, supported methods: OPTIONS"),
            ErrorKind::InvalidInput,
        ),
    ] {
        let error = error_of(answer).await;
        let seen = (error.kind(), error.is_retryable(), error.may_have_run());
        assert_eq!(seen, (kind, false, false), "{error}");
        assert!(!error.message().contains("not from OpenWhisk"), "{error}");
    }
}

#[tokio::test]
async fn an_api_host_with_a_wrong_path_is_named_while_connecting() {
    let fake = FakeOpenWhisk::with(echo());
    for url in [format!("{}/foo", fake.url()), format!("{}/api/v1", fake.url())] {
        let error = OpenWhisk::connect(config(&url).build().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.hint().unwrap().contains("APIHOST"), "{error}");
        assert!(!error.to_string().contains("not from OpenWhisk"), "{error}");
    }
    let other_version = fake.config().api_version("v2").build().unwrap();
    let error = OpenWhisk::connect(other_version).await.unwrap_err();
    assert!(error.hint().unwrap().contains("APIVERSION"), "{error}");
}

#[tokio::test]
async fn a_function_that_broke_its_container_is_waited_for_longer_than_its_timeout() {
    let source = "import time\ndef main(args):\n    time.sleep(60)\n";
    let settings = FakeSettings {
        broken_lag: Duration::from_secs(3),
        blocking_wait: Duration::from_millis(20),
        ..FakeSettings::default()
    };
    let (_fake, platform) = connect_with(settings, |config| {
        config.waits(OpenWhiskWaits::default().with_follow_grace(Duration::from_secs(15)))
    })
    .await;
    let function = function("python:3", source)
        .with_scaling(Scaling::default().with_timeout(Duration::from_millis(500)));
    let deployment = platform.deploy(&function).await.unwrap();
    let activation = platform.invoke(&deployment, &invocation(&json!({}))).await.unwrap();
    assert_eq!(activation.outcome.unwrap_err().kind, FunctionErrorKind::Timeout);
}

#[tokio::test]
async fn an_internal_error_of_whisk_is_the_platforms() {
    let failed = json!({"error": "Failed to provision resources to run the action."});
    for (duration, may_have_run) in [(0, false), (70, true)] {
        let answer = ResponseTemplate::new(500).set_body_json(record(
            "whisk internal error",
            &failed,
            duration,
        ));
        let error = error_of(with_id(answer)).await;
        let found = (error.kind(), error.is_retryable(), error.may_have_run());
        assert_eq!(found, (ErrorKind::Unavailable, true, may_have_run), "{error}");
        assert!(error.message().contains("provision"), "{error}");
    }
}

#[tokio::test]
async fn a_call_that_the_server_does_not_wait_for_is_followed_until_its_record_is_there() {
    let settings = FakeSettings {
        blocking_wait: Duration::from_millis(30),
        record_lag: Duration::from_millis(150),
        ..echo()
    };
    let (fake, platform) = connect(settings).await;
    let deployment = platform.deploy(&python()).await.unwrap();
    let argument = json!({"sleep_ms": 200, "n": 1});
    let activation = platform.invoke(&deployment, &invocation(&argument)).await.unwrap();
    assert_eq!(activation.outcome.unwrap().parse::<Value>().unwrap(), argument);
    assert_eq!(fake.activations(), 1);
}

#[tokio::test]
async fn a_record_that_never_appears_leaves_doubt_once_limits_and_grace_are_over() {
    let settings =
        FakeSettings { blocking_wait: Duration::from_millis(10), loses_every: Some(1), ..echo() };
    let (_fake, platform) = connect_with(settings, |config| {
        config.waits(OpenWhiskWaits::default().with_follow_grace(Duration::from_millis(300)))
    })
    .await;
    let function =
        python().with_scaling(Scaling::default().with_timeout(Duration::from_millis(150)));
    let deployment = platform.deploy(&function).await.unwrap();
    let begun = Instant::now();
    let error =
        platform.invoke(&deployment, &invocation(&json!({"sleep_ms": 50}))).await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Lost, true), "{error}");
    assert!(error.request_id().is_some_and(|id| id.len() == 32), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_refusal_that_comes_after_acceptance_is_an_error_of_the_platform() {
    let mut late = record(
        "action developer error",
        &json!({"error": "Too many concurrent requests in flight."}),
        0,
    );
    late["annotations"] = json!([]);
    let error = error_of(with_id(ResponseTemplate::new(502).set_body_json(late.clone()))).await;
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Throttled, false), "{error}");

    let accepted = ResponseTemplate::new(202).set_body_json(json!({"activationId": ID}));
    let (server, platform) = answering(accepted).await;
    Mock::given(method("GET"))
        .and(path_regex("/activations$"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!([late])))
        .mount(&server)
        .await;
    let deployment = deployment();
    let pending = platform.submit(&deployment, &invocation(&json!({}))).await.unwrap();
    let collected = platform.collect(&deployment, &[pending]).await.unwrap();
    assert!(collected.finished.is_empty());
    let (id, error) = &collected.gone[0];
    assert_eq!(id.as_str(), ID);
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Throttled, false), "{error}");
    assert_eq!((error.operation(), error.request_id()), (Some("collect"), Some(ID)));
}

#[tokio::test]
async fn an_acceptance_without_an_id_may_have_run() {
    let (_server, platform) =
        answering(ResponseTemplate::new(202).set_body_json(json!({"activationId": "short"}))).await;
    let error = platform.submit(&deployment(), &invocation(&json!({}))).await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Protocol, true));
}

#[tokio::test]
async fn connecting_says_what_is_wrong_with_the_key() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .respond_with(refusal(401, "The supplied authentication is invalid"))
        .mount(&server)
        .await;
    let config = crate::support::config(&server.uri()).build().unwrap();
    let error = OpenWhisk::connect(config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(error.hint().unwrap().contains("WHISK_AUTH"), "{error}");
}
