//! Peers that break off, stall or refuse: each invocation ends in one completion, says what is known of it, and what
//! may have run is not sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use falco_aws::{AwsConfig, AwsLambda, AwsWaits, Service};
use falco_core::{
    AsyncPlatform, Deployment, Error, ErrorKind, Invocation, Outcome, Payload, Platform, Scaling,
};
use falco_core::{ExecutionStrategy, Target};
use falco_executors::{AsyncExecutor, ExecutionOptions, OnFailure, ParallelExecutor};
use falco_fakes::aws::{FAKE_ACCESS_KEY, FAKE_SECRET, FakeSettings};
use falco_fakes::http::{Fault, Reply, Request};
use falco_http::ClientConfig;
use falco_testkit::{RawPeer, Script};
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use serde_json::json;

use crate::support::{Aws, collect, echo, echoing, invocation, submit};

/// A platform that speaks to `peer` for Lambda, and to nobody else.
async fn against(peer: &RawPeer, aws: &Aws, patience: Duration) -> AwsLambda {
    let config = AwsConfig::builder()
        .region("eu-central-1")
        .static_credentials(FAKE_ACCESS_KEY, FAKE_SECRET, None)
        .endpoint_for_all(aws.fake.url())
        .http(ClientConfig::new("falco-aws/test").with_plain_http_only(true))
        .waits(AwsWaits::default().with_invoke_margin(patience));
    AwsLambda::connect(config.endpoint(Service::Lambda, peer.url()).build().unwrap()).await.unwrap()
}

/// The limits of the account, which a platform reads when it connects; then what is to be tried.
async fn peer(script: Script) -> RawPeer {
    RawPeer::start([Script::json("200 OK", r#"{"AccountLimit":{}}"#), script]).await.unwrap()
}

fn deployment() -> Deployment {
    let runtime = "python:3".parse().unwrap();
    Deployment::new("f", runtime)
        .with_platform("aws")
        .with_id("arn:aws:lambda:eu-central-1:123456789012:function:f")
        .with_scaling(Scaling::default().with_timeout(Duration::from_millis(1)))
}

/// For a peer that answers, or breaks off.
const LONG: Duration = Duration::from_secs(30);

/// For a peer that does neither.
const SHORT: Duration = Duration::from_secs(2);

async fn invoke_against(script: Script, patience: Duration) -> (Error, usize) {
    let aws = Aws::with(echoing()).await;
    let peer = peer(script).await;
    let platform = against(&peer, &aws, patience).await;
    let error = platform.invoke(&deployment(), &invocation(json!({}))).await.unwrap_err();
    (error, peer.requests().len() - 1)
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_open_whether_the_function_ran_and_is_not_tried_again() {
    let cases = [
        ("reset", Script::reset_after_reading(), LONG),
        ("closed", Script::close_after_reading(), LONG),
        ("never answered", Script::never_answer(), SHORT),
        ("half a status line", Script::half_a_status_line(), SHORT),
        ("stalled", Script::headers_then_stall(), SHORT),
        ("truncated", Script::truncated_body(), LONG),
        ("garbage", Script::garbage(), LONG),
    ];
    let checks = cases.map(|(what, script, patience)| async move {
        let (error, requests) = invoke_against(script, patience).await;
        assert!(error.may_have_run(), "{what}: {error:?}");
        assert_eq!(requests, 1, "{what}");
        assert_eq!((error.platform(), error.operation()), (Some("aws"), Some("invoke")), "{what}");
    });
    join_all(checks).await;
}

#[tokio::test]
async fn a_submission_whose_answer_is_lost_may_have_been_taken_and_is_not_sent_again() {
    for (what, script) in [
        ("reset", Script::reset_after_reading()),
        ("closed", Script::close_after_reading()),
        ("truncated", Script::half_a_status_line()),
        ("garbage", Script::garbage()),
    ] {
        let aws = Aws::with(echoing()).await;
        let answers = |body: &str| Script::json("200 OK", body);
        let scripts = [answers(r#"{"AccountLimit":{}}"#), answers("{}"), script];
        let peer = RawPeer::start(scripts).await.unwrap();
        let platform = against(&peer, &aws, LONG).await;
        let error = platform.submit(&deployment(), &invocation(json!({}))).await.unwrap_err();
        assert!(error.may_have_run(), "{what}: {error:?}");
        assert_eq!((error.platform(), error.operation()), (Some("aws"), Some("submit")), "{what}");
        let requests = peer.requests();
        assert_eq!(requests.len(), 3, "{what}: {requests:?}");
        assert!(requests[2].contains("/invocations"), "{what}: {requests:?}");
    }
}

#[tokio::test]
async fn a_collect_that_breaks_off_has_learned_nothing_and_the_next_one_reports() {
    let aws = Aws::with(echoing()).await;
    let deployment = aws.deploy(&echo("f")).await;
    let pending = [aws.platform.submit(&deployment, &invocation(json!({"n": 1}))).await.unwrap()];
    for script in [Script::reset_after_reading(), Script::truncated_body(), Script::garbage()] {
        let peer = RawPeer::start([script]).await.unwrap();
        let config = aws.fake.config().endpoint(Service::Sqs, peer.url()).build().unwrap();
        let elsewhere = AwsLambda::connect(config).await.unwrap();
        let error = elsewhere.collect(&deployment, &pending).await.unwrap_err();
        assert_eq!(error.operation(), Some("collect"), "{error}");
    }
    // Nor does a failed poll hide what is there.
    for reply in [Reply::new(503, ""), Reply::new(200, "{\"Messages\":[{")] {
        aws.fake.script("ReceiveMessage", reply);
        aws.platform.collect(&deployment, &pending).await.unwrap_err();
    }
    let found = crate::support::collect(&aws, &deployment, &pending).await;
    assert_eq!(found[0].outcome.as_ref().unwrap().as_str(), r#"{"n":1}"#);
}

#[tokio::test]
async fn a_submission_whose_answer_breaks_off_is_worth_another_try_and_leaves_doubt() {
    let aws = Aws::with(echoing()).await;
    let [limits, configured] =
        [r#"{"AccountLimit":{}}"#, "{}"].map(|body| Script::json("200 OK", body));
    let peer = RawPeer::start([limits, configured, Script::truncated_body()]).await.unwrap();
    let platform = against(&peer, &aws, LONG).await;
    let error = platform.submit(&deployment(), &invocation(json!({}))).await.unwrap_err();
    let found = (error.kind(), error.is_retryable(), error.may_have_run());
    assert_eq!(found, (ErrorKind::Unavailable, true, true), "{error}");
}

#[tokio::test]
async fn a_result_whose_delivery_was_cut_comes_again_within_seconds() {
    let aws = Aws::with(echoing()).await;
    let waits = AwsWaits::default()
        .with_state_interval(Duration::from_millis(5))
        .with_role_interval(Duration::from_millis(5));
    assert!(waits.queue_visibility <= Duration::from_secs(10), "{waits:?}");
    let waits = waits.with_queue_visibility(Duration::from_secs(1));
    let platform = AwsLambda::connect(aws.fake.config().waits(waits).build().unwrap()).await;
    let aws = Aws { platform: Arc::new(platform.unwrap()), ..aws };
    let deployment = aws.deploy(&echo("f")).await;
    let pending = [submit(&aws, &deployment, json!({"n": 1})).await];
    let cuts = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&cuts);
    let cut = move |request: &Request, reply: Reply| {
        let has_record = request.operation == "ReceiveMessage" && reply.body.len() > 2;
        match has_record && seen.fetch_add(1, Ordering::Relaxed) == 0 {
            true => Reply::new(200, "{\"Messages\":[{"),
            false => reply,
        }
    };
    aws.fake.inject(Fault::change("", cut));
    while cuts.load(Ordering::Relaxed) == 0 {
        let _ = aws.platform.collect(&deployment, &pending).await;
    }
    let found = tokio::time::timeout(LONG, collect(&aws, &deployment, &pending)).await.unwrap();
    assert_eq!(found[0].outcome.as_ref().unwrap().as_str(), r#"{"n":1}"#);
}

#[tokio::test]
async fn a_collect_that_leaves_polling_to_others_says_so() {
    let aws = Aws::with(echoing()).await;
    let waits = AwsWaits::default()
        .with_state_interval(Duration::from_millis(5))
        .with_role_interval(Duration::from_millis(5))
        .with_queue_poll(Duration::from_millis(20))
        .with_queue_pollers(1);
    let config = aws.fake.config().waits(waits);
    let platform = AwsLambda::connect(config.build().unwrap()).await.unwrap();
    let deployment = platform.deploy(&echo("f")).await.unwrap();
    platform.submit(&deployment, &invocation(json!({}))).await.unwrap();
    // No record of it comes.
    let pending = [falco_core::Pending::new("unknown", std::time::SystemTime::now())];
    let collect = || platform.collect(&deployment, &pending);
    let (one, other) = tokio::join!(collect(), collect());
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(one.is_empty() && other.is_empty());
    assert_eq!([one.is_from_memory, other.is_from_memory], [false, true]);
}

#[tokio::test]
async fn a_gateway_that_does_not_reach_aws_is_an_outage_and_a_service_in_trouble_is_not() {
    let aws = Aws::with(echoing()).await;
    let deployment = aws.deploy(&echo("f")).await;
    let page = "<html><h1>Bad Gateway</h1></html>";
    let busy = |code| falco_fakes::aws::lambda_error(code, "ServiceException", "try again");
    for (reply, unreachable) in [
        (Reply::new(502, page), true),
        (Reply::new(503, ""), true),
        (Reply::new(504, page), true),
        (Reply::new(500, page), false),
        (busy(502), false),
        (busy(503), false),
        (falco_fakes::aws::lambda_error(502, "EC2UnexpectedException", "try again"), false),
    ] {
        aws.fake.script("Invoke", reply.clone());
        let error = aws.platform.invoke(&deployment, &invocation(json!({}))).await.unwrap_err();
        assert_eq!(error.is_unreachable(), unreachable, "invoke: {reply:?}: {error}");
        aws.fake.script("ListFunctions", reply.clone());
        let error = aws.platform.list_deployments().await.unwrap_err();
        assert_eq!(error.is_unreachable(), unreachable, "list: {reply:?}: {error}");
    }
}

#[tokio::test]
async fn the_page_of_a_proxy_reads_like_its_message() {
    let (error, _) = invoke_against(Script::proxied_html("502 Bad Gateway"), LONG).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.message().contains('<'), "{error}");
}

#[tokio::test]
async fn a_missing_server_means_that_nothing_ran() {
    let aws = Aws::with(echoing()).await;
    let address = RawPeer::nobody().await.unwrap();
    let config = aws.fake.config().endpoint(Service::Lambda, format!("http://{address}"));
    let error = AwsLambda::connect(config.build().unwrap()).await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Unavailable, false));
}

#[tokio::test]
async fn each_reason_of_throttling_says_what_to_do() {
    let aws = Aws::with(echoing()).await;
    let deployment = aws.deploy(&echo("f")).await;
    for (reason, words) in [
        ("ConcurrentInvocationLimitExceeded", "account's concurrency"),
        ("ReservedFunctionConcurrentInvocationLimitExceeded", "max_instances"),
        ("FunctionInvocationRateLimitExceeded", "ten invocations a second"),
        ("CallerRateLimitExceeded", "lower the rate"),
        ("SomethingNew", "congestion control"),
    ] {
        let body = json!({"Reason": reason, "Type": "User", "message": "Rate exceeded"});
        let reply = Reply::json(429, &body)
            .with_header("x-amzn-ErrorType", "TooManyRequestsException")
            .with_header("Retry-After", "3");
        aws.fake.script("Invoke", reply);
        let error = aws.platform.invoke(&deployment, &invocation(json!({}))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Throttled);
        assert!(error.is_retryable() && !error.may_have_run());
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
        assert!(error.hint().unwrap().contains(words), "{error}");
        assert!(error.message().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn milliseconds_of_amazons_own_header_are_understood() {
    let aws = Aws::with(echoing()).await;
    let reply = falco_fakes::aws::lambda_error(429, "TooManyRequestsException", "slow down")
        .with_header("x-amz-retry-after", "1500");
    aws.fake.script("ListFunctions", reply);
    let error = aws.platform.list_deployments().await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_millis(1500)));
}

#[tokio::test]
async fn expired_credentials_are_replaced_once_and_then_reported() {
    let aws = Aws::with(echoing()).await;
    let expired = falco_fakes::aws::lambda_error(403, "ExpiredTokenException", "expired");
    aws.fake.script("ListFunctions", expired.clone());
    aws.platform.list_deployments().await.unwrap();
    aws.fake.forget_requests();
    aws.fake.script("ListFunctions", expired.clone());
    aws.fake.script("ListFunctions", expired);
    let error = aws.platform.list_deployments().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert_eq!(aws.fake.requests_of("ListFunctions").len(), 2);
}

#[tokio::test]
async fn in_a_storm_of_throttling_every_invocation_ends_once_and_none_is_lost() {
    let aws = Aws::with(echoing()).await;
    let deployment = aws.deploy(&echo("f")).await;
    for n in 0..200 {
        // Every other request is refused, in the order of arrival.
        let refused =
            falco_fakes::aws::lambda_error(429, "TooManyRequestsException", "Rate exceeded");
        let lost = falco_fakes::aws::lambda_error(500, "ServiceException", "lost");
        aws.fake.script("Invoke", if n % 2 == 0 { refused } else { lost });
    }
    let inputs = (0..300).map(|n| {
        let payload = Payload::json(&json!({"n": n})).unwrap();
        Invocation::new("run", "stage", format!("i-{n}"), payload)
    });
    let platform: Arc<dyn AsyncPlatform> = aws.platform.clone();
    let target = Target::new(platform, deployment);
    let options = ExecutionOptions::default().with_on_failure(OnFailure::Continue);
    let executor = ParallelExecutor::with_concurrency(16).unwrap().with_options(options);
    let completions: Vec<_> =
        executor.execute(target, stream::iter(inputs).boxed()).collect().await;
    assert_eq!(completions.len(), 300);
    let mut ids: Vec<_> = completions.iter().map(|c| c.invocation.clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 300);
    let throttled = completions.iter().filter(|completion| match &completion.outcome {
        Outcome::PlatformFailed(error) => error.kind() == ErrorKind::Throttled,
        _ => false,
    });
    assert_eq!(throttled.count(), 100);
    assert_eq!(aws.fake.requests_of("Invoke").len(), 300, "what may have run is not sent again");
}

#[tokio::test]
async fn a_payload_over_the_limit_is_not_sent() {
    let aws = Aws::with(echoing()).await;
    let deployment = aws.deploy(&echo("f")).await;
    let long = invocation(json!({"x": "y".repeat(600_000)}));
    let error = aws.platform.submit(&deployment, &long).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
    assert!(
        aws.fake.requests_of("Invoke").is_empty() && aws.fake.requests_of("CreateQueue").is_empty()
    );
    aws.platform.invoke(&deployment, &long).await.unwrap();
}

#[tokio::test]
async fn of_submitted_invocations_each_ends_once_although_records_come_early_and_twice() {
    let settings = FakeSettings { records_come_early: true, records_come_twice: true, ..echoing() };
    let aws = Aws::with(settings).await;
    let deployment = aws.deploy(&echo("f")).await;
    let inputs: Vec<_> = (0..200)
        .map(|n| {
            let payload = Payload::json(&json!({"n": n})).unwrap();
            Invocation::new("run", "stage", format!("i-{n}"), payload)
        })
        .collect();
    let platform: Arc<dyn AsyncPlatform> = aws.platform.clone();
    let target = Target::new(platform, deployment);
    let executor = AsyncExecutor::with_window(50).unwrap();
    let completions: Vec<_> =
        executor.execute(target, stream::iter(inputs).boxed()).collect().await;
    assert_eq!(completions.len(), 200);
    for completion in &completions {
        let n = completion.invocation.as_str().strip_prefix("i-").unwrap();
        assert_eq!(completion.result().unwrap().as_str(), format!("{{\"n\":{n}}}"));
    }
    // Ten records a request, and not a request for each.
    assert!(aws.fake.requests_of("ReceiveMessage").len() < 200);
}
