//! A fake OpenWhisk for tests: the API over loopback HTTP, with real functions behind it.
//!
//! It holds actions,
//! limits and throttles as OpenWhisk does, runs Python, Node and native functions as its runtimes do, and stores their
//! records late, twice or never, as its settings say.

mod actions;
mod activations;
mod answers;
mod api;
mod container;
mod invocation;
mod outcome;
mod reprint;
mod world;

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, Method};
use bytes::Bytes;
use falco_openwhisk::{OpenWhiskConfig, OpenWhiskConfigBuilder};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use world::World;

/// The key that a fake takes: the one that every server for developers comes with.
pub const FAKE_AUTH: &str = "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:123zO3xZCLrMN6v2BKK1dXYFpXlPkccOFqm12CdAsMgRU4VrNZ9lyGVCGuMDGIwP";

/// What answers in place of a function.
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
    /// The key that it knows; [`FAKE_AUTH`] unless set.
    pub key: String,
    /// Whether it answers at all.
    pub answers: bool,
    /// Whether requests are kept for [`FakeOpenWhisk::requests`].
    pub keeps_requests: bool,
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
            key: FAKE_AUTH.to_owned(),
            answers: true,
            keeps_requests: true,
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

/// A request that a fake has got.
#[derive(Clone, Debug)]
pub struct FakeRequest {
    /// The method.
    pub method: Method,
    /// The path as it was sent, encoded.
    pub path: String,
    /// The query as it was sent; empty when there was none.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// When it came.
    pub at: Instant,
}

/// What the fake answers in place of what it would.
#[derive(Clone, Debug)]
pub struct FakeAnswer {
    /// The status.
    pub status: u16,
    /// The type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// A running fake. It ends when it is dropped, and so do the processes of its functions.
pub struct FakeOpenWhisk {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    settings: Mutex<Arc<FakeSettings>>,
    world: Mutex<World>,
    requests: Mutex<Vec<FakeRequest>>,
    invocation_answers: Mutex<VecDeque<FakeAnswer>>,
    containers: container::Containers,
}

impl FakeOpenWhisk {
    /// Starts a fake on a free port of the loopback interface.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from listening.
    pub async fn start(settings: FakeSettings) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            containers: container::Containers::new(settings.containers),
            world: Mutex::new(World::new()),
            requests: Mutex::default(),
            invocation_answers: Mutex::default(),
            settings: Mutex::new(Arc::new(settings)),
        });
        let router = api::router(shared.clone());
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, shared, server })
    }

    /// Where it listens, such as `http://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A configuration for it.
    pub fn config(&self) -> OpenWhiskConfigBuilder {
        OpenWhiskConfig::builder().apihost(self.url()).auth(FAKE_AUTH)
    }

    /// Changes how it behaves, from the next request on. Containers stay as many as there were.
    pub fn change(&self, change: impl FnOnce(&mut FakeSettings)) {
        change(Arc::make_mut(&mut lock(&self.shared.settings)));
    }

    /// The requests that it has got so far.
    pub fn requests(&self) -> Vec<FakeRequest> {
        lock(&self.shared.requests).clone()
    }

    /// How many requests have asked for activations or their number, kept or not.
    pub fn collecting_requests(&self) -> u64 {
        lock(&self.shared.world).collecting_requests
    }

    /// How many requests it has got that `wanted` is true for.
    pub fn count_requests(&self, wanted: impl Fn(&FakeRequest) -> bool) -> usize {
        lock(&self.shared.requests).iter().filter(|request| wanted(request)).count()
    }

    /// Forgets the requests that it has got so far.
    pub fn forget_requests(&self) {
        lock(&self.shared.requests).clear();
    }

    /// Answers the next invocation so, and starts nothing; called again, the one after it.
    pub fn answer_next_invocation(&self, answer: FakeAnswer) {
        lock(&self.shared.invocation_answers).push_back(answer);
    }

    /// The names of the actions that it holds, with their packages.
    pub fn actions(&self) -> Vec<String> {
        lock(&self.shared.world).action_names()
    }

    /// An action as `GET` shows it, with its code.
    pub fn action(&self, name: &str) -> Option<Value> {
        lock(&self.shared.world).action(name).map(|action| action.to_json(true))
    }

    /// How many activations functions were started for, since it runs.
    pub fn activations(&self) -> u64 {
        lock(&self.shared.world).started()
    }

    /// The largest number of activations that were in flight at the same time.
    pub fn most_in_flight(&self) -> u32 {
        lock(&self.shared.world).most_in_flight()
    }
}

impl Shared {
    fn settings(&self) -> Arc<FakeSettings> {
        lock(&self.settings).clone()
    }
}

impl Drop for FakeOpenWhisk {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl fmt::Debug for FakeOpenWhisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeOpenWhisk").field("address", &self.address).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
