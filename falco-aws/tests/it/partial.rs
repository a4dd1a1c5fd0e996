//! Stopped at any await between two requests of deploy, `remove` of the run leaves nothing.

use std::future::Future;
use std::sync::Arc;

use falco_core::{AsyncPlatform, Deployable, Deployment, ErrorKind, Platform, Scaling};
use falco_fakes::aws::FakeSettings;
use serde_json::json;

use crate::support::{Aws, RUN, echo, echoing, invocation, ownership};

/// A function whose deployment takes every kind of request that there is.
fn demanding() -> Deployable {
    let scaling = Scaling::default().with_max_instances(5);
    echo("f").with_scaling(scaling).with_ownership(ownership())
}

/// As the clean-up of a run does it, which knows nothing but the run's id.
async fn remove_the_run(aws: &Aws) {
    for deployment in aws.platform.list_deployments().await.unwrap() {
        assert_eq!(deployment.ownership.as_ref().unwrap().run, RUN, "{deployment:?}");
        aws.platform.remove(&deployment).await.unwrap();
    }
}

/// Stops `work` at its first request, its second, and so on, with the request taking effect or not, until it gets through.
async fn stop_everywhere<F>(start: impl AsyncFn() -> Aws, work: impl Fn(Arc<Aws>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    for takes_effect in [false, true] {
        for requests in 0.. {
            assert!(requests < 60, "it never gets through");
            let aws = Arc::new(start().await);
            aws.fake.hold_after(requests, takes_effect);
            let mut working = tokio::spawn(work(aws.clone()));
            let ended = tokio::select! {
                ended = &mut working => { ended.unwrap(); true }
                () = aws.fake.held() => false,
            };
            if !ended {
                working.abort();
                assert!(working.await.unwrap_err().is_cancelled());
            }
            aws.fake.go_on();
            remove_the_run(&aws).await;
            let left = aws.fake.leftovers();
            assert!(left.is_empty(), "stopped after {requests} requests: {left:?}");
            if ended {
                break;
            }
        }
    }
}

async fn bucketed() -> Aws {
    let fake = falco_fakes::aws::FakeAws::with(echoing());
    let limits = falco_aws::Limits::default().with_direct_upload(1000);
    let config = fake.config().bucket("uploads").limits(limits).build().unwrap();
    let platform = falco_aws::AwsLambda::connect(config).await.unwrap();
    Aws { fake, platform: Arc::new(platform) }
}

#[tokio::test]
async fn a_deployment_through_a_bucket_can_be_stopped_anywhere() {
    // The shim alone is longer than the limit set above: all of it goes through the bucket.
    stop_everywhere(bucketed, |aws| async move {
        aws.platform.deploy(&demanding()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_deployment_and_one_that_changes_all_of_it_can_be_stopped_anywhere() {
    let start = async || Aws::with(FakeSettings { role_unknown_for: 2, ..echoing() }).await;
    stop_everywhere(start, |aws| async move {
        aws.platform.deploy(&demanding()).await.unwrap();
        let other =
            Deployable::from_source("f", "nodejs:22".parse().unwrap(), "function main() {}");
        let scaling = Scaling::default().with_max_instances(6).with_memory_mib(512);
        let mut later = ownership();
        later.owner = "grace@workstation".into();
        aws.platform.deploy(&other.with_scaling(scaling).with_ownership(later)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn setting_up_the_queue_can_be_stopped_anywhere() {
    stop_everywhere(bucketed, |aws| async move {
        let deployment = aws.platform.deploy(&demanding()).await.unwrap();
        aws.platform.submit(&deployment, &invocation(json!({}))).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn removing_can_be_stopped_anywhere_and_called_again() {
    for requests in 0..12 {
        let aws = Aws::with(echoing()).await;
        let deployment: Deployment = aws.deploy(&demanding()).await;
        aws.platform.submit(&deployment, &invocation(json!({}))).await.unwrap();
        aws.fake.hold_after(requests, true);
        let removing = aws.platform.remove(&deployment);
        let ended = tokio::select! {
            ended = removing => { ended.unwrap(); true }
            () = aws.fake.held() => false,
        };
        aws.fake.go_on();
        match aws.platform.remove(&deployment).await {
            Ok(()) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
        }
        assert!(aws.fake.leftovers().is_empty(), "after {requests}: {:?}", aws.fake.leftovers());
        if ended {
            return;
        }
    }
    panic!("it never gets through");
}
