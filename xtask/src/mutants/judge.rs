//! The tests, and what they say of a mutant.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::rewrite::Mutant;
use crate::shell::{check, lock};

/// The time that a test may take longer with a mutant before the mutant is said to hang it.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many tests one run of a program takes: most mutants are killed by the first.
const AT_ONCE: usize = 12;

/// A program of tests.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) executable: PathBuf,
    /// The crate's folder, in which its tests run.
    pub(super) folder: PathBuf,
}

/// One test, and the mutants that it reaches.
#[derive(Debug)]
struct Test {
    program: usize,
    name: String,
    took: Duration,
}

/// How a mutant ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A test has failed, or hung.
    Killed,
    /// All tests that reach it pass.
    Survives,
    /// No test reaches it.
    Unreached,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Killed => "killed",
            Self::Survives => "SURVIVES",
            Self::Unreached => "UNREACHED",
        })
    }
}

/// All tests of a crate, with what they reach.
#[derive(Debug)]
pub(super) struct Judge {
    programs: Vec<Program>,
    /// The tests that reach a mutant, the quickest first.
    reaching: BTreeMap<u32, Vec<usize>>,
    tests: Vec<Test>,
}

impl Judge {
    /// Runs every test by itself, without a mutant, to see what it reaches.
    pub(super) fn observe(programs: Vec<Program>, home: &Path) -> anyhow::Result<Self> {
        let mut judge = Self { programs, reaching: BTreeMap::new(), tests: Vec::new() };
        check("tests without a mutant", || judge.observe_all(home))?;
        Ok(judge)
    }

    fn observe_all(&mut self, home: &Path) -> anyhow::Result<()> {
        let mut names = Vec::new();
        for (index, program) in self.programs.iter().enumerate() {
            let mut list = Command::new(&program.executable);
            let output = list.args(["--list", "--format", "terse"]).output()?;
            let text = String::from_utf8(output.stdout)?;
            let tests = text.lines().filter_map(|line| line.strip_suffix(": test"));
            names.extend(tests.map(|name| (index, name.to_owned())));
        }
        let (names, observed) = (Mutex::new(names), Mutex::new(Vec::new()));
        side_by_side(|thread| {
            let reached = home.join(format!("reached-{thread}"));
            loop {
                let Some((program, name)) = lock(&names).pop() else { return };
                let _ = fs::remove_file(&reached);
                let started = Instant::now();
                let mut run = self.command(program, &[&name]);
                let passed = wait(run.env("FALCO_MUTANTS_REACHED", &reached), PATIENCE * 5);
                let ids = fs::read_to_string(&reached).unwrap_or_default();
                let ids: Vec<u32> = ids.lines().filter_map(|id| id.parse().ok()).collect();
                lock(&observed).push((
                    Test { program, name, took: started.elapsed() },
                    passed,
                    ids,
                ));
            }
        });
        let mut observed = observed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        observed.sort_by_key(|(test, ..)| test.took);
        for (test, passed, ids) in observed {
            if !passed {
                println!("left out, since it fails without a mutant: {}", test.name);
                continue;
            }
            for id in ids {
                self.reaching.entry(id).or_default().push(self.tests.len());
            }
            self.tests.push(test);
        }
        ensure!(!self.tests.is_empty(), "no test passes");
        println!("{} tests", self.tests.len());
        Ok(())
    }

    /// Judges mutants, and reports each verdict when it is there.
    pub(super) fn all(
        &self,
        mutants: &[Mutant],
        report: impl FnMut(&Mutant, Verdict) + Send,
    ) -> usize {
        let (waiting, report) = (Mutex::new(mutants.iter()), Mutex::new(report));
        side_by_side(|_| {
            loop {
                let Some(mutant) = lock(&waiting).next() else { return };
                let verdict = self.one(mutant);
                (lock(&report))(mutant, verdict);
            }
        });
        mutants.len()
    }

    fn one(&self, mutant: &Mutant) -> Verdict {
        let Some(tests) = self.reaching.get(&mutant.id) else { return Verdict::Unreached };
        let mut tests: Vec<&Test> = tests.iter().map(|&index| &self.tests[index]).collect();
        // By program, and still the quickest first.
        tests.sort_by_key(|test| test.program);
        for tests in tests.chunk_by(|one, other| one.program == other.program) {
            for tests in tests.chunks(AT_ONCE) {
                let names: Vec<&str> = tests.iter().map(|test| test.name.as_str()).collect();
                let patience = tests.iter().map(|test| test.took).sum::<Duration>() * 3 + PATIENCE;
                let mut run = self.command(tests[0].program, &names);
                if !wait(run.env("FALCO_MUTANT", mutant.id.to_string()), patience) {
                    return Verdict::Killed;
                }
            }
        }
        Verdict::Survives
    }

    fn command(&self, program: usize, tests: &[&str]) -> Command {
        let Program { executable, folder } = &self.programs[program];
        let mut command = Command::new(executable);
        command.arg("--exact").args(tests).current_dir(folder).env("CARGO_MANIFEST_DIR", folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// Whether a program ends well within this time; one that does not is ended.
fn wait(command: &mut Command, patience: Duration) -> bool {
    let mut ended = || -> anyhow::Result<bool> {
        let mut child = command.spawn().context("it does not start")?;
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status.success());
            }
            if started.elapsed() > patience {
                child.kill()?;
                child.wait()?;
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    ended().unwrap_or(false)
}

/// Does the same in as many threads as there are processors.
fn side_by_side(work: impl Fn(usize) + Sync) {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let work = &work;
            scope.spawn(move || work(thread));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_ends_well_or_badly_or_is_ended() {
        assert!(wait(&mut Command::new("true"), PATIENCE));
        assert!(!wait(&mut Command::new("false"), PATIENCE));
        assert!(!wait(&mut Command::new("a-program-that-does-not-exist"), PATIENCE));
        let started = Instant::now();
        assert!(!wait(Command::new("sleep").arg("600"), Duration::from_millis(50)));
        assert!(started.elapsed() < Duration::from_secs(300));
    }
}
