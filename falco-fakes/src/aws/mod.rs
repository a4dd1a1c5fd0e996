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
//! let fake = FakeAws::start();
//! let platform = AwsLambda::connect(fake.config().build()?).await?;
//! assert!(platform.list_deployments().await?.is_empty());
//! # Ok(())
//! # }
//! ```

mod environment;
mod iam;
mod invoke;
mod lambda;
mod operation;
mod process;
mod reply;
mod runtime_api;
mod settings;
mod signature;
mod sqs;
mod storage;
mod world;

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use falco_aws::{AwsConfig, AwsConfigBuilder, AwsWaits};
use falco_core::async_trait;
use falco_http::ClientConfig;
use tokio::sync::{Notify, Semaphore};

use crate::http::{Fault, HttpFake, Provider, Reply, Request, lock};
pub use reply::{json_error, lambda_error, xml_error};
pub use settings::{Emulated, FakeSettings};
use world::{Role, World};

/// The access key that a fake takes.
pub const FAKE_ACCESS_KEY: &str = "AKIDFAKE";

/// Its secret.
pub const FAKE_SECRET: &str = "fake-secret-that-signs";

/// The charge for one activation.
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

/// The state that the requests of a fake share.
#[derive(Debug)]
pub struct Shared {
    world: Mutex<World>,
    /// Records have come.
    arrival: Notify,
    /// Instances at once, whatever the account's concurrency is: each is a process.
    instances: Semaphore,
}

/// The limits of this machine.
const INSTANCES: usize = 8;
/// The region of a fake that is not started [beside](FakeAws::beside) another.
const REGION: &str = "eu-central-1";

/// A fake AWS. Dropped, it ends with all its functions.
#[derive(Debug)]
pub struct FakeAws(HttpFake<Shared>);

impl FakeAws {
    /// Starts a fake.
    ///
    /// # Panics
    ///
    /// When no port of loopback can be had.
    pub fn start() -> Self {
        Self::with(FakeSettings::default())
    }

    /// Starts a fake that behaves as its settings say.
    ///
    /// # Panics
    ///
    /// When no port of loopback can be had.
    pub fn with(settings: FakeSettings) -> Self {
        Self::with_world(World { settings, region: REGION.to_owned(), ..World::default() })
    }

    /// Starts a fake of another region of the same account, which shares the roles: IAM is global.
    ///
    /// # Panics
    ///
    /// When no port of loopback can be had.
    pub fn beside(&self, region: &str) -> Self {
        let world = self.world();
        let (settings, roles) = (world.settings.clone(), world.roles.clone());
        drop(world);
        Self::with_world(World { settings, region: region.to_owned(), roles, ..World::default() })
    }

    fn with_world(world: World) -> Self {
        let is_strict = world.settings.is_strict;
        let fake = Self(HttpFake::start(Shared {
            world: Mutex::new(world),
            arrival: Notify::new(),
            instances: Semaphore::new(INSTANCES),
        }));
        if !is_strict {
            fake.stop_remembering();
        }
        fake
    }

    /// A configuration that uses it, and is as impatient as a test.
    pub fn config(&self) -> AwsConfigBuilder {
        AwsConfig::builder()
            .region(self.world().region.clone())
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
        let is_strict = {
            let settings = &mut self.world().settings;
            change(settings);
            settings.is_strict
        };
        if !is_strict {
            self.stop_remembering();
        }
    }

    /// Gives `reply` to the next request of `operation` that has no other scripted reply before it.
    pub fn script(&self, operation: &str, reply: Reply) {
        self.inject(Fault::reply(&format!("{operation} "), reply).times(1));
    }

    /// Puts a message into a queue.
    pub fn push_message(&self, queue: &str, body: impl Into<String>) {
        self.world().push_message(queue, body.into());
        self.provider().arrival.notify_waiters();
    }

    /// Makes a function that somebody else has deployed, without any tags.
    pub fn place_function(&self, name: &str) {
        lambda::place(&mut self.world(), name);
    }

    /// Makes a role that was there before, without any tags.
    pub fn place_role(&self, path: &str, name: &str, policies: &[(&str, &str)]) {
        let inline = policies.iter().map(|(name, policy)| ((*name).into(), (*policy).into()));
        let role = Role { path: path.into(), inline: inline.collect(), ..Role::default() };
        lock(&self.world().roles).insert(name.into(), role);
    }

    /// The requests of one operation so far.
    pub fn requests_of(&self, operation: &str) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.operation == operation);
        requests
    }

    /// The archive of a function, as it is deployed.
    pub fn code_of(&self, function: &str) -> Option<bytes::Bytes> {
        self.world().functions.get(function).map(|function| function.zip.clone())
    }

    /// Its charges, by its own measure: also for calls that never answered. They are kept as long as the fake is strict.
    pub fn bills(&self) -> Vec<FakeBill> {
        self.world().bills.clone()
    }

    /// Messages that a queue holds, seen or not.
    pub fn messages_in(&self, queue: &str) -> usize {
        self.world().queues.get(queue).map_or(0, |queue| queue.messages.len())
    }

    /// Activations that are running.
    pub fn running(&self) -> u32 {
        self.world().running
    }

    /// Activations whose lines have reached the log later than their answer, or would have if their role had allowed it.
    pub fn late_logs(&self) -> u64 {
        self.world().late_logs
    }

    /// The resources that exist: functions, roles, queues, log groups and objects, in words.
    pub fn leftovers(&self) -> Vec<String> {
        self.world().leftovers()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.provider().world)
    }
}

impl Deref for FakeAws {
    type Target = HttpFake<Shared>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

#[async_trait]
impl Provider for Shared {
    async fn answer(self: Arc<Self>, request: Request) -> Reply {
        {
            let settings = &lock(&self.world).settings;
            if settings.is_revoked {
                let message = "The security token included in the request is invalid.";
                return lambda_error(403, "UnrecognizedClientException", message);
            }
            if settings.is_strict && !signature::is_signed(&request) {
                let message = "The request signature does not match";
                return lambda_error(403, "InvalidSignatureException", message);
            }
        }
        match (operation::service(&request), request.operation.as_str()) {
            ("lambda", "Invoke") => invoke::handle(&self, &request).await,
            ("lambda", _) => lambda::handle(&mut lock(&self.world), &request),
            ("sqs", _) => sqs::handle(&self, &request).await,
            ("iam" | "sts", _) => iam::handle(&mut lock(&self.world), &request),
            ("logs", _) => storage::logs(&mut lock(&self.world), &request),
            ("s3", _) => storage::s3(&mut lock(&self.world), &request),
            _ => Reply::new(404, "<html><body>not found</body></html>"),
        }
    }

    fn operation(&self, request: &Request) -> String {
        operation::operation(request)
    }

    fn finish(&self, _: &Request, reply: Reply) -> Reply {
        match reply.has_header("x-amzn-requestid") {
            true => reply,
            false => reply.with_header("x-amzn-RequestId", "00000000-fake"),
        }
    }

    fn ended(&self) {
        lock(&self.world).functions.clear();
    }
}
