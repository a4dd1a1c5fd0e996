//! Running other programs, one step after the other, with their times.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
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

/// The stages of a task, each with its outcome and its time.
#[derive(Debug, Default)]
pub(crate) struct Verdicts(Vec<Verdict>);

#[derive(Debug)]
struct Verdict {
    stage: &'static str,
    seconds: f64,
    outcome: anyhow::Result<()>,
}

impl Verdicts {
    /// Runs a stage and keeps its outcome; a failure is printed at once, and ends nothing.
    pub(crate) fn run(&mut self, stage: &'static str, run: impl FnOnce() -> anyhow::Result<()>) {
        let start = Instant::now();
        let outcome = run();
        if let Err(error) = &outcome {
            println!("{stage}: {error:#}");
        }
        self.0.push(Verdict { stage, seconds: start.elapsed().as_secs_f64(), outcome });
    }

    /// Adds the stages that ran elsewhere.
    pub(crate) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// Prints the verdict of every stage; an error if one has failed.
    pub(crate) fn into_result(self) -> anyhow::Result<()> {
        println!("{self}");
        let failed: Vec<&str> =
            self.0.iter().filter(|one| one.outcome.is_err()).map(|one| one.stage).collect();
        ensure!(
            failed.is_empty(),
            "{} of {} stages failed: {}",
            failed.len(),
            self.0.len(),
            failed.join(", ")
        );
        Ok(())
    }
}

impl std::fmt::Display for Verdicts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for Verdict { stage, seconds, outcome } in &self.0 {
            let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
            write!(f, "\n== {verdict:<6} {stage} ({seconds:.1} s)")?;
            if let Err(error) = outcome {
                let reason = format!("{error:#}").replace('\n', "\n            ");
                write!(f, "\n            {reason}")?;
            }
        }
        Ok(())
    }
}

/// Locks a list that several threads work on; a panic of another thread leaves it whole.
pub(crate) fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a program of this name is on the path.
pub(crate) fn program_exists(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_a_verdict_whatever_failed_before_it() {
        let mut verdicts = Verdicts::default();
        verdicts.run("lint", || bail!("two words\nare wrong"));
        let mut beside = Verdicts::default();
        beside.run("documentation", || bail!("a link is broken"));
        verdicts.run("tests", || Ok(()));
        verdicts.append(beside);
        let text = verdicts.to_string();
        let (lint, tests) = (text.find("FAILED lint"), text.find("ok     tests"));
        assert!(lint.is_some() && lint < tests, "{text}");
        assert!(text.contains("are wrong") && text.contains("a link is broken"), "{text}");
        let error = verdicts.into_result().unwrap_err().to_string();
        assert_eq!(error, "2 of 3 stages failed: lint, documentation");
    }

    #[test]
    fn a_task_whose_stages_pass_succeeds() {
        let mut verdicts = Verdicts::default();
        verdicts.run("lint", || Ok(()));
        verdicts.into_result().unwrap();
    }
}
