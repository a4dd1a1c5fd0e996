//! The conformance suite's fixture in Rust, and the cases of the suite that call it, on every platform.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use falco_aws::AwsLambda;
use falco_core::{AsyncPlatform, Deployable, RuntimeName, async_trait};
use falco_fakes::aws::FakeAws;
use falco_fakes::gcp::FakeGcp;
use falco_fakes::openwhisk::{FakeOpenWhisk, FakeSettings};
use falco_gcp::GcpFunctions;
use falco_local::{LocalConfig, LocalPlatform};
use falco_openwhisk::OpenWhisk;
use falco_testkit::conformance::{CASES, Fault, Harness, Skip, check};
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What the fixture is told to do; see `falco_testkit::fixture`.
#[derive(Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Command {
    Nothing,
    Echo { value: Value },
    Length { value: String },
    Big { length: usize },
    Version,
    Env { name: String },
    Raise { message: String },
    BadResult,
    Sleep { seconds: f64 },
    Exit { status: i32 },
    Print { stdout: Option<Vec<String>>, stderr: Option<Vec<String>> },
}

pub(crate) struct ValueError(String);

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn fixture(command: Command) -> Result<Value, ValueError> {
    Ok(match command {
        Command::Nothing => json!({}),
        Command::Echo { value } => json!({ "value": value }),
        Command::Length { value } => json!({ "length": value.chars().count() }),
        Command::Big { length } => json!({ "value": "x".repeat(length) }),
        Command::Version => json!({ "version": 1 }),
        Command::Env { name } => json!({ "value": std::env::var(name).ok() }),
        Command::Raise { message } => return Err(ValueError(message)),
        Command::BadResult => json!(42),
        Command::Sleep { seconds } => {
            let began = now();
            std::thread::sleep(Duration::from_secs_f64(seconds));
            json!({ "began": began, "ended": now() })
        }
        Command::Exit { status } => std::process::exit(status),
        Command::Print { stdout, stderr } => {
            for line in stdout.unwrap_or_default() {
                println!("{line}");
            }
            for line in stderr.unwrap_or_default() {
                eprintln!("{line}");
            }
            json!({})
        }
    })
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// This executable, packed, with the fixture as its entry point.
pub(crate) static HOLDER: OnceLock<Deployable> = OnceLock::new();

/// Cases that call the fixture; the others are about the platform, and pass or fail whatever the language.
const CASES_OF_FUNCTIONS: [&str; 17] = [
    "a_deployed_function_answers",
    "environment_variables_reach_the_function",
    "the_drivers_environment_stays_outside",
    "nested_and_non_ascii_json_passes_unchanged",
    "an_empty_result_is_an_empty_object",
    "a_payload_at_the_limit_is_taken",
    "each_invocation_gets_its_own_answer",
    "invocations_run_at_the_same_time",
    "the_first_activation_is_cold_and_a_later_one_warm",
    "an_activation_tells_plausible_times",
    "raising_is_a_function_error",
    "a_result_that_is_no_object_is_a_bad_result",
    "running_too_long_is_a_timeout",
    "a_crash_is_told_and_the_next_call_works",
    "what_a_function_prints_is_its_log",
    "a_submitted_invocation_is_collected",
    "function_errors_are_collected_too",
];

/// Runs the cases on every platform; returns how many failed.
pub(crate) async fn run() -> usize {
    let mut failed = 0;
    for name in CASES_OF_FUNCTIONS {
        assert!(CASES.iter().any(|case| case.name == name), "there is no case {name}");
        failed += one::<Local>(name).await;
        failed += one::<Whisk>(name).await;
        failed += one::<Aws>(name).await;
        failed += one::<Google>(name).await;
    }
    failed
}

async fn one<P: Provider>(name: &str) -> usize {
    let provider = std::any::type_name::<P>().rsplit("::").next().unwrap_or_default();
    let passed = AssertUnwindSafe(check::<On<P>>(name)).catch_unwind().await.is_ok();
    let ended = if passed { "ok" } else { "FAILED" };
    println!("test {name} with the fixture in Rust on {provider} ... {ended}");
    usize::from(!passed)
}

/// A platform on its provider, which is dropped with it.
struct On<P> {
    platform: Arc<dyn AsyncPlatform>,
    _provider: Box<dyn Any + Send + Sync>,
    kind: PhantomData<P>,
}

impl<P> On<P> {
    fn new(platform: Arc<dyn AsyncPlatform>, provider: impl Any + Send + Sync) -> Self {
        Self { platform, _provider: Box::new(provider), kind: PhantomData }
    }
}

#[async_trait]
impl<P: Provider> Harness for On<P> {
    async fn start() -> Self {
        P::start().await
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.platform.clone()
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        vec!["native".parse().unwrap()]
    }

    fn fixture(&self, name: &str, _: &RuntimeName) -> Option<Deployable> {
        HOLDER.get().map(|function| function.clone().with_name(name))
    }

    async fn provoke(&self, _: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        Err(Skip::new("faults have tests of their own"))
    }
}

#[async_trait]
trait Provider: Send + Sync + Sized + 'static {
    async fn start() -> On<Self>;
}

struct Local;

#[async_trait]
impl Provider for Local {
    async fn start() -> On<Self> {
        let folder = tempfile::tempdir().unwrap();
        let config = LocalConfig::new(folder.path()).with_max_workers(2).with_max_payload(1 << 20);
        On::new(Arc::new(LocalPlatform::new(config).unwrap()), folder)
    }
}

struct Whisk;

#[async_trait]
impl Provider for Whisk {
    async fn start() -> On<Self> {
        let fake = FakeOpenWhisk::start(FakeSettings::default()).await.unwrap();
        On::new(Arc::new(OpenWhisk::connect(fake.config().build().unwrap()).await.unwrap()), fake)
    }
}

struct Aws;

#[async_trait]
impl Provider for Aws {
    async fn start() -> On<Self> {
        let fake = FakeAws::start().await;
        On::new(Arc::new(AwsLambda::connect(fake.config().build().unwrap()).await.unwrap()), fake)
    }
}

struct Google;

#[async_trait]
impl Provider for Google {
    async fn start() -> On<Self> {
        let fake = FakeGcp::start();
        On::new(
            Arc::new(GcpFunctions::connect(fake.config().build().unwrap()).await.unwrap()),
            fake,
        )
    }
}
