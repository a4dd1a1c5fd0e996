//! Deployments that exist already, and arguments that are stored with functions.

use std::fs;
use std::time::{Duration, SystemTime};

use falco_core::{Deployable, ErrorKind, Ownership, Payload, Platform};
use falco_testkit::fixture;

use crate::support::{Local, has};

fn arguments(json: &'static str) -> Payload {
    Payload::from_bytes(json).unwrap()
}

fn owned(function: &Deployable, run: &str) -> Deployable {
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    function.clone().with_ownership(Ownership::new(run, "ada", tomorrow))
}

/// When the files of a deployment's code were written.
fn written(local: &Local, version: &str) -> SystemTime {
    let path = local.path("deployments/f").join(version);
    fs::metadata(path).unwrap().modified().unwrap()
}

#[tokio::test]
async fn the_same_is_not_written_again_and_gets_the_owner_that_deployed_it_last() {
    let local = Local::new();
    let function = Deployable::python("f", fixture::PYTHON).with_env("KEY", "marked-secret");
    let first = local.deploy(&owned(&function, "one")).await;
    let version = first.attribute("version").unwrap();
    let before = written(&local, version);
    let second = local.other().deploy(&owned(&function, "two")).await.unwrap();
    assert_eq!(second.attribute("version"), Some(version));
    assert_eq!(second.ownership.as_ref().unwrap().run, "two");
    let fetched = local.platform.fetch_deployment("f").await.unwrap();
    assert_eq!(fetched.ownership.unwrap().run, "two");
    assert_eq!(written(&local, version), before);
    let record = fs::read_to_string(local.path("deployments/f/record.json")).unwrap();
    assert!(!record.contains("marked-secret"), "{record}");
}

#[tokio::test]
async fn code_that_is_gone_is_written_again() {
    let local = Local::new();
    let function = Deployable::python("f", fixture::PYTHON);
    let deployment = local.deploy(&function).await;
    let version = local.path("deployments/f").join(deployment.attribute("version").unwrap());
    fs::rename(&version, local.path("away")).unwrap();
    local.deploy(&function).await;
    assert!(version.join("function/main__.py").exists());
}

#[tokio::test]
async fn what_runs_share_survives_the_death_of_a_driver() {
    let local = Local::new();
    let function = Deployable::python("f", fixture::PYTHON);
    local.deploy(&owned(&function, Ownership::SHARED)).await;
    fs::write(local.path("drivers").join("killed"), "").unwrap();
    let record = local.path("deployments/f/record.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    json["driver"] = "killed".into();
    fs::write(&record, json.to_string()).unwrap();
    assert_eq!(local.other().list_deployments().await.unwrap().len(), 1);
}

#[tokio::test]
async fn stored_arguments_are_there_in_each_call_and_in_each_input_of_a_batch() {
    let stored = arguments(r#"{"a":1,"n":7}"#);
    let batch =
        r#"{"falco:batch":[{"n":3},{}],"falco:limits":{"ms":9000,"bytes":9000,"mark":"0"}}"#;
    for (program, function) in [
        ("python3", Deployable::python("f", "def main(args):\n    return args\n")),
        ("node", Deployable::nodejs("f", "const main = (args) => args;")),
    ] {
        if !has(program) {
            continue;
        }
        let local = Local::new();
        let deployment = local.deploy(&function.with_arguments(stored.clone())).await;
        let result = local.result(&deployment, r#"{"n":2}"#).await;
        let read = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
        assert_eq!(read(&result), read(r#"{"a":1,"n":2}"#), "{program}");
        let answers = read(&local.result(&deployment, batch).await);
        let answers = &answers["falco:batch"];
        assert_eq!(answers[0]["ok"], read(r#"{"a":1,"n":3}"#), "{program}");
        assert_eq!(answers[1]["ok"], read(r#"{"a":1,"n":7}"#), "{program}");
    }
}

#[tokio::test]
async fn arguments_of_an_executable_that_cannot_know_of_them_are_refused() {
    let local = Local::new();
    let script = Deployable::from_source("f", "native".parse().unwrap(), "#!/bin/sh\n");
    let error = local.platform.deploy(&script.with_arguments(arguments("{}"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(local.platform.list_deployments().await.unwrap().is_empty());
}
