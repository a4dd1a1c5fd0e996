//! Journals on a file system that is really full: a small one in memory, which only root can mount.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use falco_core::{
    Driver, ErrorKind, ExecutionPlan, OnFailure, Payload, Platform, Result, Stage, StagePolicy,
};
use falco_executors::{AsyncExecutor, DriverExt, RunOptions};
use falco_journal::{Durability, ResumeOptions, RunJournal};
use falco_testkit::{InMemory, Reply, Settings};
use tempfile::TempDir;

use crate::support::{RUN, config, function, payload};

/// A file system in memory, unmounted at the end.
struct Small(TempDir);

impl Small {
    /// Mounts one of so many KiB; says what is skipped where that is not possible.
    fn mount(kib: u32) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let small = Self(directory);
        if small.call("mount", &["-t", "tmpfs", "-o", &format!("size={kib}k"), "falco-test"]) {
            return Some(small);
        }
        let message = "skipped: a file system in memory cannot be mounted: run the tests as root";
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{message}");
        eprintln!("{message}");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn enlarge(&self, kib: u32) {
        assert!(self.call("mount", &["-o", &format!("remount,size={kib}k")]));
    }

    fn call(&self, program: &str, arguments: &[&str]) -> bool {
        let called = Command::new(program).args(arguments).arg(self.path()).output();
        called.is_ok_and(|output| output.status.success())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Else the folder cannot be removed.
        self.call("umount", &[]);
    }
}

/// Work that must not run twice, with results of so many bytes.
#[derive(Debug)]
struct Filling {
    count: usize,
    bytes: usize,
}

impl Driver for Filling {
    fn name(&self) -> &str {
        "filling"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let echo = function("def main(args): return args");
        let stage =
            Stage::from_fn_sized("fill", echo, self.count, |index| Ok(payload(index as u64)));
        let policy = StagePolicy::default().with_on_failure(OnFailure::Continue);
        ExecutionPlan::new(vec![stage.with_policy(policy)])
    }
}

async fn fills_the_disk(work: Filling) {
    let Some(disk) = Small::mount(256) else { return };
    let text = "x".repeat(work.bytes);
    let platform = InMemory::new(Settings::default()).with_function("python", move |call| {
        let result = serde_json::json!({"of": call.payload().as_str(), "text": text});
        Reply::succeeded(Payload::json(&result).unwrap())
    });
    let platform = Arc::new(platform);
    let options = |journal: &Arc<RunJournal>| {
        RunOptions::from(platform.clone())
            .with_strategy(AsyncExecutor::with_window(8).unwrap())
            .with_journal(journal.clone())
    };
    let config = config(disk.path()).with_durability(Durability::Machine);
    let journal = RunJournal::create(&config, RUN.into()).unwrap();
    let outcome = work.run(options(&journal)).await.unwrap();
    assert!(outcome.is_suspended() && !outcome.is_success());
    let error = outcome.error().unwrap();
    let said = format!("{error}: {:?}", std::error::Error::source(error));
    let file = PathBuf::from(RUN);
    assert!(said.contains(file.to_str().unwrap()) && said.contains("cannot be written"), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(platform.list_deployments().await.unwrap().len(), 1, "functions stay");
    drop((outcome, journal));

    disk.enlarge(16 * 1024);
    let run = RUN.into();
    assert!(RunJournal::verify(&config, &run).unwrap().is_empty(), "what fitted is whole");
    let journal = loop {
        // What the first run has spawned lets go of its journal a moment later.
        match RunJournal::resume(&config, &run, ResumeOptions::default()) {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            resumed => break resumed.unwrap(),
        }
    };
    let outcome = work.run(options(&journal)).await.unwrap();
    let counts = outcome.report.invocations;
    assert!(counts.recalled > 0, "{counts:?}");
    // Those that the provider had accepted when the disk was full, and whose acceptance could not be recorded.
    assert!(counts.unknown <= 8 && counts.failed() == 0, "{counts:?}");
    assert_eq!(counts.succeeded + counts.unknown, work.count as u64, "{:?}", outcome.error());
    let started = platform.counters().started;
    assert!(started <= work.count as u64, "{started} activations: something ran twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_log_fills_the_disk_is_suspended_and_goes_on_with_more_room() {
    fills_the_disk(Filling { count: 2000, bytes: 10 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_long_results_fill_the_disk_is_suspended_and_goes_on_with_more_room() {
    fills_the_disk(Filling { count: 12, bytes: 80_000 }).await;
}
