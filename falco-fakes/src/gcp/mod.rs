//! A stateful fake of every service of Google Cloud that `falco-gcp` uses, on a loopback port. It runs real functions.
//!
//! It demands what Google demands: access tokens for the APIs and ID tokens for functions, lengths of bodies, update
//! masks, invoker grants on the Run service. Deployed artefacts are unpacked and started as Google starts them, by its
//! Functions Frameworks for Python and Node.js, if the variable `FALCO_RUNTIMES` names a folder that holds them
//! (`cargo xtask runtimes` makes one). Otherwise a small runner stands in, with the same calling convention:
//! `FUNCTION_TARGET` names the handler in `main.py` or `index.js`, a request object has what Flask's or Express's has,
//! an exception is a 500 with `X-Google-Status: crash`. What the process prints on stdout ends up in the fake's log.
//!
//! # Examples
//!
//! ```
//! use falco_core::{Deployable, Invocation, Payload, Platform};
//! use falco_fakes::FakeGcp;
//! use falco_gcp::GcpFunctions;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> falco_core::Result<()> {
//! let fake = FakeGcp::start();
//! let platform = GcpFunctions::connect(fake.config().build()?).await?;
//! let source = "def main(args):\n    return {'greeting': 'Hello ' + args['name']}\n";
//! let hello = Deployable::from_source("hello", "python:3".parse()?, source);
//! let deployment = platform.deploy(&hello).await?;
//! let ada = Invocation::new("run-1", "greet", "1", Payload::from_bytes(r#"{"name":"Ada"}"#)?);
//! let activation = platform.invoke(&deployment, &ada).await?;
//! assert_eq!(activation.outcome.unwrap().as_str(), r#"{"greeting":"Hello Ada"}"#);
//! platform.remove(&deployment).await?;
//! assert!(fake.is_clean());
//! # Ok(())
//! # }
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a tool of tests: it fails by panicking"
)]

mod framework;
mod front;
mod functions;
mod instance;
mod instances;
mod logging;
mod reply;
mod run;
mod server;
mod storage;
mod tasks;
mod tokens;
mod world;

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use falco_core::Payload;
use falco_gcp::{Credentials, GcpConfig, GcpConfigBuilder, GcpWaits};

use crate::http::HttpFake;
use world::World;

/// The project of the fake.
pub const PROJECT: &str = "fake-project";
/// The location of the fake.
pub const LOCATION: &str = "us-central1";
/// The service account whose key the fake accepts.
pub const ACCOUNT: &str = "falco@fake-project.iam.gserviceaccount.com";
/// The service account that functions run as.
const RUNTIME_ACCOUNT: &str = "1-compute@developer.gserviceaccount.com";

/// The private key of [`ACCOUNT`], in PEM.
pub const PRIVATE_KEY: &str = include_str!("private_key.pem");

/// A fake of Google Cloud. Dropped, it ends with every process that it has started.
#[derive(Debug)]
pub struct FakeGcp {
    http: HttpFake<World>,
    home: tempfile::TempDir,
}

impl FakeGcp {
    /// Starts it on a port of its own, with a thread of its own.
    ///
    /// # Panics
    ///
    /// When there is no free port or no temporary directory.
    pub fn start() -> Self {
        let world = World::default();
        let faults = world.faults.clone();
        Self { http: HttpFake::with_faults(world, faults), home: tempfile::tempdir().unwrap() }
    }

    /// Makes it stand behind `url`, such as a proxy's: it announces functions, uploads and tokens there, and
    /// [`config`](Self::config) and [`key`](Self::key) lead there. Only the first call counts.
    pub fn stand_behind(&self, url: impl Into<String>) {
        let _ = self.provider().front.set(url.into());
    }

    /// A configuration with a key that it accepts, and with waits of milliseconds.
    pub fn config(&self) -> GcpConfigBuilder {
        GcpConfig::builder()
            .credentials(Credentials::from_json(&self.key()).unwrap())
            .location(LOCATION)
            .endpoint_for_all(self.provider().front())
            .waits(GcpWaits::every(Duration::from_millis(10)))
            .http(falco_http::ClientConfig::new("falco-gcp/test").with_plain_http_only(true))
    }

    /// The key file of [`ACCOUNT`], as Google writes it.
    pub fn key(&self) -> String {
        serde_json::json!({
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "1",
            "private_key": PRIVATE_KEY,
            "client_email": ACCOUNT,
            "token_uri": format!("{}/token", self.provider().front()),
        })
        .to_string()
    }

    /// The variables that make any program with [`GcpConfig::from_env`] use it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let file: PathBuf = self.home.path().join("key.json");
        std::fs::write(&file, self.key()).unwrap();
        let mut variables = vec![
            ("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().unwrap().to_owned()),
            ("GOOGLE_CLOUD_LOCATION", LOCATION.to_owned()),
            ("GCE_METADATA_HOST", self.url().trim_start_matches("http://").to_owned()),
        ];
        variables.extend(
            [
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDFUNCTIONS",
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN",
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDTASKS",
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE",
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING",
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS",
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER",
            ]
            .map(|name| (name, self.url().to_owned())),
        );
        variables
    }

    /// Answers every call of a function by `function`, in this process, instead of running what was deployed.
    pub fn answer_with(&self, function: impl Fn(&Payload) -> Payload + Send + Sync + 'static) {
        *self.provider().stub.lock().unwrap() = Some(Arc::new(function));
    }

    /// Says of these permissions that the caller does not have them; requests are answered nevertheless.
    pub fn deny_permissions(&self, names: &[&str]) {
        let names = names.iter().map(|name| (*name).to_owned());
        self.provider().state().denied_permissions = names.collect();
    }

    /// How many looks an operation needs until it is done; 1 unless set.
    pub fn operations_need(&self, looks: u32) {
        self.provider().state().looks = looks;
    }

    /// Lets the next operation end with this `google.rpc.Status`, as JSON.
    pub fn fail_next_operation(&self, status: serde_json::Value) {
        self.provider().state().next_failure = Some(status);
    }

    /// How many calls a grant of access needs before it acts; 0 unless set.
    pub fn grants_need(&self, calls: u32) {
        self.provider().state().grant_delay = calls;
    }

    /// How many requests a token is good for that is granted from now on, however long it should live.
    pub fn tokens_serve(&self, requests: u32) {
        self.provider().state().token_uses = requests;
    }

    /// Makes all tokens granted so far worthless.
    pub fn revoke_tokens(&self) {
        self.provider().state().tokens.clear();
    }

    /// Lets the account that functions run as store nothing.
    pub fn forbid_storing(&self) {
        self.provider().state().storing_is_forbidden = true;
    }

    /// Refuses tasks for `queue` so many times, as a new queue does.
    pub fn queues_warm_up(&self, refusals: u32) {
        self.provider().state().queue_refusals = refusals;
    }

    /// Lists every object twice, as listings may when objects come while they are read.
    pub fn list_twice(&self) {
        self.provider().state().list_twice = true;
    }

    /// A function's JSON, as the API shows it.
    pub fn function(&self, id: &str) -> Option<serde_json::Value> {
        self.provider().state().functions.get(id).map(|function| function.json.clone())
    }

    /// Makes a function that somebody else has deployed, without any labels.
    pub fn place_function(&self, id: &str) {
        functions::place(&mut self.provider().state(), id);
    }

    /// The zip file that a function was deployed with last.
    pub fn artefact(&self, id: &str) -> Option<bytes::Bytes> {
        self.provider().state().functions.get(id).map(|function| function.zip.clone())
    }

    /// The names of all objects, `BUCKET/OBJECT`.
    pub fn objects(&self) -> Vec<String> {
        let state = self.provider().state();
        let names = |(bucket, objects): (&String, &world::Bucket)| {
            objects.objects.keys().map(|name| format!("{bucket}/{name}")).collect::<Vec<_>>()
        };
        state.buckets.iter().flat_map(names).collect()
    }

    /// Puts an object into a bucket, replacing one that is there.
    pub fn put_object(&self, bucket: &str, name: &str, content: impl Into<bytes::Bytes>) {
        let mut state = self.provider().state();
        state
            .buckets
            .entry(bucket.to_owned())
            .or_default()
            .objects
            .insert(name.to_owned(), content.into());
    }

    /// Makes a queue, as its owner does before Falco comes.
    pub fn add_queue(&self, name: &str) {
        let queue = world::Queue { max_attempts: 100, ..world::Queue::default() };
        self.provider().state().queues.insert(name.to_owned(), queue);
    }

    /// Writes a line into the log of a function, as its process would: as an entry if it is JSON.
    pub fn print(&self, service: &str, line: &str) {
        logging::store(self.provider(), service, line);
    }

    /// The tasks that wait or run.
    pub fn tasks(&self) -> Vec<String> {
        let state = self.provider().state();
        state.queues.values().flat_map(|queue| queue.tasks.keys().cloned()).collect()
    }

    /// Whether nothing is left but empty queues.
    pub fn is_clean(&self) -> bool {
        self.leftovers().is_empty()
    }

    /// The functions, buckets, objects and tasks that are left, by name.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<_> = {
            let state = self.provider().state();
            let functions = state.functions.keys().map(|name| format!("function {name}"));
            functions.chain(state.buckets.keys().map(|name| format!("bucket {name}"))).collect()
        };
        left.extend(self.objects().into_iter().map(|name| format!("object {name}")));
        left.extend(self.tasks().into_iter().map(|name| format!("task {name}")));
        left
    }
}

impl Deref for FakeGcp {
    type Target = HttpFake<World>;

    fn deref(&self) -> &Self::Target {
        &self.http
    }
}
