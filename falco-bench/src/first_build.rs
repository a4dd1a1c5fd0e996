//! The newcomer's first command beside building the largest platform: it must not compile a cloud's SDK.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::ensure;

use crate::figure::{Figure, Goal};

const EXAMPLE: [&str; 4] = ["-p", "falco", "--example", "pipeline"];
const AWS: [&str; 2] = ["-p", "falco-aws"];

/// Measures the crates of both trees, and the time to build each from nothing.
pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    // An example is built with what the tests of its crate need.
    let (crates, floor) =
        (crates(&EXAMPLE[..2], "normal,build,dev")?, crates(&AWS, "normal,build")?);
    let counted =
        Figure::beside("first build: crates", "crates", crates, floor, Goal::AtMost(0.65));
    let (seconds, floor) = (build(&EXAMPLE)?, build(&AWS)?);
    let timed = Figure::beside("first build: time", "s", seconds, floor, Goal::AtMost(0.5));
    Ok(vec![counted, timed])
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    command
}

fn crates(package: &[&str], edges: &str) -> anyhow::Result<f64> {
    let tree = ["tree", "--locked", "--edges", edges, "--prefix", "none"];
    let output = cargo(&tree).args(["--format", "{p}"]).args(package).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let crates: BTreeSet<_> = text.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    Ok(crates.len() as f64)
}

/// Seconds to build into an empty folder. What cargo downloads is fetched before.
fn build(package: &[&str]) -> anyhow::Result<f64> {
    ensure!(cargo(&["fetch", "--locked", "--quiet"]).status()?.success(), "cargo fetch failed");
    let target = tempfile::tempdir()?;
    let start = Instant::now();
    let mut build = cargo(&["build", "--quiet", "--locked"]);
    let status = build.args(package).env("CARGO_TARGET_DIR", target.path()).status()?;
    ensure!(status.success(), "{package:?} does not build");
    Ok(start.elapsed().as_secs_f64())
}
