//! Layers that users write.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use falco_core::*;
use falco_layers::{Intercept, Intercepted, RetryPolicy, Stack};
use falco_testkit::{Fate, Fates};

use crate::support::*;

/// Counts the invocations that pass, and signs their arguments.
#[derive(Debug)]
struct Signed {
    inner: Arc<dyn AsyncPlatform>,
    passed: Arc<AtomicUsize>,
}

#[async_trait]
impl Intercept for Signed {
    fn inner(&self) -> &dyn AsyncPlatform {
        &*self.inner
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        self.passed.fetch_add(1, Ordering::Relaxed);
        let signed = Payload::from_bytes(r#"{"signed":true}"#)?;
        self.inner().invoke(deployment, &invocation.clone().with_payload(signed)).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_of_the_users_sees_each_attempt_and_leaves_the_rest_alone() {
    let platform = fated(Fates::sequence([Fate::throttle(None), Fate::unavailable()]));
    let passed = Arc::new(AtomicUsize::new(0));
    let counter = passed.clone();
    let stack = Stack::new()
        .with_retry(RetryPolicy::with_retries(3))
        .with_layer(move |inner| Intercepted(Signed { inner, passed: counter.clone() }));
    let layered = stack.wrap(platform).unwrap();
    let deployment = deployed(&layered).await;
    let activation = layered.invoke(&deployment, &invocation("a")).await.unwrap();
    assert_eq!(activation.outcome.unwrap().as_str(), r#"{"signed":true}"#);
    assert_eq!(passed.load(Ordering::Relaxed), 3);
    assert_eq!(layered.list_deployments().await.unwrap().len(), 1);
    layered.remove(&deployment).await.unwrap();
}

#[test]
fn layers_are_added_from_the_inside_to_the_outside() {
    #[derive(Debug)]
    struct Named(Arc<dyn AsyncPlatform>, u32);

    #[async_trait]
    impl Intercept for Named {
        fn inner(&self) -> &dyn AsyncPlatform {
            &*self.0
        }

        fn capabilities(&self) -> Capabilities {
            self.inner().capabilities().with_concurrency(self.1)
        }
    }

    let stack = Stack::new()
        .with_layer(|platform| Intercepted(Named(platform, 1)))
        .with_layer(|platform| Intercepted(Named(platform, 2)));
    let layered = stack.wrap(falco_testkit::InMemory::default()).unwrap();
    assert_eq!(layered.capabilities().concurrency, Some(2));
}
