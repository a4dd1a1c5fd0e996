//! A driver that is killed and gone on with, while the gateway outlives it: nothing is lost, nothing is doubled, and nothing
//! unknown is called known.
//!
//! The driver is this program again, in a process of its own. The function writes each of its runs into a file, so that the
//! laws are checked against what really ran.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use falco_core::{
    AsyncPlatform, Deployable, Driver, ExecutionPlan, OnFailure, Payload, Result, RunId, Stage,
    StagePolicy,
};
use falco_executors::{AsyncExecutor, DriverExt, ParallelExecutor, RunOptions};
use falco_fakes::openfaas::{FAKE_PASSWORD, FakeOpenFaas};
use falco_journal::{JournalConfig, ResumeOptions, RunJournal, RunSummary};
use falco_layers::{HeldPolicy, Stack};
use falco_openfaas::{OpenFaas, OpenFaasConfig, OpenFaasWaits};
use serde_json::json;

/// Says to this program that it is the driver: the gateway's address.
const GATEWAY: &str = "FALCO_TEST_GATEWAY";
/// The folder of the run: its journal, and the file in which the function notes its runs.
const FOLDER: &str = "FALCO_TEST_FOLDER";
/// Set where the calls are idempotent and submitted to the layer that holds them open.
const HELD: &str = "FALCO_TEST_HELD";
/// Where a process kills itself: at the nth append, sync or call.
const KILL_AT: &str = "FALCO_JOURNAL_KILL_AT";
const INVOCATIONS: usize = 8;
/// Calls at the same time.
const AT_ONCE: usize = 3;

const FUNCTION: &str = "
import os

def main(args):
    file = os.open(args['path'], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (args['id'] + '\\n').encode())
    os.close(file)
    return {'id': args['id']}
";

#[derive(Debug)]
struct Noting {
    path: String,
    is_idempotent: bool,
}

impl Driver for Noting {
    fn name(&self) -> &str {
        "noting"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let path = self.path.clone();
        let function = Deployable::python("noting", FUNCTION);
        let stage = Stage::from_fn_sized("work", function, INVOCATIONS, move |index| {
            Payload::json(&json!({"id": format!("{index:08}"), "path": path}))
        });
        let stage = stage.with_policy(StagePolicy::default().with_on_failure(OnFailure::Continue));
        ExecutionPlan::new(vec![if self.is_idempotent { stage.idempotent() } else { stage }])
    }
}

/// Not a test: the driver, when another test starts it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_driver_of_the_other_tests() {
    let Ok(gateway) = std::env::var(GATEWAY) else { return };
    let folder = std::env::var(FOLDER).unwrap();
    let waits = OpenFaasWaits::default().with_rollout_interval(Duration::from_millis(5));
    let config = OpenFaasConfig::builder().gateway(gateway).python_image("python:3").waits(waits);
    let platform =
        OpenFaas::connect(config.password(FAKE_PASSWORD).build().unwrap()).await.unwrap();
    let journals = JournalConfig::new(&folder);
    let journal = match known(&folder) {
        None => RunJournal::create(&journals, RunId::from("6553f100-0000beef")),
        Some(known) => RunJournal::resume(&journals, &known.run, ResumeOptions::default()),
    };
    let journal = journal.unwrap();
    let is_held = std::env::var_os(HELD).is_some();
    let platform: Arc<dyn AsyncPlatform> = Arc::new(platform);
    let options = if is_held {
        let held = Stack::new().with_held(HeldPolicy::default()).with_journal(journal.clone());
        let executor = AsyncExecutor::with_window(AT_ONCE).unwrap();
        RunOptions::from(held.wrap(platform).unwrap()).with_strategy(executor)
    } else {
        let executor = ParallelExecutor::with_concurrency(AT_ONCE).unwrap();
        RunOptions::from(platform).with_strategy(executor)
    };
    let path = format!("{folder}/runs");
    let driver = Noting { path, is_idempotent: is_held };
    let outcome = driver.run(options.with_journal(journal)).await.unwrap();
    let counts = outcome.report.invocations;
    // Everything that is not unknown has to be a success.
    assert_eq!(counts.succeeded + counts.unknown, INVOCATIONS as u64, "{}", outcome.report);
}

fn known(folder: impl AsRef<Path>) -> Option<RunSummary> {
    RunJournal::list(&JournalConfig::new(folder.as_ref())).unwrap().into_iter().next()
}

/// Starts the driver until it comes to its end, and returns how many were killed; the first die at these points.
fn until_done(gateway: &str, folder: &Path, is_held: bool, points: &[u64]) -> u32 {
    let mut kills = 0;
    for process in 0.. {
        assert!(process < 20, "it comes to no end");
        let mut driver = Command::new(std::env::current_exe().unwrap());
        driver
            .args(["--exact", "openfaas_kills::the_driver_of_the_other_tests", "--nocapture"])
            .env(GATEWAY, gateway)
            .env(FOLDER, folder)
            .stdin(Stdio::null());
        if is_held {
            driver.env(HELD, "1");
        }
        if let Some(point) = points.get(process) {
            driver.env(KILL_AT, point.to_string());
        }
        let ended = driver.output().unwrap();
        match ended.status.code() {
            None => kills += 1,
            Some(0) => break,
            Some(_) => panic!(
                "a process failed: {}{}",
                String::from_utf8_lossy(&ended.stderr),
                String::from_utf8_lossy(&ended.stdout)
            ),
        }
    }
    kills
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_driver_is_killed_loses_and_doubles_nothing() {
    let fake = FakeOpenFaas::start();
    let mut kills = 0;
    // Each death is somewhere else in each run of the test; the last processes run to their end.
    for (is_held, points) in [(false, [6..20, 4..16]), (true, [6..14, 4..10])] {
        let folder = tempfile::tempdir().unwrap();
        let points = points.map(fastrand::u64);
        let (gateway, path) = (fake.url().to_owned(), folder.path().to_owned());
        let driving =
            tokio::task::spawn_blocking(move || until_done(&gateway, &path, is_held, &points));
        kills += driving.await.unwrap();
        let counts = known(folder.path()).unwrap().invocations;
        let text = std::fs::read_to_string(folder.path().join("runs")).unwrap_or_default();
        let mut ran = BTreeMap::<_, u32>::new();
        for line in text.lines() {
            *ran.entry(line.to_owned()).or_default() += 1;
        }
        let said = format!("killed at {points:?}: {counts:?}, {ran:?}");
        if is_held {
            assert_eq!((counts.done, counts.unknown), (INVOCATIONS as u64, 0), "{said}");
            assert_eq!(ran.len(), INVOCATIONS, "{said}");
        } else {
            assert!(ran.values().all(|times| *times == 1), "{said}");
            assert_eq!(counts.done + counts.unknown, INVOCATIONS as u64, "{said}");
            assert!(ran.len() as u64 >= counts.done, "{said}");
            // What can be in doubt was being sent when a process died.
            assert!(counts.unknown <= (AT_ONCE * points.len()) as u64, "{said}");
        }
    }
    assert!(kills >= 2, "{kills}");
    assert_eq!(fake.names(), Vec::<String>::new(), "nothing is left");
}
