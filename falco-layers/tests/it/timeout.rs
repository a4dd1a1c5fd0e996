//! Tests of calls that take too long.

use std::sync::Arc;
use std::time::Duration;

use falco_core::*;
use falco_layers::{Timeout, TimeoutPolicy};
use falco_testkit::{Fate, Fates, InMemory, Operation};
use tokio::time::Instant;

use crate::support::*;

/// A platform that never answers, except to the first `deploy`.
async fn hanging(policy: TimeoutPolicy) -> (Timeout<Arc<InMemory>>, Deployment) {
    let fates = Fates::by(|call| match call.operation {
        Operation::Deploy if call.number == 1 => Fate::Serve,
        _ => Fate::Hang,
    });
    let platform = Timeout::new(fated(fates), policy);
    let deployment = deployed(&platform).await;
    (platform, deployment)
}

#[tokio::test(start_paused = true)]
async fn an_invoke_may_take_as_long_as_its_function_and_a_margin() {
    let policy = TimeoutPolicy::default().with_margin(secs(7));
    let (platform, mut deployment) = hanging(policy).await;
    deployment.scaling.timeout = Some(secs(20));
    let began = Instant::now();
    let error = platform.invoke(&deployment, &invocation("a")).await.unwrap_err();
    assert_eq!(began.elapsed(), secs(27));
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.may_have_run() && error.is_retryable() && !error.is_unreachable());
    let text = error.to_string();
    assert!(
        text.contains("invoke f") && text.contains("27s") && text.contains("timeout"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_invoke_may_be_given_a_time_of_its_own() {
    let policy = TimeoutPolicy::default().with_invoke(secs(3));
    let (platform, deployment) = hanging(policy).await;
    let began = Instant::now();
    platform.invoke(&deployment, &invocation("a")).await.unwrap_err();
    assert_eq!(began.elapsed(), secs(3));
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_for_ever() {
    let policy = TimeoutPolicy::default().with_call(secs(5)).with_deploy(secs(9));
    let (platform, deployment) = hanging(policy).await;
    let invocation = invocation("a");
    let scaling = Scaling::default();
    let function = function();
    let calls: [(&str, Duration, BoxFuture<'_>); 8] = [
        ("submit", secs(5), Box::pin(failure(platform.submit(&deployment, &invocation)))),
        ("collect", secs(5), Box::pin(failure(platform.collect(&deployment, &[])))),
        ("activation_log", secs(5), Box::pin(failure(platform.activation_log(&deployment, &[])))),
        ("fetch_deployment", secs(5), Box::pin(failure(platform.fetch_deployment("f")))),
        ("list_deployments", secs(5), Box::pin(failure(platform.list_deployments()))),
        ("scale", secs(9), Box::pin(failure(platform.scale(&deployment, &scaling)))),
        ("deploy", secs(9), Box::pin(failure(platform.deploy(&function)))),
        ("remove", secs(9), Box::pin(failure(platform.remove(&deployment)))),
    ];
    for (operation, limit, call) in calls {
        let began = Instant::now();
        let error = call.await;
        assert_eq!(began.elapsed(), limit, "{operation}");
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Timeout, Some(operation)));
        assert_eq!(error.may_have_run(), operation == "submit", "{operation}");
        // A deployment may take that long; the others are answered at once, if anybody answers.
        assert_eq!(error.is_unreachable(), limit == secs(5), "{operation}");
    }
}

type BoxFuture<'a> = std::pin::Pin<Box<dyn Future<Output = Error> + Send + 'a>>;

async fn failure<T>(call: impl Future<Output = Result<T>>) -> Error {
    match call.await {
        Ok(_) => unreachable!("the platform hangs"),
        Err(error) => error,
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_deployment_states_no_time_the_longest_of_the_platform_counts() {
    for (stated, longest) in [(Some(secs(900)), secs(900)), (None, secs(3600))] {
        let hanging = fated(Fates::sequence([Fate::Hang]));
        hanging.configure(|settings| {
            settings.capabilities.timeout = stated.map(|max| Bounds { min: secs(1), max });
        });
        let platform = Timeout::new(hanging, TimeoutPolicy::default());
        let deployment = deployed(&platform).await;
        assert_eq!(deployment.scaling.timeout, None);
        let began = Instant::now();
        platform.invoke(&deployment, &invocation("a")).await.unwrap_err();
        assert_eq!(began.elapsed(), longest + secs(60));
    }
}
