//! `cargo xtask test`: all tests of all crates.

use std::ffi::OsString;

use crate::docker::{self, Daemon};
use crate::runtimes;
use crate::shell::{cargo, no_arguments, step, version};
use crate::test_programs;

/// The interpreters that tests of functions need, and what is skipped without them.
const TOOLS: [(&str, &str); 2] =
    [("python3", "tests that run Python functions"), ("node", "tests that run Node functions")];

/// Runs unit, integration and doc tests.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    no_arguments("test", arguments)?;
    let tools: Vec<String> = TOOLS
        .iter()
        .map(|(program, needed_by)| match version(program) {
            Some(version) => version,
            None => format!("no {program}, so {needed_by} are skipped"),
        })
        .collect();
    println!("tools: {}", tools.join("; "));
    let runtimes = runtimes::install()?;
    let daemon = Daemon::start()?;
    let host = daemon.as_ref().map(Daemon::host);
    let mut environment = vec![(runtimes::VARIABLE, OsString::from(&runtimes))];
    environment.extend(host.map(|host| (docker::VARIABLE, OsString::from(host))));
    // Both, whatever fails: a gate that stops at the first failure has to be run once for each.
    let programs = test_programs::run(&environment);
    let mut doc_tests = cargo(&["test", "--workspace", "--doc", "--no-fail-fast"]);
    let documents = step("doc tests", doc_tests.envs(environment.iter().cloned()));
    programs.and(documents)
}
