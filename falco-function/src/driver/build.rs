//! Builds the executable for another machine, when asked to.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use falco_core::{Error, Result};
use serde::Deserialize;

/// The last bytes of cargo's words that an error shows.
const TAIL: usize = 2_000;

/// How to build a program's executable for another machine: made by [`build!`](crate::build).
///
/// It runs `cargo build --release --target T`, or `cargo zigbuild` for a target that ends in a version of glibc, such as
/// `x86_64-unknown-linux-gnu.2.34`; [cargo-zigbuild](https://crates.io/crates/cargo-zigbuild) must be installed then.
/// It takes as long as a build takes: most programs run where they were built, and need none.
///
/// # Examples
///
/// ```no_run
/// use falco_function::Executable;
///
/// let program = Executable::build(&falco_function::build!("aarch64-unknown-linux-musl"))?;
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Build {
    manifest: PathBuf,
    binary: String,
    target: String,
    cargo: OsString,
}

/// Names the program that is being compiled, to be built for `target`; see [`Build`].
#[macro_export]
macro_rules! build {
    ($target:expr) => {
        $crate::Build::new(
            env!("CARGO_MANIFEST_DIR"),
            option_env!("CARGO_BIN_NAME").unwrap_or(env!("CARGO_PKG_NAME")),
            $target,
        )
    };
}

impl Build {
    /// A build of the binary `binary` of the package in `directory` for `target`.
    pub fn new(
        directory: impl Into<PathBuf>,
        binary: impl Into<String>,
        target: impl Into<String>,
    ) -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let manifest = directory.into().join("Cargo.toml");
        Self { manifest, binary: binary.into(), target: target.into(), cargo }
    }

    /// Runs `program` instead of the cargo that `CARGO` names, or of `cargo` on the path.
    #[must_use]
    pub fn with_cargo(mut self, program: impl Into<OsString>) -> Self {
        self.cargo = program.into();
        self
    }

    /// Builds, and returns the path of the executable.
    pub(super) fn run(&self) -> Result<PathBuf> {
        let mut command = Command::new(&self.cargo);
        command.args([
            self.subcommand(),
            "--release",
            "--message-format=json",
            "--target",
            &self.target,
        ]);
        command.args(["--bin", &self.binary, "--manifest-path"]).arg(&self.manifest);
        command.stdin(Stdio::null());
        let failed = |what: String| {
            Error::invalid_input(format!(
                "cannot build {} for {}: {what}",
                self.binary, self.target
            ))
        };
        let output = command.output().map_err(|error| {
            failed(format!("cannot run {}: {error}", self.cargo.display()))
                .with_hint("install cargo, or build the executable yourself and use Executable::at")
        })?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            let error = failed(format!("cargo ended with {}:\n{}", output.status, tail(&words)));
            return Err(error.with_hint(self.hint()));
        }
        self.executable(&String::from_utf8_lossy(&output.stdout))
            .ok_or_else(|| failed("cargo reports no executable of that name".to_owned()))
    }

    /// Whether a version of glibc is named, which only zig's linker can aim at.
    fn names_glibc(&self) -> bool {
        self.target.rsplit('-').next().is_some_and(|last| last.contains('.'))
    }

    fn subcommand(&self) -> &'static str {
        if self.names_glibc() { "zigbuild" } else { "build" }
    }

    fn hint(&self) -> String {
        if self.names_glibc() {
            return "install it with `cargo install cargo-zigbuild`, and zig with `pip install ziglang`".to_owned();
        }
        format!("install the target with `rustup target add {}`", self.target)
    }

    /// The executable that cargo's messages name.
    fn executable(&self, messages: &str) -> Option<PathBuf> {
        #[derive(Deserialize)]
        struct Message {
            target: Option<Target>,
            executable: Option<PathBuf>,
        }
        #[derive(Deserialize)]
        struct Target {
            name: String,
        }
        let messages =
            messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
        messages
            .filter(|message| {
                message.target.as_ref().is_some_and(|target| target.name == self.binary)
            })
            .find_map(|message| message.executable)
    }
}

fn tail(text: &str) -> &str {
    let text = text.trim_end();
    &text[text.ceil_char_boundary(text.len().saturating_sub(TAIL))..]
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A stand-in for cargo that prints its arguments, and what cargo prints.
    fn cargo(directory: &std::path::Path, script: &str) -> Build {
        let program = directory.join("cargo");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Build::new("/p", "prog", "x86_64-unknown-linux-gnu.2.34").with_cargo(program)
    }

    #[test]
    fn the_executable_is_the_one_that_cargo_names() {
        let directory = tempfile::tempdir().unwrap();
        let build = cargo(
            directory.path(),
            r#"echo "$@" >"$(dirname "$0")/arguments"
echo '{"reason":"compiler-artifact","target":{"name":"lib"},"executable":null}'
echo 'not json'
echo '{"reason":"compiler-artifact","target":{"name":"prog"},"executable":"/t/prog"}'"#,
        );
        assert_eq!(build.run().unwrap(), PathBuf::from("/t/prog"));
        let arguments = fs::read_to_string(directory.path().join("arguments")).unwrap();
        assert_eq!(
            arguments.trim(),
            "zigbuild --release --message-format=json --target x86_64-unknown-linux-gnu.2.34 \
             --bin prog --manifest-path /p/Cargo.toml"
        );
    }

    #[test]
    fn a_build_that_fails_shows_what_cargo_said_and_how_to_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let error = cargo(directory.path(), "echo 'no such command: zigbuild' >&2; exit 101")
            .run()
            .unwrap_err();
        assert!(error.to_string().contains("no such command: zigbuild"), "{error}");
        assert!(error.hint().unwrap().contains("cargo install cargo-zigbuild"));
        let build = Build::new("/p", "prog", "t").with_cargo("/no/such/cargo");
        assert!(build.run().unwrap_err().to_string().contains("/no/such/cargo"));
    }
}
