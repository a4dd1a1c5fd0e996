//! What other code does to an execution from inside it, or beside it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;

use falco_core::{
    Activation, Capabilities, Deployable, Deployment, Error, ErrorKind, ExecutionStrategy,
    Invocation, Platform, Result, Scaling, Target, async_trait, invoke_only,
};
use falco_executors::ParallelExecutor;
use futures_util::StreamExt;
use tokio::time::sleep;

use super::fixture::{invocations, ms};

/// Counts how often its calls are polled, each of which waits a little.
#[derive(Debug, Default)]
struct Polled(Arc<AtomicUsize>);

#[async_trait]
impl Platform for Polled {
    fn name(&self) -> &str {
        "polled"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        Ok(Deployment::new("polled", &function.name, &function.name, function.runtime.clone()))
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        Err(Error::new(ErrorKind::NotFound, "nothing is kept").with_function(name))
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        Ok(Vec::new())
    }

    async fn scale(&self, deployment: &Deployment, _: &Scaling) -> Result<Deployment> {
        Ok(deployment.clone())
    }

    async fn remove(&self, _: &Deployment) -> Result<()> {
        Ok(())
    }

    async fn invoke(&self, _: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let mut waiting = pin!(sleep(ms(10)));
        std::future::poll_fn(|cx| {
            self.0.fetch_add(1, Relaxed);
            waiting.as_mut().poll(cx)
        })
        .await;
        Ok(Activation::succeeded(invocation.id().as_str(), invocation.payload().clone()))
    }
}

invoke_only!(Polled);

#[tokio::test(start_paused = true)]
async fn calls_that_yield_to_the_runtime_are_not_polled_again_before_it_has_had_its_turn() {
    const CALLS: usize = 5_000;
    let polls = Arc::new(AtomicUsize::new(0));
    let platform = Arc::new(Polled(polls.clone()));
    let deployment = super::fixture::deployed(&platform).await;
    let executor = ParallelExecutor::with_concurrency(CALLS).unwrap();
    let completions = executor.execute(Target::new(platform, deployment), invocations(0..CALLS));
    assert_eq!(completions.count().await, CALLS);
    // Each begins and ends; the runtime lets a task do some hundred things at a time, and all wake at once.
    let polls = polls.load(Relaxed);
    assert!(polls < 3 * CALLS, "{polls} polls of {CALLS} calls");
}
