//! Tests of code that disturbs an execution from inside it, or beside it.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use falco_core::{
    Activation, BoxStream, Capabilities, Completion, Deployable, Deployment, Error, ErrorKind,
    Event, ExecutionStrategy, Invocation, Monitor, Platform, Result, Scaling, Target, Verdict,
    async_trait, invoke_only,
};
use falco_executors::{ExecutionOptions, ParallelExecutor};
use falco_testkit::{InMemory, Latency, Settings};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::fixture::{count, executors, invocation, invocations, ms, target_of, tick, until};
use super::spy::Spy;

/// Where the code that an execution calls finds the completions of that execution.
#[derive(Default)]
struct Slot(Mutex<Option<BoxStream<'static, Completion>>>);

impl Slot {
    fn put(&self, completions: BoxStream<'static, Completion>) {
        *self.0.lock().unwrap() = Some(completions);
    }

    fn empty(&self) {
        let completions = self.0.lock().unwrap().take();
        drop(completions);
    }

    fn is_empty(&self) -> bool {
        self.0.lock().unwrap().is_none()
    }
}

impl Wake for Slot {
    fn wake(self: Arc<Self>) {
        self.empty();
    }
}

/// Drops the completions at a certain event.
struct Leaver(&'static str, Arc<Slot>);

impl std::fmt::Debug for Leaver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Leaver")
    }
}

impl Monitor for Leaver {
    fn event(&self, event: &Event<'_>) -> Verdict {
        if format!("{event:?}").starts_with(self.0) {
            self.1.empty();
        }
        Verdict::Continue
    }
}

fn slow() -> Arc<Spy<InMemory>> {
    let settings = Settings { latency: Latency::fixed(ms(100)), ..Settings::default() };
    Arc::new(Spy::new(InMemory::new(settings)))
}

/// Nothing runs or is held any more, although what was sent would take a while.
fn assert_at_rest(platform: &Spy<InMemory>, what: &dyn std::fmt::Debug) {
    assert_eq!(platform.in_use(), 0, "{what:?}");
    assert_eq!(platform.inner.counters().running, 0, "{what:?}");
    assert_eq!(platform.inner.counters().unreleased, 0, "{what:?}");
}

#[tokio::test(start_paused = true)]
async fn inputs_that_drop_the_completions_while_they_are_polled_leave_nothing_behind() {
    for executor in executors(&ExecutionOptions::default()) {
        let (platform, slot) = (slow(), Arc::new(Slot::default()));
        let inputs = stream::iter(0..10).then({
            let slot = slot.clone();
            move |id| {
                let slot = slot.clone();
                async move {
                    sleep(ms(10)).await;
                    (id > 0).then(|| slot.empty());
                    invocation(id)
                }
            }
        });
        slot.put(executor.execute(target_of(platform.clone()).await, inputs.boxed()));
        // The sequential executor looks for its second input after the first has been taken.
        let first = std::future::poll_fn(|cx| match &mut *slot.0.lock().unwrap() {
            Some(completions) => completions.poll_next_unpin(cx),
            None => Poll::Ready(None),
        });
        let _ = tokio::time::timeout(ms(150), first).await;
        sleep(ms(15)).await;
        tick().await;
        assert!(slot.is_empty(), "{executor:?}");
        assert_at_rest(&platform, &executor);
    }
}

#[tokio::test(start_paused = true)]
async fn a_monitor_that_drops_the_completions_leaves_nothing_behind() {
    for event in ["Admitted", "Attempt", "Completed"] {
        for executor in executors(&ExecutionOptions::default()) {
            let (platform, slot) = (slow(), Arc::new(Slot::default()));
            let monitor = Arc::new(Leaver(event, slot.clone()));
            let inputs =
                stream::iter(0..10).map(move |id| invocation(id).with_monitor(monitor.clone()));
            let target = target_of(platform.clone()).await;
            slot.put(executor.execute(target, inputs.boxed()));
            sleep(ms(100)).await;
            while !slot.is_empty() {
                sleep(ms(1)).await;
            }
            tick().await;
            assert_at_rest(&platform, &(event, executor));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_drops_the_completions_while_it_is_woken_leaves_nothing_behind() {
    for executor in executors(&ExecutionOptions::default()) {
        let (platform, slot) = (slow(), Arc::new(Slot::default()));
        slot.put(executor.execute(target_of(platform.clone()).await, invocations(0..10)));
        let waker = Waker::from(slot.clone());
        let polled = slot
            .0
            .lock()
            .unwrap()
            .as_mut()
            .unwrap()
            .poll_next_unpin(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        sleep(ms(100)).await;
        while !slot.is_empty() {
            sleep(ms(1)).await;
        }
        tick().await;
        assert_at_rest(&platform, &executor);
    }
}

/// A platform whose calls do what the test says, and then succeed.
struct Strange(Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>);

impl Strange {
    async fn target<F>(call: impl Fn() -> F + Send + Sync + 'static) -> Target
    where
        F: Future<Output = ()> + Send + 'static,
    {
        target_of(Arc::new(Self(Box::new(move || call().boxed())))).await
    }
}

impl std::fmt::Debug for Strange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Strange")
    }
}

#[async_trait]
impl Platform for Strange {
    fn name(&self) -> &str {
        "strange"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        Ok(Deployment::new(&function.name, function.runtime.clone()).with_platform("strange"))
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
        (self.0)().await;
        Ok(Activation::succeeded(invocation.id().as_str(), invocation.payload().clone()))
    }
}

invoke_only!(Strange);

#[tokio::test(start_paused = true)]
async fn calls_that_yield_to_the_runtime_are_not_polled_again_before_it_has_had_its_turn() {
    const CALLS: usize = 5_000;
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = polls.clone();
    let target = Strange::target(move || {
        let (polls, mut waiting) = (counted.clone(), Box::pin(sleep(ms(10))));
        std::future::poll_fn(move |cx| {
            polls.fetch_add(1, Relaxed);
            waiting.as_mut().poll(cx)
        })
    })
    .await;
    let executor = ParallelExecutor::with_concurrency(CALLS).unwrap();
    let completions = executor.execute(target, invocations(0..CALLS));
    assert_eq!(completions.count().await, CALLS);
    // Each begins and ends; the runtime lets a task do some hundred things at a time, and all wake at once.
    let polls = polls.load(Relaxed);
    assert!(polls < 3 * CALLS, "{polls} polls of {CALLS} calls");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_always_finds_a_completion_lets_the_rest_of_its_task_go_on() {
    const CALLS: usize = 2_000;
    let executor = ParallelExecutor::with_concurrency(CALLS).unwrap();
    let completions = executor.execute(target_of(slow()).await, invocations(0..CALLS));
    sleep(ms(1_000)).await;
    // All are there now.
    let taken = AtomicUsize::new(0);
    let taking = completions.for_each(async |_| {
        taken.fetch_add(1, Relaxed);
    });
    let seen_by_others = async {
        tokio::task::yield_now().await;
        taken.load(Relaxed)
    };
    let ((), seen_by_others) = tokio::join!(taking, seen_by_others);
    assert_eq!(taken.into_inner(), CALLS);
    assert!(seen_by_others < CALLS / 4, "the others had to wait for {seen_by_others} completions");
}

/// Panics when it is dropped.
struct Clumsy;

impl Drop for Clumsy {
    fn drop(&mut self) {
        panic!("it is dropped clumsily");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_panic_when_they_are_dropped_cost_no_completion() {
    let token = CancellationToken::new();
    let executor = ParallelExecutor::with_concurrency(4).unwrap();
    let target = Strange::target(|| async {
        let clumsy = Clumsy;
        sleep(ms(100)).await;
        std::mem::forget(clumsy);
    })
    .await;
    let completions = executor.execute(until(target, &token), invocations(0..4));
    sleep(ms(10)).await;
    token.cancel();
    let completions: Vec<_> = completions.collect().await;
    assert_eq!(count(&completions, "cancelled"), 4);
}

#[tokio::test(start_paused = true)]
async fn inputs_that_panic_when_they_are_dropped_cost_no_completion_of_a_stop() {
    let token = CancellationToken::new();
    let executor = ParallelExecutor::with_concurrency(4).unwrap();
    let clumsy = Clumsy;
    let inputs = stream::iter(0..10).map(move |id| {
        let _ = &clumsy;
        invocation(id)
    });
    let mut completions = executor.execute(until(target_of(slow()).await, &token), inputs.boxed());
    sleep(ms(10)).await;
    token.cancel();
    for _ in 0..4 {
        assert_eq!(completions.next().await.unwrap().outcome.as_str(), "cancelled");
    }
    let end = std::panic::AssertUnwindSafe(completions.next()).catch_unwind().await;
    assert_eq!(*end.unwrap_err().downcast::<&str>().unwrap(), "it is dropped clumsily");
}
