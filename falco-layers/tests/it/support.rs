//! Helpers of the tests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::*;
use falco_testkit::{Fates, InMemory, Latency, Settings};

pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A platform in memory whose functions take `latency`.
pub(crate) fn slow(latency: Duration) -> Arc<InMemory> {
    Arc::new(InMemory::new(Settings { latency: Latency::fixed(latency), ..Settings::default() }))
}

/// A platform in memory whose calls meet these fates.
pub(crate) fn fated(fates: Fates) -> Arc<InMemory> {
    Arc::new(InMemory::new(Settings { fates, ..Settings::default() }))
}

pub(crate) fn function() -> Deployable {
    Deployable::from_source("f", "python:3".parse().unwrap(), "def main(args): return args")
}

pub(crate) async fn deployed(platform: &impl Platform) -> Deployment {
    platform.deploy(&function()).await.unwrap()
}

pub(crate) fn invocation(id: &str) -> Invocation {
    Invocation::new("run", "stage", id, Payload::empty())
}

/// Writes down what it receives, with the time since it was made.
#[derive(Debug)]
pub(crate) struct Recorder {
    began: tokio::time::Instant,
    events: Mutex<Vec<(Duration, String)>>,
}

impl Recorder {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { began: tokio::time::Instant::now(), events: Mutex::default() })
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.events.lock().unwrap().iter().map(|(_, line)| line.clone()).collect()
    }

    pub(crate) fn count(&self, start: &str) -> usize {
        self.lines().iter().filter(|line| line.starts_with(start)).count()
    }
}

impl Monitor for Recorder {
    fn event(&self, event: &Event<'_>) -> Verdict {
        let line = match event {
            Event::CallFailed { error, .. } => format!("failed: {}", error.kind()),
            Event::Attempt { reason, .. } => format!("attempt: {reason:?}"),
            Event::Held { reason, .. } => format!("held: {reason:?}"),
            Event::Waiting { reason, wait, .. } => format!("waiting: {reason:?} {wait:?}"),
            other => format!("{other:?}"),
        };
        self.events.lock().unwrap().push((self.began.elapsed(), line));
        Verdict::Continue
    }
}
