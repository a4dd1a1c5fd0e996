//! A platform in a directory of its own, and short ways to use it.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use falco_core::{
    Activation, AsyncPlatform, Deployable, Deployment, FunctionError, Invocation, LogLine,
    LogStream, Payload, Platform, Result,
};
use falco_local::{LocalConfig, LocalConfigBuilder, LocalPlatform, WorkerLimits};
use futures_util::FutureExt;
use tempfile::TempDir;

/// Whether a program is there. Said aloud when it is not: a test that needs it does nothing then.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !found {
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        // Past the capture of the test harness.
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: there is no {program} on PATH");
    }
    found
}

fn two_workers() -> WorkerLimits {
    WorkerLimits::default().with_max_workers(2)
}

/// Opens a platform, which waits for nothing.
pub(crate) fn open(config: LocalConfigBuilder) -> Result<LocalPlatform> {
    LocalPlatform::connect(config.build()?).now_or_never().expect("connecting waits for nothing")
}

/// A platform whose state is gone at the end of the test.
pub(crate) struct Local {
    pub(crate) platform: LocalPlatform,
    pub(crate) directory: TempDir,
}

impl Local {
    pub(crate) fn new() -> Self {
        Self::with(|config| config)
    }

    pub(crate) fn with(change: impl FnOnce(WorkerLimits) -> WorkerLimits) -> Self {
        Self::configured(|config| config.workers(change(two_workers())))
    }

    pub(crate) fn configured(
        change: impl FnOnce(LocalConfigBuilder) -> LocalConfigBuilder,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = LocalConfig::builder().directory(directory.path()).workers(two_workers());
        Self { platform: open(change(config)).unwrap(), directory }
    }

    /// Another platform on the same state, as another process has it.
    pub(crate) fn other(&self) -> LocalPlatform {
        open(LocalConfig::builder().directory(self.directory.path()).workers(two_workers()))
            .unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) async fn deploy(&self, function: &Deployable) -> Deployment {
        self.platform.deploy(function).await.unwrap()
    }

    pub(crate) async fn invoke(&self, deployment: &Deployment, json: &str) -> Activation {
        self.platform.invoke(deployment, &invocation(json)).await.unwrap()
    }

    pub(crate) async fn result(&self, deployment: &Deployment, json: &str) -> String {
        let activation = self.invoke(deployment, json).await;
        activation.outcome.unwrap().as_str().to_owned()
    }

    pub(crate) async fn failure(&self, deployment: &Deployment, json: &str) -> FunctionError {
        self.invoke(deployment, json).await.outcome.unwrap_err()
    }

    pub(crate) async fn log(
        &self,
        deployment: &Deployment,
        activation: &Activation,
    ) -> Vec<LogLine> {
        let logs = self.platform.activation_log(deployment, std::slice::from_ref(&activation.id));
        let mut logs = logs.await.unwrap();
        assert_eq!(logs.len(), 1, "the log of an activation that has ended is there");
        logs.remove(0).lines
    }
}

pub(crate) fn invocation(json: &str) -> Invocation {
    Invocation::new("run", "stage", "0", Payload::from_bytes(json.to_owned()).unwrap())
}

pub(crate) fn python(source: &str) -> Deployable {
    Deployable::from_source("python-function", "python:3".parse().unwrap(), source)
}

pub(crate) fn node(source: &str) -> Deployable {
    Deployable::from_source("node-function", "nodejs".parse().unwrap(), source)
}

/// A native function in shell; every line of input is one activation.
pub(crate) fn native(body: &str) -> Deployable {
    let source = format!("#!/bin/sh\nwhile read -r line; do\n{body}\ndone\n");
    Deployable::from_source("native-function", "native".parse().unwrap(), source)
}

pub(crate) fn texts(lines: &[LogLine], stream: LogStream) -> Vec<&str> {
    lines.iter().filter(|line| line.stream == Some(stream)).map(|line| &*line.text).collect()
}

/// Waits for something that has to come true soon, however slow the machine is.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} has not come true");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The id of the process that ran an activation.
pub(crate) fn pid_of(activation: &Activation) -> String {
    let container = activation.container.as_deref().unwrap();
    container.split_once('@').unwrap().0.to_owned()
}

/// Whether a process runs. A zombie does not: in a container, nobody may wait for it.
pub(crate) fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
    state.is_some_and(|state| state != "Z" && state != "X")
}
