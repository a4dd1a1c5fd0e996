//! Invocations that need more memory or time than their deployment has.

use std::slice;
use std::sync::Arc;

use falco_core::*;
use falco_executors::{
    AsyncExecutor, DriverExt, ExecutionOptions, OnFailure, ParallelExecutor, RunOptions, RunOutcome,
};
use falco_layers::{Budget, Escalation, Ladder, Stack};
use falco_testkit::{FunctionCall, InMemory, Latency, Reply, Settings};
use proptest::prelude::*;
use tokio::time::sleep;

use crate::support::*;

/// Inputs that say how many MiB and seconds they need.
#[derive(Debug)]
struct Needy(Vec<(u32, u64)>);

impl Driver for Needy {
    fn name(&self) -> &str {
        "needy"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let scaling = Scaling::default().with_memory_mib(256).with_timeout(secs(10));
        let inputs =
            self.0.iter().map(|(mib, seconds)| serde_json::json!({"mib": mib, "s": seconds}));
        let stage = Stage::from_values("map", function().with_scaling(scaling), inputs)?;
        ExecutionPlan::new(vec![stage])
    }
}

/// A platform whose functions run out of what they are not granted.
fn platform() -> Arc<InMemory> {
    let prices = Prices::default().with_request(1.0);
    let capabilities = Settings::default().capabilities.with_prices(prices);
    let latency = Latency::fixed(millis(10));
    let memory = InMemory::new(Settings { capabilities, latency, ..Settings::default() });
    Arc::new(memory.with_function("python", |call: &FunctionCall<'_>| {
        let input: serde_json::Value = call.payload().parse().unwrap();
        let granted = call.scaling;
        let kind = if input["mib"].as_u64() > granted.memory_mib.map(u64::from) {
            FunctionErrorKind::OutOfMemory
        } else if input["s"].as_u64() > granted.timeout.map(|timeout| timeout.as_secs()) {
            FunctionErrorKind::Timeout
        } else {
            let line = format!("{:?} MiB", granted.memory_mib.unwrap());
            return Reply::succeeded(call.payload().clone()).printing(line);
        };
        Reply::failed(FunctionError::new(kind, "too much"))
    }))
}

fn ladder() -> Ladder {
    Ladder::memory([256, 512, 1024]).unwrap().with_timeouts([secs(60)]).unwrap()
}

async fn run(platform: &Arc<InMemory>, inputs: Vec<(u32, u64)>, submits: bool) -> RunOutcome {
    let options = RunOptions::from(platform.clone());
    let go_on = ExecutionOptions::default().with_on_failure(OnFailure::Continue);
    let options = match submits {
        true => options.with_strategy(AsyncExecutor::with_window(1).unwrap().with_options(go_on)),
        false => options
            .with_strategy(ParallelExecutor::with_concurrency(1).unwrap().with_options(go_on)),
    };
    let options = options
        .with_layers(|platform| Ok(Escalation::wrap(Stack::new().wrap(platform)?, ladder())));
    Needy(inputs).run(options.unwrap()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_invocation_grows_as_far_as_it_needs_and_the_others_stay_where_they_are() {
    for submits in [false, true] {
        let platform = platform();
        let outcome = run(&platform, vec![(100, 1), (1000, 30), (100, 1)], submits).await;
        assert!(outcome.is_success(), "{:?}", outcome.error());
        let stage = &outcome.report.stages[0];
        // The second: out of memory twice, then out of time.
        assert_eq!((stage.attempts, stage.retries), (6, 3), "{submits}");
        let sizes: Vec<_> = stage.sizes.iter().map(|it| (it.memory_mib, it.activations)).collect();
        assert_eq!(sizes, [(Some(256), 3), (Some(512), 1), (Some(1024), 1), (Some(1024), 1)]);
        assert_eq!(platform.counters().deploys, 4, "each size when it is first needed");
        assert!(platform.list_deployments().await.unwrap().is_empty(), "all sizes are removed");
        assert_eq!(platform.counters().unreleased, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn later_invocations_begin_with_what_most_of_the_stage_needed() {
    let platform = platform();
    let outcome = run(&platform, vec![(500, 1); 10], false).await;
    assert!(outcome.is_success());
    let sizes: Vec<_> = outcome.report.stages[0].sizes.iter().map(|it| it.activations).collect();
    // Four grow; the others begin there.
    assert_eq!(sizes, [4, 10]);
}

#[tokio::test(start_paused = true)]
async fn an_invocation_that_needs_more_than_the_largest_size_fails_by_its_own_error() {
    for (input, kind) in [((2048, 1), "out of memory"), ((1, 100), "timed out")] {
        let outcome = run(&platform(), vec![input], false).await;
        let failure = &outcome.report.stages[0].failures[0];
        assert!(failure.reason.contains(kind), "{failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn logs_and_releases_go_to_the_size_that_ran_an_activation() {
    let platform = platform();
    let escalation = Escalation::wrap(platform.clone(), ladder());
    let scaling = Scaling::default().with_memory_mib(256).with_timeout(secs(10));
    let deployment = escalation.deploy(&function().with_scaling(scaling)).await.unwrap();
    let needing = |id: &str, mib: u32| {
        let payload = Payload::json(&serde_json::json!({ "mib": mib, "s": 1 })).unwrap();
        Invocation::new("run", "stage", id, payload)
    };
    let (small, large) = (needing("small", 100), needing("large", 500));
    let outgrown = escalation.submit(&deployment, &large).await.unwrap();
    sleep(secs(1)).await;
    let failed = escalation.collect(&deployment, slice::from_ref(&outgrown)).await.unwrap();
    assert_eq!(failed.finished[0].attribute(Activation::OUTGROWN), Some("true"));
    let mut pending = vec![escalation.submit(&deployment, &large).await.unwrap()];
    pending.push(escalation.submit(&deployment, &small).await.unwrap());
    sleep(secs(1)).await;
    let collected = escalation.collect(&deployment, &pending).await.unwrap();
    assert_eq!(collected.finished.iter().filter(|done| done.is_success()).count(), 2);
    pending.push(outgrown);
    let ids: Vec<_> = pending.into_iter().map(|it| it.id).collect();
    // The sizes are forgotten with the release; the logs are there still, and in the order asked for.
    for is_released in [false, true] {
        let logs = escalation.activation_log(&deployment, &ids).await.unwrap();
        let lines: Vec<_> = logs.iter().map(|log| (&log.id, log.lines[0].text.as_str())).collect();
        assert_eq!(lines, [(&ids[0], "512 MiB"), (&ids[1], "256 MiB")], "{is_released}");
        escalation.release(&deployment, &ids, Release::Taken);
        assert_eq!((platform.counters().unreleased, platform.counters().taken), (0, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn each_size_is_paid_from_the_budget() {
    let platform = platform();
    let budget = Budget::new(UsDollars(100.0)).unwrap();
    let stack = Stack::new().with_budget(budget.clone());
    let options = RunOptions::from(platform.clone())
        .with_budget(budget)
        .with_layers(|platform| Ok(Escalation::wrap(stack.wrap(platform)?, ladder())))
        .unwrap();
    let outcome = Needy(vec![(1000, 1)]).run(options).await.unwrap();
    assert_eq!(outcome.report.budget.unwrap().spent, UsDollars(3.0));
}

#[tokio::test(start_paused = true)]
async fn a_function_that_another_process_has_deployed_is_removed_in_all_its_sizes() {
    let platform = platform();
    let first = Escalation::wrap(platform.clone(), ladder());
    let scaling = Scaling::default().with_memory_mib(256).with_timeout(secs(10));
    let deployment = first.deploy(&function().with_scaling(scaling)).await.unwrap();
    let needy = |id: &str| {
        let payload = Payload::json(&serde_json::json!({"mib": 500, "s": 1})).unwrap();
        Invocation::new("run", "stage", id, payload)
    };
    let failed = first.invoke(&deployment, &needy("1")).await.unwrap();
    assert_eq!(failed.attribute(Activation::OUTGROWN), Some("true"));
    assert!(first.invoke(&deployment, &needy("1")).await.unwrap().is_success());
    // Another invocation does not profit from it.
    assert!(!first.invoke(&deployment, &needy("2")).await.unwrap().is_success());
    assert_eq!(platform.list_deployments().await.unwrap().len(), 2);
    let second = Escalation::wrap(platform.clone(), ladder());
    second.remove(&deployment).await.unwrap();
    assert!(platform.list_deployments().await.unwrap().is_empty());
    // The first knows a larger size, which is gone.
    let again = first.remove(&deployment).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::NotFound);
    platform.deploy(&function()).await.unwrap();
    first.remove(&deployment).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn an_invocation_succeeds_exactly_if_a_size_of_the_ladder_is_enough_for_it(
        needs in prop::collection::vec((1..1_500_u32, 1..90_u64), 1..20),
        submits in any::<bool>(),
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let platform = platform();
        let (outcome, left) = runtime.block_on(async {
            let outcome = run(&platform, needs.clone(), submits).await;
            (outcome, platform.list_deployments().await.unwrap())
        });
        let fits = |(mib, seconds): &&(u32, u64)| *mib <= 1024 && *seconds <= 60;
        let fitting = needs.iter().filter(fits).count() as u64;
        let stage = &outcome.report.stages[0];
        prop_assert_eq!(stage.invocations.succeeded, fitting, "{:?}", stage);
        prop_assert_eq!(stage.invocations.function_failed, needs.len() as u64 - fitting);
        // Three steps of memory and one more of time: no invocation is sent more often.
        prop_assert!(stage.attempts <= 4 * needs.len() as u64, "{:?}", stage);
        let by_size: u64 = stage.sizes.iter().map(|size| size.activations).sum();
        prop_assert_eq!(by_size, stage.attempts, "each attempt is in the report by its size");
        prop_assert!(left.is_empty(), "{:?}", left);
    }
}
