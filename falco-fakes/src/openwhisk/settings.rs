//! How the fake of OpenWhisk behaves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

/// The answer in place of a function.
pub type FakeFunction = Arc<dyn Fn(&Value) -> Value + Send + Sync>;

/// How a fake behaves. The defaults are those of OpenWhisk, without any lag.
#[derive(Clone)]
pub struct FakeSettings {
    /// Invocations in a minute; those that are refused count as well.
    pub invocations_per_minute: u32,
    /// Activations at once.
    pub concurrent_invocations: u32,
    /// How long a "minute" of the throttle is. With a shorter one, refusals carry `Retry-After`, as those of gateways do.
    pub minute: Duration,
    /// How long a blocking invocation waits before it is answered with 202 and its id.
    pub blocking_wait: Duration,
    /// How long after its end an activation's record can be found by its id.
    pub record_lag: Duration,
    /// How much longer it takes until the list shows it.
    pub list_lag: Duration,
    /// Whether the list shows every record twice.
    pub lists_twice: bool,
    /// The record of every nth activation is never stored.
    pub loses_every: Option<u64>,
    /// Every nth invocation is accepted and never started: its record says that nothing ran, as the scheduler of current
    /// servers does under load.
    pub refuses_late_every: Option<u64>,
    /// How much later an activation is answered and recorded when its container broke: by a timeout, or because the
    /// runtime died. On a real server it is 2 to 13 seconds.
    pub broken_lag: Duration,
    /// The limit of arguments and results of the namespace, where it has its own; else it is 1 MiB, and not shown.
    pub max_payload: Option<usize>,
    /// How long it takes to store a change of an action. Another change that is stored meanwhile makes it fail.
    pub write_lag: Duration,
    /// Containers at once; more activations wait.
    pub containers: usize,
    /// Answers in place of functions, from their arguments; no process is started then. An argument `sleep_ms` makes an
    /// activation take so long.
    pub function: Option<FakeFunction>,
    /// Whether it knows the key.
    pub knows_the_key: bool,
    /// The key that it knows; [`FAKE_AUTH`](super::FAKE_AUTH) unless set.
    pub key: String,
    /// The kinds that it offers.
    pub kinds: Vec<&'static str>,
}

impl Default for FakeSettings {
    fn default() -> Self {
        Self {
            invocations_per_minute: 100_000,
            concurrent_invocations: 10_000,
            minute: Duration::from_secs(60),
            blocking_wait: Duration::from_secs(60),
            record_lag: Duration::ZERO,
            list_lag: Duration::ZERO,
            lists_twice: false,
            loses_every: None,
            refuses_late_every: None,
            broken_lag: Duration::from_millis(300),
            max_payload: None,
            write_lag: Duration::from_millis(3),
            containers: 4,
            function: None,
            knows_the_key: true,
            key: super::FAKE_AUTH.to_owned(),
            kinds: vec![
                "nodejs:18",
                "nodejs:20",
                "nodejs:22",
                "python:3.10",
                "python:3.11",
                "go:1.20",
            ],
        }
    }
}

impl fmt::Debug for FakeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeSettings")
            .field("invocations_per_minute", &self.invocations_per_minute)
            .field("concurrent_invocations", &self.concurrent_invocations)
            .finish_non_exhaustive()
    }
}
