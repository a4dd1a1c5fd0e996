//! `cargo xtask test`: all tests of all crates.

use std::ffi::OsString;
use std::process::Command;

use crate::docker::{self, Daemon};
use crate::runtimes;
use crate::shell::{Verdicts, cargo, no_arguments, step, version};
use crate::test_programs;

/// The selection of all crates.
const WORKSPACE: &[&str] = &["--workspace"];

/// The interpreters that tests of functions need, and what is skipped without them.
const TOOLS: [(&str, &str); 2] =
    [("python3", "tests that run Python functions"), ("node", "tests that run Node functions")];

/// Runs unit, integration and doc tests.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    no_arguments("test", arguments)?;
    println!("{}", tools());
    let mut verdicts = Verdicts::default();
    verdicts.run("runtimes", runtimes::install);
    let daemon = Daemon::start()?;
    let host = daemon.as_ref().map(Daemon::host);
    let mut environment = vec![(runtimes::VARIABLE, OsString::from(runtimes::home()?))];
    environment.extend(host.map(|host| (docker::VARIABLE, OsString::from(host))));
    // Both, whatever fails: a gate that stops at the first failure has to be run once for each.
    verdicts.run("tests", || {
        let built = test_programs::build(WORKSPACE, &[])?;
        test_programs::run(built.programs, &environment)
    });
    let mut doc_tests = doc_tests(WORKSPACE);
    verdicts.run("doc tests", || step("doc tests", doc_tests.envs(environment.iter().cloned())));
    verdicts.into_result()
}

/// The line that names the interpreters, and what is skipped where one is missing.
pub(crate) fn tools() -> String {
    let tools = TOOLS.map(|(program, needed_by)| {
        version(program).unwrap_or_else(|| format!("no {program}, so {needed_by} are skipped"))
    });
    format!("tools: {}", tools.join("; "))
}

/// The command that runs the doc tests of the crates that these arguments select.
pub(crate) fn doc_tests(selection: &[&str]) -> Command {
    let mut doc_tests = cargo(&["test", "--doc", "--no-fail-fast"]);
    doc_tests.args(selection);
    doc_tests
}
