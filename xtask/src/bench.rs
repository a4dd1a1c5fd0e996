//! `cargo xtask bench`: speed and memory beside a floor measured in the same run.

use crate::docker::{self, Daemon};
use crate::shell::{cargo, step};

/// Hands everything on to the benchmarks' own binary, built for speed. Containers get a daemon of their own, where one can be
/// started.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let has_containers = arguments.iter().any(|argument| argument == "docker");
    let daemon = if has_containers { Daemon::start()? } else { None };
    let mut bench = cargo(&["run", "--release", "--quiet", "--package", "falco-bench", "--"]);
    bench.envs(daemon.as_ref().map(|daemon| (docker::VARIABLE, daemon.host())));
    step("benchmarks", bench.args(arguments))
}
