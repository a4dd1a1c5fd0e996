//! Running other programs, one step after the other, with their times.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail, ensure};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.parent().map(PathBuf::from).unwrap_or(own)
}

/// The cargo that runs this, in the workspace's root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Runs a command and says how long it took; fails when it does.
pub(crate) fn step(name: &str, command: &mut Command) -> anyhow::Result<()> {
    check(name, || {
        let status = command.status().with_context(|| format!("{command:?} does not start"))?;
        ensure!(status.success(), "{command:?} failed with {status}");
        Ok(())
    })
}

/// Does a check and says how long it took.
pub(crate) fn check(name: &str, run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    println!("== {name}");
    let start = Instant::now();
    let outcome = run();
    let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
    println!("== {name}: {verdict} in {:.1} s", start.elapsed().as_secs_f64());
    outcome
}

/// The first line that a program prints of its version, if it is there.
pub(crate) fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    output.status.success().then(|| {
        String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
    })
}

/// Refuses arguments where a task takes none.
pub(crate) fn no_arguments(task: &str, arguments: &[String]) -> anyhow::Result<()> {
    match arguments.first() {
        Some(argument) => bail!("cargo xtask {task} takes no argument, and got {argument:?}"),
        None => Ok(()),
    }
}
