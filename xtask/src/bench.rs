//! `cargo xtask bench`: speed and memory beside a floor measured in the same run.

use crate::shell::{cargo, step};

/// Hands everything on to the benchmarks' own binary, built for speed.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let mut bench = cargo(&["run", "--release", "--quiet", "--package", "falco-bench", "--"]);
    step("benchmarks", bench.args(arguments))
}
