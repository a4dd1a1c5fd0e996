//! Tests of deployments that runs share or that another process has made, and of arguments stored with functions.

use std::sync::Arc;

use falco_core::{Deployable, Deployment, ErrorKind, Payload, Platform, RunId, RuntimeName, Stage};
use falco_executors::{DriverExt, RunOptions};
use falco_testkit::{Fate, Fates, InMemory, Operation, Settings};
use serde_json::json;

use super::support::{Naive, Plan, function, json, numbers, options};

async fn names(platform: &InMemory) -> Vec<String> {
    let deployments = platform.list_deployments().await.unwrap();
    deployments.into_iter().map(|deployment| deployment.name).collect()
}

/// Options of a run of its own, which shares deployments.
fn reusing(platform: &Arc<InMemory>) -> RunOptions {
    RunOptions::new(platform.clone(), Arc::new(Naive(4))).with_reuse(true)
}

#[tokio::test(start_paused = true)]
async fn a_stage_runs_on_what_another_process_has_deployed_and_leaves_it_there() {
    let platform = Arc::new(InMemory::default());
    let there = platform.deploy(&function("map")).await.unwrap();
    let reduce = numbers("reduce", 2);
    let plan = Plan(vec![numbers("map", 3), reduce]);
    let outcome = plan.run(options(&platform).with_deployment("map", there)).await.unwrap();
    assert!(outcome.is_success(), "{:?}", outcome.error());
    assert_eq!(outcome.results("map").unwrap().len(), 3);
    assert_eq!(names(&platform).await, ["map"]);
    // Its own deployment of the other stage is gone, and it has made no other.
    assert_eq!((platform.counters().deploys, platform.counters().removes), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_does_not_fit_its_stage_is_refused_before_anything_is_sent() {
    let platform = Arc::new(InMemory::default());
    let there = platform.deploy(&function("map")).await.unwrap();
    let before = platform.counters();
    let refused = |stage: &'static str, given: Deployment, plan: Plan| {
        let options = options(&platform).with_deployment(stage, given);
        async move { plan.run(options).await.unwrap_err() }
    };
    let plan = || Plan(vec![numbers("map", 3), numbers("reduce", 3)]);
    let elsewhere = there.clone().with_platform("elsewhere");
    let with_arguments = Plan(vec![numbers("map", 1).with_arguments(Payload::empty())]);
    for (error, words) in [
        (refused("sort", there.clone(), plan()).await, "\"sort\", which is not in the plan"),
        (refused("map", elsewhere, plan()).await, "\"elsewhere\""),
        (refused("map", there.clone(), with_arguments).await, "arguments"),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(platform.counters(), before);
}

#[tokio::test(start_paused = true)]
async fn a_deployment_of_another_runtime_is_refused_before_anything_is_sent() {
    let platform = Arc::new(InMemory::default());
    let mut there = platform.deploy(&function("map")).await.unwrap();
    let before = platform.counters();
    let mut given = async |runtime: &str| {
        there.runtime = runtime.parse().unwrap();
        let plan = Plan(vec![numbers("map", 1)]);
        plan.run(options(&platform).with_deployment("map", there.clone())).await
    };
    for other in ["nodejs", "native", "python:2.7"] {
        let error = given(other).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        let text = error.to_string();
        assert!(text.contains("needs runtime python:3") && text.contains(other), "{text}");
    }
    assert_eq!(platform.counters(), before);
    // A version of what the stage asks for serves it.
    assert!(given("python:3.12").await.unwrap().is_success());
}

#[tokio::test(start_paused = true)]
async fn runs_that_share_deployments_name_them_after_their_content_and_leave_them() {
    let platform = Arc::new(InMemory::default());
    let plan = Plan(vec![numbers("map", 3)]);
    for _ in 0..2 {
        let outcome = plan.run(reusing(&platform)).await.unwrap();
        assert!(outcome.is_success() && outcome.leftovers.is_empty());
    }
    let [name] = &names(&platform).await[..] else { panic!("one deployment") };
    assert!(name.starts_with("map-") && name.len() == "map-".len() + 16, "{name}");
    let ownership = platform.fetch_deployment(name).await.unwrap().ownership.unwrap();
    assert_eq!(ownership.run, RunId::from("reuse"));
    assert!(!ownership.owner.contains(':'), "no process: {}", ownership.owner);

    let mut other = numbers("map", 3);
    other.function = other.function.with_entry_point("start");
    assert!(plan_of(other).run(reusing(&platform)).await.unwrap().is_success());
    assert_eq!(names(&platform).await.len(), 2, "other content has another name");
    assert_eq!(platform.counters().removes, 0);
}

fn plan_of(stage: Stage) -> Plan {
    Plan(vec![stage])
}

#[tokio::test(start_paused = true)]
async fn a_shared_deployment_stays_when_a_run_that_uses_it_fails() {
    let platform = Arc::new(InMemory::default());
    let plan = Plan(vec![numbers("map", 3), numbers("reduce", 1)]);
    let first = plan_of(numbers("map", 1)).run(reusing(&platform)).await.unwrap();
    assert!(first.is_success());
    platform.configure(|settings: &mut Settings| {
        settings.fates = Fates::by(|call| match call.operation {
            Operation::Deploy => Fate::unavailable(),
            _ => Fate::Serve,
        });
    });
    plan.run(reusing(&platform)).await.unwrap_err();
    assert_eq!(names(&platform).await.len(), 1);
    assert_eq!(platform.counters().removes, 0);
}

#[tokio::test(start_paused = true)]
async fn arguments_lie_beneath_each_payload_and_are_not_part_of_it() {
    let platform = Arc::new(InMemory::default());
    let stage = numbers("map", 2).with_arguments(json(json!({ "n": 7, "table": [1, 2] })));
    let outcome = plan_of(stage).run(options(&platform).with_kept_inputs(true)).await.unwrap();
    let results = outcome.partial::<serde_json::Value>("map").unwrap();
    let echoed: Vec<_> = results.iter().map(|partial| partial.result.clone()).collect();
    assert_eq!(echoed, [json!({"n": 0, "table": [1, 2]}), json!({"n": 1, "table": [1, 2]})]);
    assert_eq!(results[0].input.as_ref().unwrap().as_str(), r#"{"n":0}"#);
}

#[tokio::test(start_paused = true)]
async fn arguments_that_cannot_be_stored_are_refused_before_anything_is_sent() {
    let platform = Arc::new(InMemory::default());
    let refused = |function: Deployable| {
        let stage = Stage::from_payloads("map", function, vec![Payload::empty()]);
        // The other stage could be deployed.
        let plan = Plan(vec![numbers("first", 1), stage]);
        let options = options(&platform);
        async move { plan.run(options).await.unwrap_err() }
    };
    let object = || json(json!({ "a": 1 }));
    let error = refused(function("map").with_arguments(json(json!([1])))).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("map") && error.to_string().contains("[1]"), "{error}");

    let executable = Deployable::from_archive("map", RuntimeName::native(), "zip");
    let error = refused(executable.with_arguments(object())).await;
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");

    let capabilities = |change: fn(falco_core::Capabilities) -> falco_core::Capabilities| {
        platform.configure(|settings| {
            settings.capabilities = change(settings.capabilities.clone());
        });
    };
    capabilities(|capabilities| capabilities.with_max_code(5));
    let error = refused(function("map").with_arguments(object())).await;
    assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
    assert!(error.to_string().contains("7 bytes, and 5 are allowed"), "{error}");

    capabilities(|capabilities| capabilities.with_max_code(None).with_shim(false));
    let error = refused(function("map").with_arguments(object())).await;
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("this platform"), "{error}");
    assert_eq!(platform.counters().deploys, 0);
}
