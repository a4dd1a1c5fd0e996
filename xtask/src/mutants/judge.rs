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

/// How much it may cost to judge a mutant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The longest that a test may take without a mutant; longer ones are left out.
    test: Duration,
    /// The time that the tests of a mutant take together: as many run as fit in.
    all_tests: Duration,
    /// The time that tests may take longer with a mutant before the mutant is said to hang them.
    patience: Duration,
}

impl Limits {
    /// Runs every test that reaches a mutant.
    pub(super) const NONE: Self = Self {
        test: Duration::from_secs(100),
        all_tests: Duration::MAX,
        patience: Duration::from_secs(20),
    };
    /// Runs a few tests, and none that is slow.
    pub(super) const QUICK: Self = Self {
        test: Duration::from_secs(2),
        all_tests: Duration::from_secs(15),
        patience: Duration::from_secs(8),
    };
}

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
    /// A test has failed.
    Killed,
    /// A test has not ended in time.
    Hangs,
    /// All tests that reach it pass.
    Survives,
    /// No test reaches it.
    Unreached,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Killed => "killed",
            Self::Hangs => "hangs",
            Self::Survives => "SURVIVES",
            Self::Unreached => "UNREACHED",
        })
    }
}

/// All tests of a crate, with what they reach.
#[derive(Debug)]
pub(super) struct Judge {
    programs: Vec<Program>,
    /// The tests that reach a mutant, those first that reach the fewest: they are about it.
    reaching: BTreeMap<u32, Vec<usize>>,
    tests: Vec<Test>,
    limits: Limits,
}

impl Judge {
    /// Runs every test by itself, without a mutant, to see what it reaches.
    pub(super) fn observe(
        programs: Vec<Program>,
        home: &Path,
        limits: Limits,
    ) -> anyhow::Result<Self> {
        let mut judge = Self { programs, reaching: BTreeMap::new(), tests: Vec::new(), limits };
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
                let ended = wait(run.env("FALCO_MUTANTS_REACHED", &reached), self.limits.test);
                let ids = fs::read_to_string(&reached).unwrap_or_default();
                let ids: Vec<u32> = ids.lines().filter_map(|id| id.parse().ok()).collect();
                lock(&observed).push((Test { program, name, took: started.elapsed() }, ended, ids));
            }
        });
        let mut observed = observed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        observed.sort_by_key(|(test, _, ids)| (ids.len(), test.took));
        for (test, ended, ids) in observed {
            if ended != Ended::Well {
                println!("left out, since it {ended} without a mutant: {}", test.name);
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
        let mut left = self.limits.all_tests;
        let fits_in = |test: &&Test| {
            let rest = left.checked_sub(test.took);
            left = rest.unwrap_or(left);
            rest.is_some()
        };
        let tests = tests.iter().map(|&index| &self.tests[index]);
        let mut tests: Vec<&Test> = tests.filter(fits_in).collect();
        for tests in tests.chunks_mut(AT_ONCE) {
            tests.sort_by_key(|test| test.program);
            for tests in tests.chunk_by(|one, other| one.program == other.program) {
                let names: Vec<&str> = tests.iter().map(|test| test.name.as_str()).collect();
                let usual = tests.iter().map(|test| test.took).sum::<Duration>();
                let patience = usual * 3 + self.limits.patience;
                let mut run = self.command(tests[0].program, &names);
                match wait(run.env("FALCO_MUTANT", mutant.id.to_string()), patience) {
                    Ended::Well => {}
                    Ended::Badly => return Verdict::Killed,
                    Ended::Late => return Verdict::Hangs,
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

/// How a run of a program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Well,
    Badly,
    Late,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Well => "passes",
            Self::Badly => "fails",
            Self::Late => "takes too long",
        })
    }
}

/// How a program ends within this time; one that does not is ended.
fn wait(command: &mut Command, patience: Duration) -> Ended {
    let mut ended = || -> anyhow::Result<Ended> {
        let mut child = command.spawn().context("it does not start")?;
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(if status.success() { Ended::Well } else { Ended::Badly });
            }
            if started.elapsed() > patience {
                child.kill()?;
                child.wait()?;
                return Ok(Ended::Late);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    ended().unwrap_or(Ended::Badly)
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
        let patience = Limits::NONE.patience;
        assert_eq!(wait(&mut Command::new("true"), patience), Ended::Well);
        assert_eq!(wait(&mut Command::new("false"), patience), Ended::Badly);
        let missing = &mut Command::new("a-program-that-does-not-exist");
        assert_eq!(wait(missing, patience), Ended::Badly);
        let started = Instant::now();
        let late = wait(Command::new("sleep").arg("600"), Duration::from_millis(50));
        assert_eq!(late, Ended::Late);
        assert!(started.elapsed() < Duration::from_secs(300));
    }
}
