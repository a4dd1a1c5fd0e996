//! The test programs of the workspace, several at once.
//!
//! `cargo test` runs them one after the other. Most of their time is spent waiting (for functions, timeouts and outages),
//! so side by side they take half as long. cargo-nextest does this too, and would first have to be compiled on a machine
//! that has only Rust.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};
use std::sync::Mutex;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::program::Program;
use crate::second_try::{self, Failure};
use crate::shell::{cargo, check, lock};

/// A program whose tests take longer than its size lets one expect: they start another one.
const SMALL_AND_LONG: &str = "falco-cli tests/it/main.rs";

/// The programs that a build of the tests has made, and its warnings.
#[derive(Debug, Default)]
pub(crate) struct Built {
    /// The test programs.
    pub(crate) programs: Vec<Program>,
    /// The beginnings of the warnings that the compiler, or clippy in its place, has printed.
    pub(crate) warnings: Vec<String>,
}

/// Builds what plain `cargo test` would run: also the examples, which tests start.
pub(crate) fn build(selection: &[&str], environment: &[(&str, OsString)]) -> anyhow::Result<Built> {
    let mut built = Built::default();
    check("build of the tests", || {
        let mut build = cargo(&["test", "--no-run", "--message-format=json"]);
        build.args(selection).envs(environment.iter().map(|(name, value)| (name, value)));
        let mut build = build.stdout(Stdio::piped()).spawn().context("cargo does not start")?;
        let messages = BufReader::new(build.stdout.take().context("no output of cargo")?);
        let read = messages.lines().try_for_each(|line| built.read(&line?));
        // Awaited, whatever was read.
        let status = build.wait().context("cargo is lost")?;
        read?;
        ensure!(status.success(), "the tests do not build");
        Ok(())
    })?;
    // The largest are those of crates that stand on all others, whose tests take longest: they begin first.
    built.programs.sort_by_key(|program| (program.name() == SMALL_AND_LONG, program.size()));
    Ok(built)
}

impl Built {
    /// Reads a message of cargo: a program is kept, and what the compiler says is printed.
    fn read(&mut self, message: &str) -> anyhow::Result<()> {
        let Ok(message) = serde_json::from_str::<Value>(message) else { return Ok(()) };
        if let Some(text) = message["message"]["rendered"].as_str() {
            eprint!("{text}");
            if message["message"]["level"] == "warning" {
                self.warnings.push(text.lines().take(2).collect::<Vec<_>>().join("\n"));
            }
        }
        if let Some(program) = Program::announced_in(&message) {
            self.programs.push(program?);
        }
        Ok(())
    }
}

/// Runs test programs.
pub(crate) fn run(programs: Vec<Program>, environment: &[(&str, OsString)]) -> anyhow::Result<()> {
    check("tests", || run_all(programs, environment))
}

/// Runs all, as many at once as there are processors, and names those that failed.
fn run_all(programs: Vec<Program>, environment: &[(&str, OsString)]) -> anyhow::Result<()> {
    let at_once = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    let (waiting, failed) = (Mutex::new(programs), Mutex::new(Vec::new()));
    let skips = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(program) = take(&waiting) {
                    let failure = match program.run(&[], environment) {
                        Ok(output) => {
                            lock(&skips).push((skips_in(&output), program.name().to_owned()));
                            (!output.status.success()).then(|| Failure::of(program, &output))
                        }
                        Err(error) => Some(Failure::to_start(program, &error)),
                    };
                    lock(&failed).extend(failure);
                }
            });
        }
    });
    println!("{}", total(&mut lock(&skips)));
    let failed = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (failed, unsteady) = second_try::run(failed, environment);
    for failure in unsteady {
        println!("UNSTEADY, it passed when it ran again alone: {failure}");
    }
    ensure!(
        failed.is_empty(),
        "{} test programs failed:{}",
        failed.len(),
        failed.iter().map(|failure| format!("\n  {failure}")).collect::<String>()
    );
    Ok(())
}

/// How many tests, or parts of one, a program has said that it skips.
fn skips_in(output: &Output) -> usize {
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    let lines = said.iter().flat_map(|text| text.lines());
    lines.filter(|line| line.starts_with("skipped ") || line.starts_with("skipped: ")).count()
}

/// The skips of all programs, those with most first.
fn total(skips: &mut Vec<(usize, String)>) -> String {
    skips.retain(|(count, _)| *count > 0);
    skips.sort_by(|one, other| other.cmp(one));
    let sum: usize = skips.iter().map(|(count, _)| count).sum();
    let lines = skips.iter().map(|(count, program)| format!("\n  {count:>4} in {program}"));
    format!("skipped: {sum}, each named with its reason above{}", lines.collect::<String>())
}

fn take(waiting: &Mutex<Vec<Program>>) -> Option<Program> {
    lock(waiting).pop()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn skips_are_counted_and_summed_up() {
        let output = Output {
            status: std::process::ExitStatus::from_raw(0),
            stdout: b"test a ... ok\nskipped: there is no node\n".to_vec(),
            stderr: b"skipped on local (x): b: no [1 skipped so far]\nnothing skipped here\n"
                .to_vec(),
        };
        assert_eq!(skips_in(&output), 2);
        let mut skips = vec![(0, "a".to_owned()), (2, "b".to_owned()), (3, "c".to_owned())];
        let lines = total(&mut skips);
        assert_eq!(lines, "skipped: 5, each named with its reason above\n     3 in c\n     2 in b");
    }

    #[test]
    fn warnings_of_a_build_are_kept_and_what_is_not_json_is_left_out() {
        let mut built = Built::default();
        for level in ["warning", "note", "warning", "error"] {
            let message = serde_json::json!({ "level": level, "rendered": format!("{level}: x\n --> y\n|\n") });
            let message = serde_json::json!({ "reason": "compiler-message", "message": message });
            built.read(&message.to_string()).unwrap();
        }
        built.read("not JSON").unwrap();
        assert_eq!(built.warnings, ["warning: x\n --> y"; 2]);
        assert!(built.programs.is_empty());
    }
}
