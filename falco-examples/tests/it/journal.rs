//! A driver that is killed again and again: nothing is lost, nothing is doubled, and nothing unknown is called known.
//!
//! The driver is this program again, in a process of its own; the provider's fake lives in this one and outlives it. The
//! function writes each of its runs into a file, so that the laws are checked against what really ran.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

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

use crate::program::{command, has};

/// Says to this program that it is the driver: the file in which the function notes its runs, or `tcp:` and a port.
pub(crate) const RUNS: &str = "FALCO_TEST_RUNS";
/// Says whether the work of the driver is idempotent.
const IDEMPOTENT: &str = "FALCO_TEST_IDEMPOTENT";
/// The arguments of the driver, one a line.
const ARGUMENTS: &str = "FALCO_TEST_ARGUMENTS";
/// How many invocations the driver has, if not so many.
const COUNT: &str = "FALCO_TEST_INVOCATIONS";
pub(crate) const INVOCATIONS: usize = 6;
/// Where a process kills itself.
const KILL_AT: &str = "FALCO_JOURNAL_KILL_AT";
/// Set to any value, each test kills at every point, and not only at some.
pub(crate) const LONG: &str = "FALCO_TEST_ALL_KILLS";

const FUNCTION: &str = "
import os, socket, time

def main(args):
    line = (args['id'] + '\\n').encode()
    if args['path'].startswith('tcp:'):
        # In a container: the file is behind a socket.
        with socket.create_connection(('127.0.0.1', int(args['path'][4:]))) as notes:
            notes.sendall(line)
            notes.recv(1)
    else:
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
    count: usize,
}

impl Driver for Noting {
    fn name(&self) -> &str {
        "noting"
    }

    fn plan(&self) -> falco_core::Result<ExecutionPlan> {
        let path = self.path.clone();
        let stage = Stage::from_fn_sized("work", self.function.clone(), self.count, move |index| {
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
    let count = std::env::var(COUNT).map_or(INVOCATIONS, |count| count.parse().unwrap());
    let launch = Launch::connect(&flags).await.unwrap().with_kept_results(KeepResults::Last);
    let outcome = launch.run(&Noting { function, path, idempotent, count }).await.unwrap();
    let counts = outcome.report.invocations;
    // Everything that is not unknown has to be a success.
    assert_eq!(counts.succeeded + counts.unknown, count as u64, "{}", outcome.report);
    assert_eq!(outcome.is_success(), counts.unknown == 0);
}

/// One run, killed and gone on with in the place that `directory` is.
pub(crate) struct Killed<'a> {
    pub(crate) directory: &'a Path,
    /// The platform as environment and arguments.
    pub(crate) prepare: &'a dyn Fn(&mut Command),
    pub(crate) arguments: &'a [String],
    pub(crate) idempotent: bool,
    pub(crate) count: usize,
}

/// How a process is killed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kill {
    /// By itself, at the nth append, sync or call.
    At(u64),
    /// From outside, once its journal has grown by so many bytes.
    AfterBytes(u64),
}

/// The outcome of a run.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) kills: u32,
    /// How often each invocation ran.
    pub(crate) ran: BTreeMap<String, u32>,
    pub(crate) done: u64,
    pub(crate) unknown: u64,
}

impl Killed<'_> {
    fn journals(&self) -> JournalConfig {
        JournalConfig::new(self.directory.join("journals"))
    }

    /// The file in which the function notes its runs.
    pub(crate) fn runs(&self) -> PathBuf {
        self.directory.join("runs")
    }

    /// Starts the driver until it comes to its end; the first processes die at the points of `kills`.
    pub(crate) fn until_done(&self, kills: &[Kill]) -> Came {
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
    fn process(&self, kill: Option<Kill>) -> Option<Result<(), String>> {
        let journals = self.directory.join("journals");
        let mut arguments = self.arguments.to_vec();
        arguments.push(format!("--journal={}", journals.display()));
        let runs = RunJournal::list(&self.journals()).unwrap();
        if let Some(run) = runs.first() {
            arguments.extend(["--resume".to_owned(), run.run.to_string()]);
        }
        let mut driver = command("driver");
        driver.env(RUNS, self.runs());
        (self.prepare)(&mut driver);
        driver
            .args(["--exact", "journal::the_driver_of_the_other_tests", "--nocapture"])
            .env(ARGUMENTS, arguments.join("\n"))
            .env(COUNT, self.count.to_string())
            .env("FALCO_LOCAL_DIR", self.directory.join("local"))
            .stdin(Stdio::null());
        if self.idempotent {
            driver.env(IDEMPOTENT, "1");
        }
        if let Some(Kill::At(at)) = kill {
            driver.env(KILL_AT, at.to_string());
        }
        let mut child = driver.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if let Some(Kill::AfterBytes(bytes)) = kill {
            let until = log_bytes(&journals) + bytes;
            while child.try_wait().unwrap().is_none() && log_bytes(&journals) < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            // By its pid, as `kill -9`; one that has ended stays as it is.
            child.kill().unwrap();
        }
        let ended = child.wait_with_output().unwrap();
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

/// The bytes of all logs below a folder of journals.
fn log_bytes(journals: &Path) -> u64 {
    let entries = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    let files = entries(journals).flat_map(|run| entries(&run.path()).collect::<Vec<_>>());
    let logs = files.filter(|file| file.path().extension().is_some_and(|it| it == "log"));
    logs.filter_map(|log| Some(log.metadata().ok()?.len())).sum()
}

impl Came {
    /// Nothing lost, nothing doubled, nothing unknown called known.
    pub(crate) fn check(&self, idempotent: bool, count: usize) {
        let all = count as u64;
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

pub(crate) fn arguments(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Kills runs at `points`, once or twice each, and checks the laws; returns the kills, and the invocations that are unknown.
fn kill_at(
    points: &[u64],
    prepare: &dyn Fn(&mut Command),
    words: &[&str],
    idempotent: bool,
) -> (u32, u64) {
    let (mut kills, mut unknown) = (0, 0);
    for point in points {
        let directory = tempfile::tempdir().unwrap();
        let run = Killed {
            directory: directory.path(),
            prepare,
            arguments: &arguments(words),
            idempotent,
            count: INVOCATIONS,
        };
        // A second death, in the resume.
        let came = run.until_done(&[Kill::At(*point), Kill::At(point / 2 + 1)]);
        came.check(idempotent, INVOCATIONS);
        kills += came.kills;
        unknown += came.unknown;
    }
    (kills, unknown)
}

#[test]
fn a_local_run_that_is_killed_at_any_point_loses_and_doubles_nothing() {
    if !has("python3") {
        return;
    }
    let mut kills = 0;
    for (idempotent, executor) in [(false, "parallel"), (true, "async"), (false, "async")] {
        let words = ["--executor", executor, "--concurrency", "3", "--quiet"];
        kills += kill_at(&points(60, 4), &|_| {}, &words, idempotent).0;
    }
    assert!(kills >= 8, "{kills}");
}

#[test]
fn a_local_run_in_batches_that_is_killed_at_any_point_loses_and_doubles_nothing() {
    if !has("python3") {
        return;
    }
    let mut kills = 0;
    for (idempotent, executor) in [(false, "parallel"), (true, "async")] {
        let words = ["--executor", executor, "--concurrency", "3", "--batch", "3", "--quiet"];
        kills += kill_at(&points(24, 3), &|_| {}, &words, idempotent).0;
    }
    assert!(kills >= 4, "{kills}");
}

#[test]
fn two_thousand_real_calls_whose_driver_is_killed_at_random_are_neither_lost_nor_doubled() {
    const CALLS: usize = 2000;
    if !has("python3") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let words = ["--executor", "parallel", "--concurrency", "16", "--quiet"];
    let arguments = arguments(&words);
    let run = Killed {
        directory: directory.path(),
        prepare: &|_| {},
        arguments: &arguments,
        idempotent: false,
        count: CALLS,
    };
    // All of the log has about 600 kB.
    let kills: Vec<_> = (0..4).map(|_| Kill::AfterBytes(fastrand::u64(5_000..150_000))).collect();
    let came = run.until_done(&kills);
    let (kills, unknown) = (came.kills, came.unknown);
    let doubled: Vec<_> = came.ran.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "{kills:?}: {doubled:?}");
    assert!(kills >= 1 && came.done + unknown == CALLS as u64, "{kills} {} {unknown}", came.done);
    // What can be in doubt was being sent when a process died.
    assert!(unknown <= u64::from(kills) * 16, "{unknown} after {kills} kills");
    assert!(came.ran.len() as u64 >= came.done);
}

/// The flags of a run on a fake of OpenWhisk.
pub(crate) fn on_openwhisk(url: &str) -> [&str; 6] {
    ["--platform", "openwhisk", "--host", url, "--token", FAKE_AUTH]
}

/// The flags of a run on AWS.
pub(crate) const ON_AWS: [&str; 4] = ["--platform", "aws", "--region", "eu-central-1"];

/// The flags of a run on Google Cloud whose calls are tasks of a queue.
pub(crate) const ON_GOOGLE: [&str; 3] = ["--platform", "gcp", "--cloud-tasks"];

/// Sends the requests of a driver to a fake of AWS.
pub(crate) fn to_fake_aws(driver: &mut Command, url: &str) {
    driver
        .env("AWS_ENDPOINT_URL", url)
        .env("AWS_ACCESS_KEY_ID", FAKE_ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", FAKE_SECRET);
}

/// Sends the requests of a driver to a fake of Google Cloud.
pub(crate) fn to_fake_google(fake: &FakeGcp) -> impl Fn(&mut Command) + Send + use<> {
    let environment: Vec<_> = fake.environment().into_iter().collect();
    move |driver| {
        driver.envs(environment.clone());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_openwhisk_that_is_killed_loses_and_doubles_nothing() {
    if !has("python3") {
        return;
    }
    let fake = FakeOpenWhisk::start();
    let url = fake.url().to_owned();
    let killing = tokio::task::spawn_blocking(move || {
        let words = [&on_openwhisk(&url)[..], &["--executor", "async", "--quiet"]].concat();
        kill_at(&points(60, 3), &|_| {}, &words, false)
    });
    assert!(killing.await.unwrap().0 >= 2);
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
        let prepare = |driver: &mut Command| to_fake_aws(driver, &url);
        let words = [&ON_AWS[..], &["--executor", "async", "--quiet"]].concat();
        kill_at(&points(60, 3), &prepare, &words, false)
    });
    assert!(killing.await.unwrap().0 >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_google_that_is_killed_loses_and_doubles_nothing_and_leaves_nothing_unknown() {
    if runtimes::find("functions-framework-python").is_none() {
        return;
    }
    let fake = FakeGcp::start();
    let prepare = to_fake_google(&fake);
    let killing = tokio::task::spawn_blocking(move || {
        let words = [&ON_GOOGLE[..], &["--executor", "async", "--quiet"]].concat();
        kill_at(&points(60, 3), &prepare, &words, false)
    });
    let (kills, unknown) = killing.await.unwrap();
    assert!(kills >= 2 && unknown == 0, "{kills} kills, {unknown} unknown");
}
