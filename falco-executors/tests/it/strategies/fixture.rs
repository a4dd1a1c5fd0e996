//! Helpers of the strategies' tests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::{
    AsyncPlatform, BoxStream, Completion, Deployable, Deployment, Event, ExecutionStrategy,
    Invocation, Monitor, Outcome, Payload, Platform, Scaling, Target, Verdict,
};
use falco_executors::{AsyncExecutor, ExecutionOptions, ParallelExecutor, SequentialExecutor};
use falco_testkit::{InMemory, Settings};
use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

pub(crate) const STAGE: &str = "stage";

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A platform that behaves as `settings` say.
pub(crate) fn platform(settings: Settings) -> Arc<InMemory> {
    Arc::new(InMemory::new(settings))
}

/// Deploys the function that returns its argument.
pub(crate) async fn deployed(platform: &impl Platform) -> Deployment {
    let timeout = Some(Duration::from_secs(60));
    let function =
        Deployable::from_source("f", "python:3".parse().unwrap(), "def main(a): return a")
            .with_scaling(Scaling::default().with_timeout(timeout));
    platform.deploy(&function).await.unwrap()
}

pub(crate) async fn target(platform: &Arc<InMemory>) -> Target {
    Target::new(platform.clone(), deployed(platform).await)
}

pub(crate) async fn target_of(platform: Arc<dyn AsyncPlatform>) -> Target {
    let deployment = deployed(&platform).await;
    Target::new(platform, deployment)
}

/// The target, until `token` is cancelled.
pub(crate) fn until(target: Target, token: &CancellationToken) -> Target {
    let token = token.clone();
    target.with_stop(move || token.clone().cancelled_owned())
}

pub(crate) fn invocation(id: usize) -> Invocation {
    Invocation::new("run", STAGE, format!("{id:04}"), Payload::empty())
}

pub(crate) fn invocations(ids: std::ops::Range<usize>) -> BoxStream<'static, Invocation> {
    stream::iter(ids.map(invocation)).boxed()
}

pub(crate) fn idempotent(ids: std::ops::Range<usize>) -> BoxStream<'static, Invocation> {
    stream::iter(ids.map(|id| invocation(id).with_idempotent(true))).boxed()
}

/// The executors that a law has to hold for, with these options.
pub(crate) fn executors(options: &ExecutionOptions) -> [Box<dyn ExecutionStrategy>; 3] {
    [
        Box::new(SequentialExecutor::new().with_options(options.clone())),
        Box::new(ParallelExecutor::with_concurrency(4).unwrap().with_options(options.clone())),
        Box::new(AsyncExecutor::with_window(4).unwrap().with_options(options.clone())),
    ]
}

/// The ids of completions, as numbers, in their order.
pub(crate) fn ids(completions: &[Completion]) -> Vec<usize> {
    completions.iter().map(|c| c.invocation.as_str().parse().unwrap()).collect()
}

/// How many completions have this outcome.
pub(crate) fn count(completions: &[Completion], outcome: &str) -> usize {
    completions.iter().filter(|c| c.outcome.as_str() == outcome).count()
}

pub(crate) fn error(completion: &Completion) -> &falco_core::Error {
    match &completion.outcome {
        Outcome::PlatformFailed(error) | Outcome::Unknown(error) => error,
        other => panic!("{} is not a failure of the platform", other.as_str()),
    }
}

/// Lets every task run that can.
pub(crate) async fn tick() {
    tokio::task::yield_now().await;
}

/// Writes down what happens, a word an event.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: Mutex<Vec<String>>,
    answers: Mutex<Vec<String>>,
}

impl Journal {
    /// The answers of the provider, by attempt.
    pub(crate) fn answers(&self) -> Vec<String> {
        self.answers.lock().unwrap().clone()
    }

    pub(crate) fn entries(&self) -> Vec<String> {
        self.entries.lock().unwrap().clone()
    }

    pub(crate) fn write(&self, entry: String) {
        self.entries.lock().unwrap().push(entry);
    }

    pub(crate) fn count(&self, word: &str) -> usize {
        self.entries().iter().filter(|entry| entry.starts_with(word)).count()
    }
}

impl Monitor for Journal {
    fn event(&self, event: &Event<'_>) -> Verdict {
        let entry = match event {
            Event::Admitted { invocation } => format!("admitted {}", invocation.id()),
            Event::Attempt { invocation, reason } => {
                format!("attempt {} {} {reason:?}", invocation.id(), invocation.attempt())
            }
            Event::Answered { invocation, activation } => {
                let outcome = if activation.is_success() { "result" } else { "failure" };
                self.answers.lock().unwrap().push(format!("{} {outcome}", invocation.attempt()));
                return Verdict::Continue;
            }
            Event::Submitted { invocation, .. } => format!("submitted {}", invocation.id()),
            Event::CallFailed { invocation, error } => {
                format!("call failed {} {}", invocation.id(), error.kind())
            }
            Event::Held { invocation, reason } => format!("held {} {reason:?}", invocation.id()),
            Event::Waiting { invocation, reason, wait } => {
                format!("waiting {} {reason:?} {wait:?}", invocation.id())
            }
            Event::DuplicateIgnored { .. } => "duplicate".to_owned(),
            Event::DeadlinePassed { after, .. } => format!("deadline of {after:?} passed"),
            Event::Completed { completion } => {
                format!("completed {} {}", completion.invocation, completion.outcome.as_str())
            }
            other => panic!("strategies don't report {other:?}"),
        };
        self.write(entry);
        Verdict::Continue
    }
}
