//! One test program: found among what cargo says of a build, and run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use anyhow::Context;
use serde_json::Value;

/// One test program, as cargo built it.
#[derive(Debug)]
pub(crate) struct Program {
    /// The crate and the target, such as `falco-core tests/it/main.rs`.
    name: String,
    executable: PathBuf,
    /// The crate's folder, in which cargo runs its tests.
    folder: PathBuf,
    /// The executable's size in bytes.
    size: u64,
}

impl Program {
    /// The test program that a message of cargo announces, if it does.
    pub(crate) fn announced_in(message: &Value) -> Option<anyhow::Result<Self>> {
        if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
            return None;
        }
        let executable = PathBuf::from(message["executable"].as_str()?);
        Some(Self::describe(message, executable))
    }

    fn describe(message: &Value, executable: PathBuf) -> anyhow::Result<Self> {
        let manifest = message["manifest_path"].as_str().context("no manifest_path")?;
        let folder = Path::new(manifest).parent().context("a manifest without folder")?.to_owned();
        let source = message["target"]["src_path"].as_str().context("no src_path")?;
        let source = Path::new(source).strip_prefix(&folder).unwrap_or(Path::new(source));
        let package = folder.file_name().unwrap_or_default().to_string_lossy();
        let size = executable.metadata().with_context(|| executable.display().to_string())?.len();
        Ok(Self { name: format!("{package} {}", source.display()), executable, folder, size })
    }

    /// A program that cargo has not built.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub(crate) fn of(name: &str, executable: PathBuf, folder: &Path) -> anyhow::Result<Self> {
        let size = executable.metadata().with_context(|| executable.display().to_string())?.len();
        Ok(Self { name: name.to_owned(), executable, folder: folder.to_owned(), size })
    }

    /// The crate and the target, such as `falco-core tests/it/main.rs`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The executable's size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Runs it, prints what it printed in one piece, and returns that.
    pub(crate) fn run(
        &self,
        arguments: &[&str],
        environment: &[(&str, OsString)],
    ) -> anyhow::Result<Output> {
        let start = Instant::now();
        let output = Command::new(&self.executable)
            .args(arguments)
            .current_dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .context("it does not start")?;
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        println!("     Ran {} in {:.1} s\n{out}{err}", self.name, start.elapsed().as_secs_f64());
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_program_is_distinguished_from_other_artefacts() {
        let own = std::env::current_exe().unwrap();
        let artefact = |test: bool, executable: Value| {
            serde_json::json!({
                "reason": "compiler-artifact",
                "profile": { "test": test },
                "executable": executable,
                "manifest_path": "/work/falco-core/Cargo.toml",
                "target": { "src_path": "/work/falco-core/tests/it/main.rs" },
            })
        };
        let own = Value::from(own.to_str().unwrap());
        let found = Program::announced_in(&artefact(true, own.clone())).unwrap().unwrap();
        assert_eq!(found.name, "falco-core tests/it/main.rs");
        assert_eq!(found.folder, Path::new("/work/falco-core"));
        assert!(
            Program::announced_in(&artefact(false, own)).is_none(),
            "a program that tests start"
        );
        assert!(Program::announced_in(&artefact(true, Value::Null)).is_none(), "a library");
    }
}
