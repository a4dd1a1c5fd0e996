//! Deploying and removing, stopped at every await: whatever was made is found and removed by another process.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use falco_core::{Platform, Result};
use falco_fakes::gcp::FakeGcp;
use falco_fakes::http::Fault;
use falco_gcp::{GcpFunctions, GcpWaits};

use crate::support::{ECHO, connect, echoing, python, with_tasks};

/// The outcome of the future, unless it has to be polled more than so many times; then it is dropped.
async fn within<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match Pin::new(&mut future).poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            // Nobody promises another wake-up when none are left.
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn platform(fake: &FakeGcp) -> GcpFunctions {
    connect(with_tasks(fake.config()).waits(GcpWaits::every(Duration::from_millis(1)))).await
}

/// Does what `cleanup` does. A request of a dropped future may still be on its way: it is found the next time.
async fn clean_up(fake: &FakeGcp) {
    let other = platform(fake).await;
    for deployment in other.list_deployments().await.unwrap() {
        other.remove(&deployment).await.unwrap();
    }
}

fn check<T>(ended: Option<Result<T>>) -> bool {
    ended.map(|ended| ended.map(drop).unwrap()).is_some()
}

#[tokio::test]
async fn a_deployment_that_is_stopped_anywhere_can_be_removed_by_somebody_else() {
    let fake = echoing();
    fake.operations_need(2);
    let ours = platform(&fake).await;
    for polls in 1.. {
        let function = python(&format!("stopped-{polls}"), ECHO);
        if check(within(polls, ours.deploy(&function)).await) {
            assert!(polls > 10, "there are more awaits than {polls}");
            break;
        }
        clean_up(&fake).await;
    }
    clean_up(&fake).await;
    assert!(fake.is_clean(), "{:?} {:?}", fake.objects(), fake.tasks());
}

#[tokio::test]
async fn a_deployment_that_was_stopped_anywhere_can_be_made_again() {
    let fake = echoing();
    let ours = platform(&fake).await;
    for polls in 1.. {
        let function = python("again", ECHO);
        let ended = check(within(polls, ours.deploy(&function)).await);
        let deployment = ours.deploy(&function).await.unwrap();
        ours.remove(&deployment).await.unwrap();
        if ended {
            break;
        }
    }
    assert!(fake.is_clean(), "{:?} {:?}", fake.objects(), fake.tasks());
}

#[tokio::test]
async fn a_removal_that_is_stopped_anywhere_can_be_finished_by_somebody_else() {
    let fake = echoing();
    fake.operations_need(2);
    let ours = platform(&fake).await;
    for polls in 1.. {
        let deployment = ours.deploy(&python("stopped", ECHO)).await.unwrap();
        let name = format!("falco/stopped/results/{polls}.json");
        fake.put_object("falco-fake-project-us-central1", &name, "{}");
        let ended = check(within(polls, ours.remove(&deployment)).await);
        if !ended {
            clean_up(&fake).await;
        }
        assert!(fake.is_clean(), "after {polls}: {:?} {:?}", fake.objects(), fake.tasks());
        if ended {
            break;
        }
    }
}

#[tokio::test]
async fn a_removal_that_is_refused_for_now_leaves_the_function_to_be_found() {
    let fake = echoing();
    let ours = platform(&fake).await;
    let bucket = "storage/v1/b/falco-fake-project-us-central1";
    for part in ["GET /v2/projects/fake-project/locations/us-central1/queues/falco/tasks", bucket] {
        let deployment = ours.deploy(&python("kept", ECHO)).await.unwrap();
        fake.put_object("falco-fake-project-us-central1", "falco/kept/results/1.json", "{}");
        fake.inject(Fault::answer(part, 503, "<html>busy</html>"));
        let error = ours.remove(&deployment).await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        assert!(fake.function("kept").is_some());
        fake.heal();
        clean_up(&fake).await;
        assert!(fake.is_clean(), "{:?} {:?}", fake.objects(), fake.tasks());
    }
    // What will never be allowed does not keep the function.
    let deployment = ours.deploy(&python("kept", ECHO)).await.unwrap();
    let forbidden = r#"{"error":{"code":403,"message":"no storage.objects.list access"}}"#;
    fake.inject(Fault::answer(bucket, 403, forbidden));
    let error = ours.remove(&deployment).await.unwrap_err();
    assert_eq!(error.kind(), falco_core::ErrorKind::Forbidden);
    assert!(fake.function("kept").is_none());
}
