//! Functions that need more than they have, on every platform, and one run over two of them.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{
    AsyncPlatform, Deployable, Driver, ExecutionPlan, FunctionErrorKind, Invocation, Payload,
    Platform, Result, RuntimeName, Scaling, Stage, async_trait,
};
use falco_executors::{DriverExt, RunOptions};
use falco_layers::{Escalation, Ladder, Part, RetryPolicy, Share, Spread, Stack};
use falco_testkit::conformance::{Fault, Harness, Skip};
use serde_json::json;

use crate::rust_fixture::{Aws, Google, Local, On, Provider, Whisk};

/// Sleeps for as long as its input says.
const SLEEP: &str = "import time\n\ndef main(args):\n    time.sleep(args['s'])\n    return args\n";

#[derive(Debug)]
struct Sleep;

impl Driver for Sleep {
    fn name(&self) -> &str {
        "sleep"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let scaling = Scaling::default().with_timeout(Duration::from_secs(1));
        let sleep = Deployable::python("sleep", SLEEP).with_scaling(scaling);
        let stage = Stage::from_values("sleep", sleep, [json!({"s": 0.0}), json!({"s": 2.0})])?;
        ExecutionPlan::new(vec![stage])
    }
}

/// An input that takes longer than its function may is repeated on a deployment with more time, and both are removed.
async fn grows<P: Provider>() {
    let provider = P::start().await;
    // Enough for a slow machine; the function is over after two seconds.
    let ladder = Ladder::timeouts([Duration::from_secs(50)]).unwrap();
    let options = RunOptions::from(provider.platform.clone())
        .with_layers(|platform| Ok(Escalation::wrap(Stack::new().wrap(platform)?, ladder)))
        .unwrap();
    let outcome = Sleep.run(options).await.unwrap();
    assert!(outcome.is_success(), "{:?}", outcome.error());
    let stage = &outcome.report.stages[0];
    let timed_out: u64 = stage.sizes.iter().map(|size| size.timed_out).sum();
    assert!(timed_out >= 1 && stage.retries >= 1, "{stage:?}");
    assert!(provider.platform.list_deployments().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_that_needs_more_time_gets_it_on_this_machine() {
    grows::<Local>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_that_needs_more_time_gets_it_on_openwhisk() {
    grows::<Whisk>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_that_needs_more_time_gets_it_on_aws() {
    grows::<Aws>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_that_needs_more_time_gets_it_on_google() {
    grows::<Google>().await;
}

/// Takes a hundred megabytes more than a small deployment has. The first run holds them until it is ended.
const EAT: &str = "
import os, time

def main(args):
    is_first = not os.path.exists(args['mark'])
    open(args['mark'], 'w').close()
    eaten = bytearray(100 << 20)
    if is_first:
        time.sleep(60)
    return {'eaten': len(eaten)}
";

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_that_needs_more_memory_gets_it_on_this_machine() {
    let provider = Local::start().await;
    let ladder = Ladder::memory([512]).unwrap();
    let platform = Escalation::wrap(provider.platform.clone(), ladder);
    let scaling = Scaling::default().with_memory_mib(64);
    let function = Deployable::python("eat", EAT).with_scaling(scaling);
    let deployment = platform.deploy(&function).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let argument = Payload::json(&json!({"mark": folder.path().join("mark")})).unwrap();
    let invocation = Invocation::new("run", "stage", "0", argument);
    let failed = platform.invoke(&deployment, &invocation).await.unwrap();
    let kind = failed.outcome.as_ref().unwrap_err().kind;
    assert_eq!(kind, FunctionErrorKind::OutOfMemory, "{failed:?}");
    let eaten = platform.invoke(&deployment, &invocation).await.unwrap();
    assert!(eaten.is_success(), "{eaten:?}");
    platform.remove(&deployment).await.unwrap();
    assert!(provider.platform.list_deployments().await.unwrap().is_empty());
}

/// Dies at first as what runs out of memory does: the kernel kills it.
const KILLED_PYTHON: &str = "
import os

def main(args):
    if not os.path.exists(args['mark']):
        open(args['mark'], 'w').close()
        os.kill(os.getpid(), 9)
    return args
";
const KILLED_NODE: &str = "
const fs = require('fs');
async function main(args) {
  if (!fs.existsSync(args.mark)) {
    fs.writeFileSync(args.mark, '');
    process.kill(process.pid, 'SIGKILL');
    await new Promise(() => {});
  }
  return args;
}
";

#[derive(Debug)]
struct Killed {
    function: Deployable,
    mark: std::path::PathBuf,
}

impl Driver for Killed {
    fn name(&self) -> &str {
        "killed"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let inputs = [json!({"mark": self.mark})];
        ExecutionPlan::new(vec![Stage::from_values("eat", self.function.clone(), inputs)?])
    }
}

/// An input that is killed for its memory is repeated on a deployment with more.
async fn is_killed<P: Provider>(function: Deployable) {
    let provider = P::start().await;
    let folder = tempfile::tempdir().unwrap();
    let ladder = Ladder::memory([256, 512]).unwrap();
    let options = RunOptions::from(provider.platform.clone())
        .with_layers(|platform| Ok(Escalation::wrap(Stack::new().wrap(platform)?, ladder)))
        .unwrap();
    let outcome = Killed { function, mark: folder.path().join("mark") }.run(options).await.unwrap();
    assert!(outcome.is_success(), "{:?}", outcome.error());
    let stage = &outcome.report.stages[0];
    let out_of_memory: u64 = stage.sizes.iter().map(|size| size.out_of_memory).sum();
    assert_eq!((out_of_memory, stage.retries), (1, 1), "{stage:?}");
    assert!(provider.platform.list_deployments().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_that_is_killed_for_memory_gets_more_on_openwhisk() {
    is_killed::<Whisk>(Deployable::nodejs("killed", KILLED_NODE)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_that_is_killed_for_memory_gets_more_on_aws() {
    is_killed::<Aws>(Deployable::python("killed", KILLED_PYTHON)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_that_is_killed_for_memory_gets_more_on_google() {
    is_killed::<Google>(Deployable::python("killed", KILLED_PYTHON)).await;
}

/// AWS and OpenWhisk as one platform.
struct TwoClouds {
    spread: Arc<Spread>,
    _providers: (On<Aws>, On<Whisk>),
}

#[async_trait]
impl Harness for TwoClouds {
    async fn start() -> Self {
        let (aws, whisk) = (Aws::start().await, Whisk::start().await);
        let parts = [Part::new(aws.platform.clone()), Part::new(whisk.platform.clone())];
        let stack = Stack::new().with_retry(RetryPolicy::none());
        let spread = Arc::new(Spread::with_stack(Share::Weight, parts, &stack).unwrap());
        Self { spread, _providers: (aws, whisk) }
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.spread.clone()
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        vec!["python:3".parse().unwrap()]
    }

    fn exempt(&self, case: &str) -> Option<Skip> {
        let reason = match case {
            "a_throttled_call_is_sent_once" | "a_throttled_submission_is_sent_once" => {
                "what one part throttles goes to the other"
            }
            "the_same_deployed_again_keeps_its_instances" => {
                "calls take turns, so the first two start an instance on each part"
            }
            _ => return None,
        };
        Some(Skip::new(reason))
    }

    async fn provoke(&self, _: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        Err(Skip::new("faults of both at once are provoked in the tests of falco-layers"))
    }
}

mod conformance {
    use super::TwoClouds;

    falco_testkit::conformance_tests!(TwoClouds, tokio::test(flavor = "multi_thread"));
}
