//! `run`: deploy, execute, and always remove.

use std::sync::Arc;

use falco_core::Platform;
use falco_executors::{DriverExt, StageState};
use falco_testkit::InMemory;

use super::support::{Notes, Plan, numbers, options};

#[tokio::test(start_paused = true)]
async fn a_run_deploys_executes_and_removes() {
    let platform = Arc::new(InMemory::default());
    let notes = Arc::new(Notes::default());
    let driver = Plan(vec![numbers("only", 3)]);
    let outcome = driver.run(options(&platform).with_monitor(notes.clone())).await.unwrap();

    assert!(outcome.is_success() && outcome.leftovers.is_empty());
    let report = outcome.report.stage("only").unwrap();
    assert_eq!((report.state, report.invocations.succeeded), (StageState::Succeeded, 3));
    assert_eq!(outcome.results("only").unwrap()[2].1.as_str(), r#"{"n":2}"#);
    assert_eq!(platform.list_deployments().await.unwrap(), []);
    let lines = notes.lines();
    assert_eq!(
        lines[..3],
        ["run-1 started with [\"only\"]", "only-run-1 deployed", "only started"]
    );
    assert_eq!(
        lines[lines.len() - 3..],
        ["only succeeded", "only-run-1 removed", "run-1 finished"]
    );
}
