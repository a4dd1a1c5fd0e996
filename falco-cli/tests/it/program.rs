//! The command as a process, with a state of its own for the local platform.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A folder for functions and the local platform, so that tests do not meet, nor a user's own deployments.
pub(crate) struct Machine {
    state: TempDir,
}

/// The output of the command.
pub(crate) struct Printed {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self { state: tempfile::tempdir().unwrap() }
    }

    /// A file in the folder of this machine.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.state.path().join(name)
    }

    /// The command, which hears nothing of the accounts that this machine may know.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_falco"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            let accounts = ["AWS_", "GOOGLE_", "GCLOUD_", "CLOUDSDK_", "WHISK_", "WSK_", "FALCO_"];
            if accounts.iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(&*name);
            }
        }
        command.args(arguments).env("FALCO_LOCAL_DIR", self.path("local"));
        command.env("XDG_CACHE_HOME", self.path("cache")).env("XDG_STATE_HOME", self.path("state"));
        // What pip has downloaded once need not come again; what Falco keeps is of this machine.
        if let (None, Some(home)) = (std::env::var_os("PIP_CACHE_DIR"), std::env::var_os("HOME")) {
            command.env("PIP_CACHE_DIR", Path::new(&home).join(".cache/pip"));
        }
        command.current_dir(self.state.path());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Printed {
        self.run_with("", arguments)
    }

    /// Runs the command to its end with a text on stdin.
    pub(crate) fn run_with(&self, stdin: &str, arguments: &[&str]) -> Printed {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            // A command that refuses its flags reads nothing.
            scope.spawn(move || input.write_all(stdin.as_bytes()));
            Printed::of(child.wait_with_output().unwrap())
        })
    }

    /// Fails when something is deployed.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        let listed = self.run(&["cleanup", "--older-than", "0s", "--dry-run"]);
        assert_eq!(listed.ok(), "", "something is left");
    }
}

impl Printed {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The output of a command that has to succeed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "it failed: {}", self.stderr);
        self.stdout
    }

    /// The error of a command that has to fail before it prints anything.
    #[track_caller]
    pub(crate) fn error(self) -> String {
        assert_ne!(self.code, Some(0), "it succeeded: {}", self.stdout);
        assert_eq!(self.stdout, "", "a failure prints no result");
        self.stderr
    }
}

/// The lines of JSON in a text.
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Whether an interpreter is there; says what is skipped when it is not.
pub(crate) fn has(interpreter: &str) -> bool {
    let found = Command::new(interpreter).arg("--version").output().is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "there is no {interpreter}");
    if !found {
        eprintln!("skipped: there is no {interpreter}");
    }
    found
}
