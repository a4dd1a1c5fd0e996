//! A driver that is killed again and again: nothing is lost, nothing is doubled, and nothing unknown is called known.
//!
//! The driver is this program again, in a process of its own; the provider's fake lives in this one and outlives it. The
//! function writes each of its runs into a file, so that the laws are checked against what really ran.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Parser;
use falco_cli::{Launch, RunFlags};
use falco_core::{Deployable, Driver, ExecutionPlan, OnFailure, Payload, Stage, StagePolicy};
use falco_executors::KeepResults;
use falco_fakes::aws::{FAKE_ACCESS_KEY, FAKE_SECRET, FakeAws};
use falco_fakes::gcp::FakeGcp;
use falco_fakes::openwhisk::{FAKE_AUTH, FakeOpenWhisk};
use falco_journal::{JournalConfig, RunJournal};
use falco_testkit::runtimes;
use serde_json::json;

use crate::program::{Machine, command, has};

/// Says to this program that it is the driver: the file in which the function notes its runs.
const RUNS: &str = "FALCO_TEST_RUNS";
/// Says whether the work of the driver is idempotent.
const IDEMPOTENT: &str = "FALCO_TEST_IDEMPOTENT";
/// The arguments of the driver, one a line.
const ARGUMENTS: &str = "FALCO_TEST_ARGUMENTS";
/// Where a process kills itself.
const KILL_AT: &str = "FALCO_JOURNAL_KILL_AT";
/// Set to any value, each test kills at every point, and not only at some.
const LONG: &str = "FALCO_TEST_ALL_KILLS";

const INVOCATIONS: usize = 6;

const FUNCTION: &str = "
import os, time

def main(args):
    line = (args['id'] + '\\n').encode()
    file = os.open(args['path'], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)
    time.sleep(0.02)
    return {'id': args['id']}
";

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: RunFlags,
}

#[derive(Debug)]
struct Noting {
    function: Deployable,
    path: String,
    idempotent: bool,
}

impl Driver for Noting {
    fn name(&self) -> &str {
        "noting"
    }

    fn plan(&self) -> falco_core::Result<ExecutionPlan> {
        let path = self.path.clone();
        let stage =
            Stage::from_fn_sized("work", self.function.clone(), INVOCATIONS, move |index| {
                Payload::json(&json!({"id": format!("{index:08}"), "path": path}))
            });
        let stage = stage.with_policy(StagePolicy::default().with_on_failure(OnFailure::Continue));
        ExecutionPlan::new(vec![if self.idempotent { stage.idempotent() } else { stage }])
    }
}

/// Not a test: the driver, when another test starts it.
#[tokio::test(flavor = "multi_thread")]
async fn the_driver_of_the_other_tests() {
    let Ok(path) = std::env::var(RUNS) else { return };
    let arguments = std::env::var(ARGUMENTS).unwrap();
    let Arguments { flags } =
        Arguments::parse_from(std::iter::once("driver").chain(arguments.lines()));
    let function = flags.function.deployable("noting", "python:3", FUNCTION).unwrap();
    let idempotent = std::env::var(IDEMPOTENT).is_ok();
    let launch = Launch::connect(&flags).await.unwrap().with_kept_results(KeepResults::Last);
    let outcome = launch.run(&Noting { function, path, idempotent }).await.unwrap();
    let counts = outcome.report.invocations;
    // Everything that is not unknown has to be a success.
    assert_eq!(counts.succeeded + counts.unknown, INVOCATIONS as u64, "{}", outcome.report);
    assert_eq!(outcome.is_success(), counts.unknown == 0);
}

/// One run, killed and gone on with in the place that `directory` is.
struct Killed<'a> {
    directory: &'a Path,
    /// The platform as environment and arguments.
    prepare: &'a dyn Fn(&mut Command),
    arguments: &'a [String],
    idempotent: bool,
}

/// The outcome of a run.
#[derive(Debug)]
struct Came {
    kills: u32,
    /// How often each invocation ran.
    ran: BTreeMap<String, u32>,
    done: u64,
    unknown: u64,
}

impl Killed<'_> {
    fn journals(&self) -> JournalConfig {
        JournalConfig::new(self.directory.join("journals"))
    }

    fn runs(&self) -> PathBuf {
        self.directory.join("runs")
    }

    /// Starts the driver until it comes to its end; the first processes die at the points of `kills`.
    fn until_done(&self, kills: &[u64]) -> Came {
        let mut died = 0;
        for process in 0.. {
            assert!(process < 20, "it comes to no end");
            let ended = self.process(kills.get(process).copied());
            match ended {
                None => died += 1,
                Some(Ok(())) => break,
                // The platform failed at what certainly did not run: a resume sends it.
                Some(Err(said)) if said.contains("platform failed") => {}
                Some(Err(said)) => panic!("a process failed: {said}"),
            }
        }
        self.came(died)
    }

    /// Whether the process came to its end, and else `None`: it was killed.
    fn process(&self, kill_at: Option<u64>) -> Option<Result<(), String>> {
        let journals = self.directory.join("journals");
        let mut arguments = self.arguments.to_vec();
        arguments.push(format!("--journal={}", journals.display()));
        let runs = RunJournal::list(&self.journals()).unwrap();
        if let Some(run) = runs.first() {
            arguments.extend(["--resume".to_owned(), run.run.to_string()]);
        }
        let mut driver = command("driver");
        (self.prepare)(&mut driver);
        driver
            .args(["--exact", "journal::the_driver_of_the_other_tests", "--nocapture"])
            .env(ARGUMENTS, arguments.join("\n"))
            .env(RUNS, self.runs())
            .env("FALCO_LOCAL_DIR", self.directory.join("local"))
            .stdin(Stdio::null());
        if self.idempotent {
            driver.env(IDEMPOTENT, "1");
        }
        if let Some(at) = kill_at {
            driver.env(KILL_AT, at.to_string());
        }
        let ended = driver.output().unwrap();
        if ended.status.success() {
            return Some(Ok(()));
        }
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let said = format!("{said}{}", String::from_utf8_lossy(&ended.stdout));
        ended.status.code().map(|_| Err(said))
    }

    fn came(&self, kills: u32) -> Came {
        let text = std::fs::read_to_string(self.runs()).unwrap_or_default();
        let mut ran = BTreeMap::new();
        for line in text.lines() {
            *ran.entry(line.to_owned()).or_default() += 1;
        }
        let summary = RunJournal::list(&self.journals()).unwrap().remove(0);
        let (done, unknown) = (summary.invocations.done, summary.invocations.unknown);
        Came { kills, ran, done, unknown }
    }
}

impl Came {
    /// Nothing lost, nothing doubled, nothing unknown called known.
    fn check(&self, idempotent: bool) {
        let all = INVOCATIONS as u64;
        match idempotent {
            true => assert_eq!((self.done, self.unknown), (all, 0), "{self:?}"),
            false => {
                assert!(self.ran.values().all(|times| *times == 1), "{self:?}");
                // Those without a result are unknown, all of them, and no other is.
                assert!(self.ran.len() as u64 >= self.done, "{self:?}");
                assert_eq!(self.done + self.unknown, all, "{self:?}");
            }
        }
        if self.unknown == 0 {
            assert_eq!((self.done, self.ran.len() as u64), (all, all), "{self:?}");
        }
    }
}

/// The points at which to kill: all up to `most`, or `some` of them.
fn points(most: u64, some: u64) -> Vec<u64> {
    let step = if std::env::var_os(LONG).is_some() { 1 } else { (most / some).max(1) };
    (1..=most).step_by(step as usize).collect()
}

fn arguments(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Kills runs at `points`, once or twice each, and checks the laws.
fn kill_at(
    points: &[u64],
    prepare: &dyn Fn(&mut Command),
    words: &[&str],
    idempotent: bool,
) -> u32 {
    let mut kills = 0;
    for point in points {
        let directory = tempfile::tempdir().unwrap();
        let run = Killed {
            directory: directory.path(),
            prepare,
            arguments: &arguments(words),
            idempotent,
        };
        // A second death, in the resume.
        let came = run.until_done(&[*point, point / 2 + 1]);
        came.check(idempotent);
        kills += came.kills;
    }
    kills
}

#[test]
fn a_local_run_that_is_killed_at_any_point_loses_and_doubles_nothing() {
    if !has("python3") {
        return;
    }
    let mut kills = 0;
    for (idempotent, executor) in [(false, "parallel"), (true, "async"), (false, "async")] {
        let words = ["--executor", executor, "--concurrency", "3", "--quiet"];
        kills += kill_at(&points(60, 4), &|_| {}, &words, idempotent);
    }
    assert!(kills >= 8, "{kills}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_openwhisk_that_is_killed_loses_and_doubles_nothing() {
    if !has("python3") {
        return;
    }
    let fake = FakeOpenWhisk::start();
    let url = fake.url().to_owned();
    let killing = tokio::task::spawn_blocking(move || {
        let words = ["--platform", "openwhisk", "--host", url.as_str(), "--token", FAKE_AUTH];
        let words = [&words[..], &["--executor", "async", "--quiet"]].concat();
        kill_at(&points(60, 3), &|_| {}, &words, false)
    });
    assert!(killing.await.unwrap() >= 2);
    assert_eq!(fake.actions(), Vec::<String>::new(), "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_aws_that_is_killed_loses_and_doubles_nothing() {
    if !has("python3") {
        return;
    }
    let fake = FakeAws::start();
    let url = fake.url().to_owned();
    let killing = tokio::task::spawn_blocking(move || {
        let prepare = |driver: &mut Command| {
            driver
                .env("AWS_ENDPOINT_URL", &url)
                .env("AWS_ACCESS_KEY_ID", FAKE_ACCESS_KEY)
                .env("AWS_SECRET_ACCESS_KEY", FAKE_SECRET);
        };
        let words = ["--platform", "aws", "--region", "eu-central-1"];
        let words = [&words[..], &["--executor", "async", "--quiet"]].concat();
        kill_at(&points(60, 3), &prepare, &words, false)
    });
    assert!(killing.await.unwrap() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_google_that_is_killed_loses_and_doubles_nothing_and_leaves_nothing_unknown() {
    if runtimes::find("functions-framework-python").is_none() {
        return;
    }
    let fake = FakeGcp::start();
    let environment: Vec<_> = fake.environment().into_iter().collect();
    let killing = tokio::task::spawn_blocking(move || {
        let prepare = |driver: &mut Command| {
            driver.envs(environment.clone());
        };
        let words = ["--platform", "gcp", "--cloud-tasks", "--executor", "async", "--quiet"];
        kill_at(&points(60, 3), &prepare, &words, false)
    });
    assert!(killing.await.unwrap() >= 2);
}

#[test]
fn a_run_that_ctrl_c_suspends_goes_on_by_the_command_that_is_printed() {
    if !has("node") {
        return;
    }
    let machine = Machine::new();
    let directory = tempfile::tempdir().unwrap();
    let journal = format!("--journal={}", directory.path().display());
    let arguments = ["--invocations", "8000", "--samples", "10", "--json", &journal];
    let mut child = machine
        .command("montecarlo")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("throw: started") {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "it has ended: {said}");
    }
    let interrupt = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
    stderr.read_to_string(&mut said).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert!(!ended.status.success(), "{said}");
    let command = said.lines().find(|line| line.contains("go on with it by")).unwrap();
    assert!(command.contains(&journal) && command.contains(" --resume "), "{command}");

    let words = [&arguments[..], &["--resume", "last", "--rerun", "failed", "--memory", "512"]];
    let report = machine.run("montecarlo", &words.concat()).json();
    assert_eq!(report["report"]["invocations"]["succeeded"], 8000);
    let runs = RunJournal::list(&JournalConfig::new(directory.path())).unwrap();
    assert_eq!((runs.len(), runs[0].processes, runs[0].invocations.done), (1, 2, 8000));
}
