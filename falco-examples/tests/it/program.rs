//! An example as a process, with a state of its own for the local platform.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A folder for the local platform, so that tests do not meet, nor a user's own deployments.
pub(crate) struct Machine {
    state: TempDir,
}

/// The output of a program.
pub(crate) struct Printed {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self { state: tempfile::tempdir().unwrap() }
    }

    /// Runs a program to its end.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Printed {
        Printed::of(self.command(program).args(arguments).output().unwrap())
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = command(program);
        command.env("FALCO_LOCAL_DIR", self.state.path());
        command
    }
}

/// A program, which hears nothing of the accounts that this machine may know.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(path_of(program));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["AWS_", "GOOGLE_", "GCLOUD_", "CLOUDSDK_", "WHISK_", "WSK_", "FALCO_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            command.env_remove(&*name);
        }
    }
    command
}

impl Printed {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            success: output.status.success(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The output of a program that has to succeed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.success, "it failed: {}", self.stderr);
        self.stdout
    }

    /// The error of a program that has to fail.
    #[track_caller]
    pub(crate) fn error(self) -> String {
        assert!(!self.success, "it succeeded: {}", self.stdout);
        assert_eq!(self.stdout, "", "a failure prints no result");
        self.stderr
    }

    /// The object that `--json` prints.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }
}

pub(crate) fn path_of(program: &str) -> &'static Path {
    Path::new(match program {
        "chain" => env!("CARGO_BIN_EXE_chain"),
        "cleanup" => env!("CARGO_BIN_EXE_cleanup"),
        "etl" => env!("CARGO_BIN_EXE_etl"),
        "fixture-rs" => env!("CARGO_BIN_EXE_fixture-rs"),
        "hello" => env!("CARGO_BIN_EXE_hello"),
        "kmeans" => env!("CARGO_BIN_EXE_kmeans"),
        "montecarlo" => env!("CARGO_BIN_EXE_montecarlo"),
        "montecarlo-rs" => env!("CARGO_BIN_EXE_montecarlo-rs"),
        // This program again.
        "driver" => return Box::leak(std::env::current_exe().unwrap().into_boxed_path()),
        "wordcount" => env!("CARGO_BIN_EXE_wordcount"),
        "wordcount-rs" => env!("CARGO_BIN_EXE_wordcount-rs"),
        unknown => panic!("there is no example {unknown}"),
    })
}

/// Whether an interpreter is there; says what is skipped when it is not.
pub(crate) fn has(interpreter: &str) -> bool {
    let found = Command::new(interpreter).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: there is no {interpreter}");
    }
    found
}
