//! A fake AWS on loopback, with real functions behind it, for tests.
//!
//! It speaks the
//! APIs of Lambda, SQS, IAM, STS, CloudWatch Logs and S3 that Falco uses, checks the signature of each request, keeps
//! functions pending and roles unknown for as long as set, and starts Python, Node and native functions as Lambda
//! does: unpacked, with a Runtime API to take events from.
//!
//! # Examples
//!
//! ```
//! use falco_aws::AwsLambda;
//! use falco_fakes::FakeAws;
//! use falco_core::Platform;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> falco_core::Result<()> {
//! let fake = FakeAws::start().await;
//! let platform = AwsLambda::connect(fake.config().build()?).await?;
//! assert!(platform.list_deployments().await?.is_empty());
//! # Ok(())
//! # }
//! ```

mod environment;
mod exchange;
mod iam;
mod invoke;
mod lambda;
mod process;
mod runtime_api;
mod sqs;
mod storage;
mod world;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::Response;
use falco_aws::{AwsConfig, AwsConfigBuilder, AwsWaits};
use falco_http::ClientConfig;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

pub use exchange::{FakeReply, FakeRequest};
use world::{REGION, World};

/// The access key that a fake takes.
pub const FAKE_ACCESS_KEY: &str = "AKIDFAKE";

/// Its secret.
pub const FAKE_SECRET: &str = "fake-secret-that-signs";

/// A function in Rust, in place of one that was deployed.
pub type Emulated = Arc<dyn Fn(&Value) -> Value + Send + Sync>;

/// Makes another reply of what the fake would answer.
pub type Spoiler = Arc<dyn Fn(&FakeRequest, FakeReply) -> FakeReply + Send + Sync>;

/// How a fake behaves. The defaults are those of AWS, without any lag.
#[derive(Clone)]
pub struct FakeSettings {
    /// Activations at once, of the whole account.
    pub concurrency: u32,
    /// Looks at a new function that still find it pending.
    pub looks_while_pending: u32,
    /// Looks at an updated function that still find the update in progress.
    pub looks_while_updating: u32,
    /// Uses of a new role that are refused, since IAM does not know it everywhere.
    pub role_unknown_for: u32,
    /// Longest archive that can be uploaded directly, in bytes.
    pub direct_upload: u64,
    /// Longest message of a queue, in bytes.
    pub longest_message: usize,
    /// Longest time that a poll stays open, whatever it asks for.
    pub longest_poll: Duration,
    /// Whether each record comes twice.
    pub records_come_twice: bool,
    /// Whether a record is there before the answer to the request that submitted its event.
    pub records_come_early: bool,
    /// The record of every nth event never comes.
    pub loses_every: Option<u64>,
    /// Whether events are dropped before their function runs, and a record says so.
    pub drops_events: bool,
    /// Whether every invocation is refused for its rate.
    pub throttles: bool,
    /// Whether the credentials are not accepted any more.
    pub is_revoked: bool,
    /// Answers in place of functions; no process is started then.
    pub function: Option<Emulated>,
    /// Spoils each reply, scripted ones as well; what was asked for has happened anyway.
    pub spoiler: Option<Spoiler>,
    /// How long after an answer its lines appear in the log, which Lambda writes later than it answers.
    pub log_delay: Duration,
    /// The folder that `cargo xtask runtimes` installs into; by default that in `FALCO_RUNTIMES`. Functions run under
    /// AWS's own runtime interface clients where they are there, and under stand-ins otherwise.
    pub runtimes: Option<PathBuf>,
    /// Whether signatures are checked, and requests and logs kept. Without, it is fast.
    pub is_strict: bool,
}

impl Default for FakeSettings {
    fn default() -> Self {
        Self {
            concurrency: 1000,
            looks_while_pending: 1,
            looks_while_updating: 1,
            role_unknown_for: 1,
            direct_upload: 50 << 20,
            longest_message: 1 << 20,
            longest_poll: Duration::from_millis(50),
            records_come_twice: false,
            records_come_early: false,
            loses_every: None,
            drops_events: false,
            throttles: false,
            is_revoked: false,
            function: None,
            spoiler: None,
            log_delay: Duration::ZERO,
            runtimes: std::env::var_os("FALCO_RUNTIMES").map(PathBuf::from),
            is_strict: true,
        }
    }
}

impl fmt::Debug for FakeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeSettings")
            .field("concurrency", &self.concurrency)
            .field("function", &self.function.is_some())
            .finish_non_exhaustive()
    }
}

/// What the fake charges for one activation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FakeBill {
    /// The activation.
    pub id: String,
    /// The time that is charged.
    pub billed: Duration,
    /// The memory of the function.
    pub memory_mib: u32,
    /// Whether an instance was started for it.
    pub cold_start: bool,
}

/// What the fake's requests share.
#[derive(Debug)]
struct Shared {
    world: Mutex<World>,
    /// Records have come.
    arrival: Notify,
    /// Instances at once, whatever the account's concurrency is: each is a process.
    instances: Semaphore,
    count: AtomicU64,
    hold: Mutex<Option<Hold>>,
    held: Notify,
    is_holding: AtomicBool,
}

/// What this machine can bear.
const INSTANCES: usize = 8;

/// After which request nothing is answered any more.
#[derive(Clone, Copy, Debug)]
struct Hold {
    after: u64,
    /// Whether the request that is not answered has its effect anyway.
    takes_effect: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fake AWS. Dropped, it ends with all its functions.
#[derive(Debug)]
pub struct FakeAws {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl FakeAws {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// When no port of loopback can be had.
    pub async fn start() -> Self {
        Self::with(FakeSettings::default()).await
    }

    /// Starts one that behaves as told.
    ///
    /// # Panics
    ///
    /// When no port of loopback can be had.
    #[expect(clippy::expect_used, reason = "a test without its fake has nothing to test")]
    pub async fn with(settings: FakeSettings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of loopback");
        let address = listener.local_addr().expect("the address of a listener");
        let shared = Arc::new(Shared {
            world: Mutex::new(World { settings, ..World::default() }),
            arrival: Notify::new(),
            instances: Semaphore::new(INSTANCES),
            count: AtomicU64::new(0),
            hold: Mutex::new(None),
            held: Notify::new(),
            is_holding: AtomicBool::new(false),
        });
        let router = axum::Router::new().fallback(serve).with_state(shared.clone());
        let server = tokio::spawn(async move {
            // It ends with the fake, which aborts it.
            let _ = axum::serve(listener, router).await;
        });
        Self { address, shared, server }
    }

    /// Where it is, such as `http://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A configuration that uses it, and is as impatient as a test.
    pub fn config(&self) -> AwsConfigBuilder {
        AwsConfig::builder()
            .region(REGION)
            .static_credentials(FAKE_ACCESS_KEY, FAKE_SECRET, Some("fake-session-token".into()))
            .endpoint_for_all(self.url())
            .http(ClientConfig::new("falco-aws/fake").with_plain_http_only(true))
            .waits(
                AwsWaits::default()
                    .with_state_interval(Duration::from_millis(5))
                    .with_state_timeout(Duration::from_secs(20))
                    .with_role_interval(Duration::from_millis(5))
                    .with_role_timeout(Duration::from_secs(20)),
            )
    }

    /// Changes how it behaves from now on.
    pub fn change(&self, change: impl FnOnce(&mut FakeSettings)) {
        change(&mut lock(&self.shared.world).settings);
    }

    /// Gives `reply` to the next request of `operation` that has no other scripted reply before it.
    pub fn script(&self, operation: &str, reply: FakeReply) {
        let mut world = lock(&self.shared.world);
        world.scripted.entry(operation.to_owned()).or_default().push_back(reply);
    }

    /// Forgets the replies that were scripted and not given yet.
    pub fn forget_scripts(&self) {
        lock(&self.shared.world).scripted.clear();
    }

    /// Puts a message into a queue.
    pub fn push_message(&self, queue: &str, body: impl Into<String>) {
        lock(&self.shared.world).push_message(queue, body.into());
        self.shared.arrival.notify_waiters();
    }

    /// The requests that it has had.
    pub fn requests(&self) -> Vec<FakeRequest> {
        lock(&self.shared.world).requests.clone()
    }

    /// The requests of one operation that it has had.
    pub fn requests_of(&self, operation: &str) -> Vec<FakeRequest> {
        let mut requests = self.requests();
        requests.retain(|request| request.operation == operation);
        requests
    }

    /// Forgets the requests that it has had.
    pub fn forget_requests(&self) {
        lock(&self.shared.world).requests.clear();
    }

    /// The archive of a function, as it is deployed.
    pub fn code_of(&self, function: &str) -> Option<bytes::Bytes> {
        lock(&self.shared.world).functions.get(function).map(|function| function.zip.clone())
    }

    /// What it charges, by its own measure: also for what never answered. It is kept as long as the fake is strict.
    pub fn bills(&self) -> Vec<FakeBill> {
        lock(&self.shared.world).bills.clone()
    }

    /// Messages that a queue holds, seen or not.
    pub fn messages_in(&self, queue: &str) -> usize {
        lock(&self.shared.world).queues.get(queue).map_or(0, |queue| queue.messages.len())
    }

    /// Activations that are running.
    pub fn running(&self) -> u32 {
        lock(&self.shared.world).running
    }

    /// What is there: functions, roles, queues, log groups and objects, in words.
    pub fn leftovers(&self) -> Vec<String> {
        lock(&self.shared.world).leftovers()
    }

    /// Answers `requests` more, and no other; whether the one that is not answered takes effect is up to the caller.
    pub fn hold_after(&self, requests: u64, takes_effect: bool) {
        let after = self.shared.count.load(Ordering::SeqCst) + requests;
        *lock(&self.shared.hold) = Some(Hold { after, takes_effect });
        self.shared.is_holding.store(false, Ordering::SeqCst);
    }

    /// Resolves when a request is not answered, because of [`hold_after`](Self::hold_after).
    pub async fn held(&self) {
        loop {
            let held = self.shared.held.notified();
            if self.shared.is_holding.load(Ordering::SeqCst) {
                return;
            }
            held.await;
        }
    }

    /// Answers again.
    pub fn go_on(&self) {
        *lock(&self.shared.hold) = None;
        self.shared.is_holding.store(false, Ordering::SeqCst);
    }
}

impl Drop for FakeAws {
    fn drop(&mut self) {
        self.server.abort();
        lock(&self.shared.world).functions.clear();
    }
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let request = FakeRequest::new(parts.method, &parts.uri, parts.headers, body);
    let hold = *lock(&shared.hold);
    let number = shared.count.fetch_add(1, Ordering::SeqCst);
    let is_held = hold.is_some_and(|hold| number >= hold.after);
    if is_held {
        if hold.is_some_and(|hold| hold.takes_effect && number == hold.after) {
            answer(&shared, &request).await;
        }
        shared.is_holding.store(true, Ordering::SeqCst);
        shared.held.notify_waiters();
        std::future::pending::<()>().await;
    }
    let reply = answer(&shared, &request).await;
    let spoiler = lock(&shared.world).settings.spoiler.clone();
    match spoiler {
        Some(spoil) => spoil(&request, reply),
        None => reply,
    }
    .into_response()
}

async fn answer(shared: &Arc<Shared>, request: &FakeRequest) -> FakeReply {
    {
        let mut world = lock(&shared.world);
        if world.settings.is_strict {
            world.requests.push(request.clone());
        }
        if world.settings.is_revoked {
            let message = "The security token included in the request is invalid.";
            return FakeReply::lambda_error(403, "UnrecognizedClientException", message);
        }
        if let Some(reply) = world.scripted(&request.operation) {
            return reply;
        }
        if world.settings.is_strict && !request.is_signed() {
            return FakeReply::lambda_error(
                403,
                "InvalidSignatureException",
                "The request signature does not match",
            );
        }
    }
    match (request.service(), request.operation.as_str()) {
        ("lambda", "Invoke") => invoke::handle(shared, request).await,
        ("lambda", _) => lambda::handle(&mut lock(&shared.world), request),
        ("sqs", _) => sqs::handle(shared, request).await,
        ("iam" | "sts", _) => iam::handle(&mut lock(&shared.world), request),
        ("logs", _) => storage::logs(&mut lock(&shared.world), request),
        ("s3", _) => storage::s3(&mut lock(&shared.world), request),
        _ => FakeReply::new(404, "<html><body>not found</body></html>"),
    }
}
