//! The platforms that get the default layers.

use std::sync::Arc;

use falco_core::{Capabilities, Driver, Platform, Result};
use falco_executors::session::Session;
use falco_executors::typed::{Function, Pipeline};
use falco_executors::{AsyncExecutor, DriverExt, Run, RunOptions};
use falco_layers::{RetryPolicy, Stack};
use falco_testkit::{Fate, Fates, InMemory, Settings};

/// A platform that refuses the first call: without layers, the run fails.
fn refusing(capabilities: Capabilities) -> Arc<InMemory> {
    let fates = Fates::sequence([Fate::throttle(None)]);
    let platform = InMemory::new(Settings { capabilities, fates, ..Settings::default() });
    // The deployment is not what is refused.
    Arc::new(platform)
}

fn local() -> Capabilities {
    Settings::default().capabilities
}

fn remote() -> Capabilities {
    local().with_wants_layers(true)
}

fn echo() -> Function<serde_json::Value, serde_json::Value> {
    Function::python("echo", "echo")
}

async fn map(options: impl Into<RunOptions>) -> Result<Vec<serde_json::Value>> {
    Run::on(options).map(&echo(), vec![serde_json::json!({}); 3]).await
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_wants_layers_is_paced_and_retried() {
    assert_eq!(map(refusing(remote())).await.unwrap().len(), 3);

    let mut pipeline = Pipeline::new("echo");
    let echoed = pipeline.inputs("echo", &echo(), vec![serde_json::json!({}); 3]).unwrap();
    let outcome = pipeline.run(refusing(remote())).await.unwrap();
    assert_eq!(outcome.results_of(&echoed).unwrap().len(), 3);

    let driver: &dyn Driver = &pipeline;
    let deployed = driver.deploy(refusing(remote())).await.unwrap();
    let outcome = driver.execute(&**deployed.strategy(), &deployed).await;
    driver.remove(&deployed).await.unwrap();
    assert!(outcome.is_success(), "{:?}", outcome.error());
}

#[tokio::test(start_paused = true)]
async fn other_platforms_and_those_that_decline_are_taken_as_they_are() {
    assert!(map(refusing(local())).await.is_err());
    assert!(map(RunOptions::from(refusing(remote())).without_layers()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_stack_of_the_users_own_is_not_wrapped_again() {
    let wrapped = Stack::new().with_max_rate(1000.0).wrap(refusing(remote())).unwrap();
    assert!(!RunOptions::from(wrapped).wants_layers());

    let stack = Stack::new().with_retry(RetryPolicy::with_retries(0));
    let options = RunOptions::from(refusing(remote()));
    let options = options.with_layers(|platform| stack.wrap(platform)).unwrap();
    assert!(map(options).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_strategy_that_submits_works_on_a_remote_platform_that_can_only_invoke() {
    let platform = refusing(remote().with_submit(false));
    let options = RunOptions::from(platform.clone()).with_strategy(AsyncExecutor::new());
    let submits = |options| Session::start(options).unwrap().platform().capabilities().submit;
    assert!(submits(options));
    assert!(!submits(RunOptions::from(platform)));
}
