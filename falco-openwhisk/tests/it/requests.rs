//! Tests of requests: method, path, query, headers, body.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use falco_core::{AsyncPlatform, Deployable, ErrorKind, Ownership, Platform, RateLimit, Scaling};
use falco_fakes::http::Request;
use falco_fakes::openwhisk::{FakeOpenWhisk, FakeSettings};
use falco_package::Archive;
use serde_json::{Value, json};
use wiremock::matchers::{method, path, query_param};
use wiremock::{Mock, ResponseTemplate};

use crate::support::{
    config, connect, connect_to, connect_with, echo, function, invocation, python, server,
};

fn last(fake: &FakeOpenWhisk) -> Request {
    fake.requests().pop().unwrap()
}

fn line(request: &Request) -> String {
    format!("{} {}", request.method, request.target)
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

#[tokio::test]
async fn deploy_puts_the_whole_action_over_what_is_there() {
    let (fake, platform) = connect_with(echo(), |config| config.plain_code(true)).await;
    let source = "def hello(args): return args";
    let hello = function("python:3", source)
        .with_entry_point("hello")
        .with_env("GREETING", "Hallo")
        .with_scaling(Scaling::default().with_memory_mib(128).with_timeout(Duration::from_secs(5)))
        .with_ownership(Ownership::new(
            "run-1",
            "ada@workstation",
            UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_001),
        ));
    let deployment = platform.deploy(&hello).await.unwrap();
    let request = last(&fake);
    assert_eq!(line(&request), "PUT /api/v1/namespaces/_/actions/function?overwrite=true");
    let mut sent = body(&request);
    let marks = sent["annotations"][0]["value"].as_object_mut().unwrap();
    let content = marks.remove("content").unwrap();
    assert_eq!(content.as_str().map(str::len), Some(32), "a hash, and nothing to guess from");
    assert_eq!(
        sent,
        json!({
            "exec": {"kind": "python:3.10", "code": source, "main": "hello"},
            "limits": {"timeout": 5000, "memory": 128},
            "parameters": [{"key": "GREETING", "value": "Hallo", "init": true}],
            "annotations": [{"key": "falco", "value": {"runtime": "python:3", "ownership": {
                "run": "run-1", "owner": "ada@workstation", "expires_at": 1_700_000_000_000_001_u64}}}],
        })
    );
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(deployment.id, "/guest/function");
    assert_eq!(deployment.runtime.to_string(), "python:3");
    assert_eq!(deployment.attribute("kind"), Some("python:3.10"));
    assert_eq!(deployment.ownership, hello.ownership);
    assert_eq!(deployment.scaling.timeout, Some(Duration::from_secs(5)));
}

#[tokio::test]
async fn source_is_sent_with_the_shim_as_the_same_zip_each_time() {
    let (fake, platform) = connect(echo()).await;
    let hello = function("python:3", "def hello(args): return args").with_entry_point("hello");
    let mut sent = Vec::new();
    for name in ["one", "two"] {
        platform.deploy(&hello.clone().with_name(name)).await.unwrap();
        sent.push(body(&last(&fake))["exec"].clone());
    }
    assert_eq!(sent[0], sent[1]);
    assert_eq!(sent[0]["main"], "main");
    let zip = BASE64.decode(sent[0]["code"].as_str().unwrap()).unwrap();
    let archive = Archive::from_zip(&zip).unwrap();
    let paths: Vec<_> = archive.paths().collect();
    assert_eq!(paths, ["__main__.py", "falco_shim.py", "function/main__.py"]);
}

#[tokio::test]
async fn an_image_is_sent_as_a_blackbox_with_the_code_or_without() {
    let (fake, platform) = connect(FakeSettings::default()).await;
    let source = Deployable::python("f", "def main(args): return args").with_image("me/python:1");
    platform.deploy(&source).await.unwrap();
    let exec = body(&last(&fake))["exec"].clone();
    assert_eq!((&exec["kind"], &exec["image"]), (&json!("blackbox"), &json!("me/python:1")));
    assert!(exec["code"].as_str().is_some_and(|code| !code.is_empty()), "{exec}");

    let image = Deployable::from_image("g", "me/own:2").with_entry_point("start");
    let deployment = platform.deploy(&image).await.unwrap();
    let exec = body(&last(&fake))["exec"].clone();
    assert_eq!(exec, json!({"kind": "blackbox", "image": "me/own:2", "main": "start"}));
    let found = platform.fetch_deployment("g").await.unwrap();
    assert_eq!((&found.runtime, &found.attributes), (&deployment.runtime, &deployment.attributes));
    assert!(platform.capabilities().images);
}

#[tokio::test]
async fn an_environment_that_is_gone_is_gone_from_the_action_too() {
    let (fake, platform) = connect(echo()).await;
    platform.deploy(&python().with_env("OLD", "x")).await.unwrap();
    platform.deploy(&python()).await.unwrap();
    assert_eq!(fake.action("function").unwrap()["parameters"], json!([]));
}

#[tokio::test]
async fn every_request_says_who_asks_and_with_which_key() {
    let (fake, platform) = connect(echo()).await;
    let deployment = platform.deploy(&python()).await.unwrap();
    let pending = platform.submit(&deployment, &invocation(&json!({}))).await.unwrap();
    platform.collect(&deployment, &[pending]).await.unwrap();
    platform.list_deployments().await.unwrap();
    platform.remove(&deployment).await.unwrap();
    let requests = fake.requests();
    assert!(requests.len() >= 6);
    for request in requests {
        let agent = concat!("falco-openwhisk/", env!("CARGO_PKG_VERSION"));
        assert_eq!(request.headers["user-agent"], agent, "{}", line(&request));
        // The description of the server needs no key, and may be served by something before it.
        assert_eq!(request.headers.contains_key("authorization"), request.path != "/");
    }
}

#[tokio::test]
async fn invoke_and_submit_send_the_argument_as_it_is() {
    let (fake, platform) = connect(echo()).await;
    let deployment = platform.deploy(&python()).await.unwrap();
    let argument = json!({"z": 1, "a": "ä"});
    platform.invoke(&deployment, &invocation(&argument)).await.unwrap();
    let invoke = last(&fake);
    platform.submit(&deployment, &invocation(&argument)).await.unwrap();
    let submit = last(&fake);
    let action = "POST /api/v1/namespaces/guest/actions/function";
    assert_eq!(line(&invoke), format!("{action}?blocking=true&result=false"));
    assert_eq!(line(&submit), format!("{action}?blocking=false&result=false"));
    for request in [invoke, submit] {
        assert_eq!(body(&request), argument);
        assert_eq!(request.headers["content-type"], "application/json");
    }
}

#[tokio::test]
async fn scale_sends_limits_and_nothing_else() {
    let (fake, platform) = connect(echo()).await;
    let deployment = platform.deploy(&python().with_env("K", "v")).await.unwrap();
    let before = fake.action("function").unwrap();
    let larger = Scaling::default().with_memory_mib(512);
    let scaled = platform.scale(&deployment, &larger).await.unwrap();
    let request = last(&fake);
    assert_eq!(line(&request), "PUT /api/v1/namespaces/guest/actions/function?overwrite=true");
    assert_eq!(body(&request), json!({"limits": {"memory": 512}}));
    assert_eq!(scaled.scaling.memory_mib, Some(512));
    let after = fake.action("function").unwrap();
    for kept in ["exec", "parameters", "annotations"] {
        assert_eq!(after[kept], before[kept]);
    }
    platform.remove(&deployment).await.unwrap();
    let error = platform.scale(&deployment, &larger).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn names_are_encoded_and_find_their_namespace_and_package() {
    let server = server().await;
    let platform = connect_to(&server.uri()).await;
    for (name, expected) in [
        ("f", "/api/v1/namespaces/_/actions/f"),
        ("p/f", "/api/v1/namespaces/_/actions/p/f"),
        ("/n@h.org/f", "/api/v1/namespaces/n@h.org/actions/f"),
        ("n/my pkg/a & b", "/api/v1/namespaces/n/actions/my%20pkg/a%20&%20b"),
    ] {
        platform.fetch_deployment(name).await.unwrap_err();
        let request = server.received_requests().await.unwrap().pop().unwrap();
        assert_eq!((request.url.path(), request.url.query()), (expected, Some("code=false")));
    }
    let before = server.received_requests().await.unwrap().len();
    let error = platform.fetch_deployment("../secrets").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(server.received_requests().await.unwrap().len(), before);
}

#[tokio::test]
async fn a_packaged_action_is_found_with_its_package() {
    let server = server().await;
    let action = json!({"namespace": "guest/pkg", "name": "f", "version": "0.0.3", "limits": {},
                        "annotations": [{"key": "exec", "value": "nodejs:20"}]});
    Mock::given(method("GET"))
        .and(path("/api/v1/namespaces/_/actions/pkg/f"))
        .respond_with(ResponseTemplate::new(200).set_body_json(action))
        .mount(&server)
        .await;
    let platform = connect_to(&server.uri()).await;
    let deployment = platform.fetch_deployment("pkg/f").await.unwrap();
    assert_eq!((deployment.id.as_str(), deployment.name.as_str()), ("/guest/pkg/f", "pkg/f"));
    assert_eq!(deployment.runtime.to_string(), "nodejs:20");
    assert_eq!(deployment.attribute("version"), Some("0.0.3"));
}

#[tokio::test]
async fn all_pages_of_actions_are_read_and_only_ours_are_listed() {
    let server = server().await;
    let action = |n: usize| {
        let ours = json!({"key": "falco", "value": {"runtime": "python:3"}});
        let annotations = if n.is_multiple_of(2) { json!([ours]) } else { json!([]) };
        json!({"namespace": "guest", "name": format!("f{n}"), "annotations": annotations})
    };
    for (skip, range) in [("0", 0..200), ("200", 200..250)] {
        Mock::given(method("GET"))
            .and(path("/api/v1/namespaces/_/actions"))
            .and(query_param("limit", "200"))
            .and(query_param("skip", skip))
            .respond_with(
                ResponseTemplate::new(200).set_body_json(range.map(action).collect::<Vec<_>>()),
            )
            .expect(1)
            .mount(&server)
            .await;
    }
    let platform = connect_to(&server.uri()).await;
    assert_eq!(platform.list_deployments().await.unwrap().len(), 125);
}

#[tokio::test]
async fn a_change_that_met_another_is_repeated() {
    let server = server().await;
    let conflict = ResponseTemplate::new(409).set_body_json(
        json!({"error": "Concurrent modification to resource detected.", "code": 1}),
    );
    let put = || Mock::given(method("PUT"));
    put().respond_with(conflict).up_to_n_times(2).expect(2).mount(&server).await;
    // A server may be set up to answer with nothing.
    put().respond_with(ResponseTemplate::new(200)).expect(1).mount(&server).await;
    let platform = connect_to(&server.uri()).await;
    let deployment = platform.deploy(&python()).await.unwrap();
    assert_eq!((deployment.name.as_str(), deployment.id.as_str()), ("function", "function"));
}

#[tokio::test]
async fn many_changes_of_one_action_at_once_all_end_well() {
    let (fake, first) = connect(echo()).await;
    let second = connect_to(fake.url()).await;
    let deploys = (0..12).map(|n| {
        let platform = if n % 2 == 0 { &first } else { &second };
        async move { platform.deploy(&python().with_env("N", n.to_string())).await }
    });
    let deployed = futures_util::future::try_join_all(deploys).await.unwrap();
    let puts = fake.count_requests(|request| request.method == "PUT");
    assert!(puts > 12, "none of the changes met another");
    let deployment = &deployed[0];
    let redeploys = (0..4).map(|_| async { first.deploy(&python()).await.map(drop) });
    let (redeployed, removed) =
        tokio::join!(futures_util::future::try_join_all(redeploys), second.remove(deployment));
    redeployed.unwrap();
    removed.unwrap();
    let other = |n: usize| function("python:3", "x = 1").with_entry_point(format!("f{n}"));
    let many = (0..40).map(|n| {
        let mut function = other(n);
        function.name = format!("function-{n}");
        let platform = &first;
        async move { platform.deploy(&function).await }
    });
    futures_util::future::try_join_all(many).await.unwrap();
}

#[tokio::test]
async fn payloads_and_parameters_have_limits_of_their_own() {
    let (_fake, platform) = connect(FakeSettings { max_payload: Some(2 << 20), ..echo() }).await;
    let capabilities = platform.capabilities();
    assert_eq!((capabilities.max_payload, capabilities.max_result), (Some(2 << 20), Some(2 << 20)));
    let deployment = platform.deploy(&python()).await.unwrap();
    let large = invocation(&json!({"text": "x".repeat(3 << 19)}));
    platform.invoke(&deployment, &large).await.unwrap();
    let error =
        platform.deploy(&python().with_env("LARGE", "x".repeat(1 << 20))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PayloadTooLarge, "{error}");
}

#[tokio::test]
async fn limits_of_the_namespace_are_the_capabilities() {
    let settings =
        FakeSettings { invocations_per_minute: 60, concurrent_invocations: 30, ..echo() };
    let (_fake, platform) = connect(settings).await;
    let capabilities = platform.capabilities();
    let minute = Duration::from_secs(60);
    assert_eq!(capabilities.rate, Some(RateLimit::new(60, minute)));
    assert_eq!(capabilities.concurrency, Some(30));
    assert_eq!(capabilities.max_payload, Some(1 << 20));
    let timeout = capabilities.timeout.unwrap();
    assert_eq!((timeout.min, timeout.max), (Duration::from_millis(100), Duration::from_secs(300)));
    for runtime in ["python:3", "python:3.11", "nodejs:20", "native"] {
        assert!(capabilities.runtimes.contains(&runtime.to_owned()), "{:?}", capabilities.runtimes);
    }
}

#[tokio::test]
async fn what_the_server_would_refuse_is_refused_before_it_is_sent() {
    let (fake, platform) = connect_with(echo(), |config| config.plain_code(true)).await;
    fake.forget_requests();
    let scaled = |scaling| python().with_scaling(scaling);
    let none = Scaling::default;
    let large = "x = 1\n".repeat((48 << 20) / 6 + 1);
    let escaped = format!("x = 1{}", "\n".repeat(40 << 20));
    let cases: Vec<(Deployable, ErrorKind, &str)> = vec![
        (scaled(none().with_memory_mib(64)), ErrorKind::InvalidInput, "128 to 512"),
        (scaled(none().with_timeout(Duration::from_secs(301))), ErrorKind::InvalidInput, "timeout"),
        (scaled(none().with_concurrency(2)), ErrorKind::InvalidInput, "concurrency"),
        (scaled(none().with_cpus(2.0)), ErrorKind::Unsupported, "memory"),
        (scaled(none().with_min_instances(1)), ErrorKind::Unsupported, "min_instances"),
        (function("ruby:2.5", "x"), ErrorKind::Unsupported, "python:3.11"),
        (function("python:3", &large), ErrorKind::PayloadTooLarge, "50331648"),
        // Under the limit of code, and over that of requests once its line breaks are escaped.
        (function("python:3", &escaped), ErrorKind::PayloadTooLarge, "52428800"),
        (
            python().with_env("LARGE", "x".repeat(1 << 20)),
            ErrorKind::PayloadTooLarge,
            "environment",
        ),
    ];
    for (function, kind, says) in cases {
        let error = platform.deploy(&function).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!((error.platform(), error.operation()), (Some("openwhisk"), Some("deploy")));
    }
    // Whether the same is there already may have been asked.
    assert!(fake.requests().iter().all(|request| request.method == "GET"));
}

#[tokio::test]
async fn a_deployment_of_another_platform_is_refused() {
    let (_fake, platform) = connect(echo()).await;
    let mut foreign = platform.deploy(&python()).await.unwrap();
    foreign.platform = "local".into();
    let error = platform.invoke(&foreign, &invocation(&json!({}))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_log_limit_and_a_namespace_of_the_configuration_are_used() {
    let server = server().await;
    Mock::given(path("/api/v1/namespaces/team/limits"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({})))
        .mount(&server)
        .await;
    Mock::given(method("PUT"))
        .and(path("/api/v1/namespaces/team/actions/function"))
        .respond_with(ResponseTemplate::new(200))
        .mount(&server)
        .await;
    let config = config(&server.uri()).namespace("team").log_limit_mib(0).build().unwrap();
    let platform = falco_openwhisk::OpenWhisk::connect(config).await.unwrap();
    platform.deploy(&python()).await.unwrap();
    let sent = server.received_requests().await.unwrap().pop().unwrap();
    assert_eq!(sent.body_json::<Value>().unwrap()["limits"], json!({"logs": 0}));
}
