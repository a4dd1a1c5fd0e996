//! Inputs that need more than their function has: each is repeated on a deployment with more.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{Deployable, Driver, ExecutionPlan, Result, Scaling, Stage};
use falco_executors::report::SizeReport;
use falco_executors::{DriverExt, RunOptions};
use falco_fakes::openfaas::FakeOpenFaas;
use falco_layers::{Escalation, Ladder, Stack};
use falco_openfaas::OpenFaas;
use serde_json::json;

/// Takes longer than it may at first.
const SLEEP: &str = "
import time

def main(args):
    time.sleep(2)
    return {}
";

/// Kills itself with SIGKILL in its first run, as the kernel kills a process that runs out of memory.
const EAT: &str = "
import os

def main(args):
    if not os.path.exists(args['mark']):
        open(args['mark'], 'w').close()
        os.kill(os.getpid(), 9)
    return {}
";

#[derive(Debug)]
struct Once {
    function: Deployable,
    mark: std::path::PathBuf,
}

impl Driver for Once {
    fn name(&self) -> &str {
        "once"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let inputs = [json!({"mark": self.mark})];
        ExecutionPlan::new(vec![Stage::from_values("once", self.function.clone(), inputs)?])
    }
}

/// Runs a function that needs the second size, and returns how often each failure was seen: out of memory, and timed out.
async fn failures(function: Deployable, ladder: Ladder) -> (u64, u64) {
    let fake = FakeOpenFaas::start();
    let platform = Arc::new(OpenFaas::connect(fake.config().build().unwrap()).await.unwrap());
    let options = RunOptions::from(platform.clone())
        .with_layers(|platform| Ok(Escalation::wrap(Stack::new().wrap(platform)?, ladder)))
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let driver = Once { function, mark: folder.path().join("mark") };
    let outcome = driver.run(options).await.unwrap();
    assert!(outcome.is_success(), "{:?}", outcome.error());
    let stage = &outcome.report.stages[0];
    assert_eq!(stage.retries, 1, "{stage:?}");
    assert!(fake.names().is_empty(), "not removed: {:?}", fake.names());
    let sum = |of: fn(&SizeReport) -> u64| stage.sizes.iter().map(of).sum();
    (sum(|size| size.out_of_memory), sum(|size| size.timed_out))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_that_needs_more_time_gets_it() {
    let scaling = Scaling::default().with_timeout(Duration::from_secs(1));
    // Enough for a slow machine.
    let ladder = Ladder::timeouts([Duration::from_secs(50)]).unwrap();
    let sleep = Deployable::python("sleep", SLEEP).with_scaling(scaling);
    assert_eq!(failures(sleep, ladder).await, (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_that_is_killed_for_memory_gets_more() {
    let ladder = Ladder::memory([256, 512]).unwrap();
    assert_eq!(failures(Deployable::python("eat", EAT), ladder).await, (1, 0));
}
