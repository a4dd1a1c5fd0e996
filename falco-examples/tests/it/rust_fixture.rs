//! The conformance suite's fixture in Rust, `fixture-rs`, on every platform, from the archive that it uploads.

use std::any::Any;
use std::marker::PhantomData;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use falco_aws::AwsLambda;
use falco_core::{
    AsyncPlatform, Deployable, Invocation, Payload, RuntimeName, Scaling, async_trait,
};
use falco_docker::DockerPlatform;
use falco_fakes::aws::FakeAws;
use falco_fakes::gcp::FakeGcp;
use falco_fakes::openwhisk::FakeOpenWhisk;
use falco_function::{Executable, Functions};
use falco_gcp::GcpFunctions;
use falco_local::{LocalConfig, LocalPlatform, WorkerLimits};
use falco_openwhisk::OpenWhisk;
use falco_package::{Archive, Requirements};
use falco_testkit::conformance::{Fault, Harness, Skip, check};
use serde_json::{Value, json};

use crate::daemon;
use crate::program::path_of;

/// The cases in which the function does something of its own.
const CASES: [&str; 11] = [
    "environment_variables_reach_the_function",
    "the_drivers_environment_stays_outside",
    "nested_and_non_ascii_json_passes_unchanged",
    "raising_is_a_function_error",
    "a_result_that_is_no_object_is_a_bad_result",
    "running_too_long_is_a_timeout",
    "a_crash_is_reported_and_the_next_call_works",
    "what_a_function_prints_is_its_log",
    "a_submitted_invocation_is_collected",
    "a_batch_is_answered_input_by_input",
    "stored_arguments_lie_beneath_each_payload",
];

async fn pass<P: Provider>() {
    for case in CASES {
        check::<On<P>>(case).await;
    }
    the_context_is_that_of_the_call::<P>().await;
}

async fn the_context_is_that_of_the_call<P: Provider>() {
    let provider = P::start().await;
    let function = provider.fixture("context", &"native".parse().unwrap()).unwrap();
    let scaling = Scaling::default().with_timeout(Duration::from_secs(20));
    let deployment = provider.platform.deploy(&function.with_scaling(scaling)).await.unwrap();
    let payload = Payload::json(&json!({"do": "context"})).unwrap();
    let invocation = Invocation::new("run", "stage", "0", payload);
    let activation = provider.platform.invoke(&deployment, &invocation).await.unwrap();
    let context: Value = activation.outcome.unwrap().parse().unwrap();
    assert_eq!(context["activation_id"], activation.id.as_str(), "{context}");
    assert_eq!(context["traceparent"], invocation.trace_context().to_string(), "{context}");
    match context["milliseconds_left"].as_u64() {
        Some(left) => assert!((1..=20_000).contains(&left), "{context}"),
        None => assert_eq!(deployment.platform, "gcp", "only Google does not report it: {context}"),
    }
    provider.platform.remove(&deployment).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fixture_in_rust_conforms_on_this_machine() {
    pass::<Local>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fixture_in_rust_conforms_on_openwhisk() {
    pass::<Whisk>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fixture_in_rust_conforms_on_aws() {
    pass::<Aws>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fixture_in_rust_conforms_on_google() {
    pass::<Google>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fixture_in_rust_conforms_in_containers() {
    if daemon::host().is_none() {
        return;
    }
    pass::<Docker>().await;
}

/// A platform on its provider, which is dropped with it.
pub(crate) struct On<P> {
    pub(crate) platform: Arc<dyn AsyncPlatform>,
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
        // Packed once for all cases and platforms.
        static FIXTURE: OnceLock<Deployable> = OnceLock::new();
        let fixture = FIXTURE.get_or_init(|| {
            // Only the name counts: the executable is another one.
            let fixture =
                Functions::new().add("fixture", |nothing: Value| Ok::<Value, String>(nothing));
            let program = Executable::at(path_of("fixture-rs")).unwrap();
            program.function(&fixture).unwrap().deployable().clone()
        });
        Some(fixture.clone().with_name(name))
    }

    async fn provoke(&self, _: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        Err(Skip::new("faults have tests of their own"))
    }
}

#[async_trait]
pub(crate) trait Provider: Send + Sync + Sized + 'static {
    async fn start() -> On<Self>;
}

/// An executable that speaks ActionLoop, of nothing but the standard library.
const ACTION_LOOP: &str = r#"
use std::io::{BufRead, Write};

fn main() {
    let mut answers = std::fs::OpenOptions::new().append(true).open("/dev/fd/3").unwrap();
    for line in std::io::stdin().lock().lines() {
        let answer = format!("{{\"is_line\":{}}}\n", line.unwrap().contains("\"value\""));
        answers.write_all(answer.as_bytes()).unwrap();
    }
}
"#;

/// The archive of an executable without shared libraries.
fn static_executable() -> Bytes {
    let folder = tempfile::tempdir().unwrap();
    let (source, executable) = (folder.path().join("f.rs"), folder.path().join("f"));
    std::fs::write(&source, ACTION_LOOP).unwrap();
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let flags = ["--edition=2024", "-Cstrip=symbols", "-Ctarget-feature=+crt-static", "-o"];
    let status = Command::new(compiler).args(flags).arg(&executable).arg(&source).status();
    assert!(status.unwrap().success(), "the program compiles");
    let archive = Archive::native(&executable).unwrap();
    let requirements = Requirements::of(&archive.get("exec").unwrap().content).unwrap();
    assert!(requirements.libraries.is_empty(), "{requirements:?}");
    archive.to_zip().unwrap()
}

async fn answers<P: Provider>(code: &Bytes) {
    let provider = P::start().await;
    let function = Deployable::from_archive("fixed", "native".parse().unwrap(), code.clone());
    let deployment = provider.platform.deploy(&function).await.unwrap();
    for n in 0..2 {
        let payload = Payload::json(&json!({"n": n})).unwrap();
        let invocation = Invocation::new("run", "stage", n.to_string(), payload);
        let activation = provider.platform.invoke(&deployment, &invocation).await.unwrap();
        let result: Value = activation.outcome.unwrap().parse().unwrap();
        assert_eq!(result, json!({"is_line": true}), "{}", deployment.platform);
    }
    provider.platform.remove(&deployment).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executable_with_its_libraries_linked_in_runs_on_every_platform() {
    let code = static_executable();
    answers::<Local>(&code).await;
    answers::<Whisk>(&code).await;
    answers::<Aws>(&code).await;
    answers::<Google>(&code).await;
    if daemon::host().is_some() {
        answers::<Docker>(&code).await;
    }
}

pub(crate) struct Local;

#[async_trait]
impl Provider for Local {
    async fn start() -> On<Self> {
        let folder = tempfile::tempdir().unwrap();
        let workers = WorkerLimits::default().with_max_workers(2).with_max_payload(1 << 20);
        let config = LocalConfig::builder().directory(folder.path()).workers(workers);
        let platform = LocalPlatform::connect(config.build().unwrap()).await.unwrap();
        On::new(Arc::new(platform), folder)
    }
}

pub(crate) struct Whisk;

#[async_trait]
impl Provider for Whisk {
    async fn start() -> On<Self> {
        let fake = FakeOpenWhisk::start();
        On::new(Arc::new(OpenWhisk::connect(fake.config().build().unwrap()).await.unwrap()), fake)
    }
}

pub(crate) struct Aws;

#[async_trait]
impl Provider for Aws {
    async fn start() -> On<Self> {
        let fake = FakeAws::start();
        On::new(Arc::new(AwsLambda::connect(fake.config().build().unwrap()).await.unwrap()), fake)
    }
}

pub(crate) struct Google;

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

/// Containers, where there is a daemon.
struct Docker;

#[async_trait]
impl Provider for Docker {
    async fn start() -> On<Self> {
        let host = daemon::host().expect("asked only where there is one");
        let workers = WorkerLimits::default().with_max_workers(2).with_max_payload(1 << 20);
        let config = daemon::config(&host).await.workers(workers).build().unwrap();
        On::new(Arc::new(DockerPlatform::connect(config).await.unwrap()), ())
    }
}
