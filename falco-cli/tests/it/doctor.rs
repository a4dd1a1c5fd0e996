//! `falco doctor`: whether a run could start.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use falco_fakes::FakeAws;
use serde_json::Value;

use crate::program::{Machine, Printed, has};

fn checks(printed: &str) -> Value {
    serde_json::from_str(printed).unwrap()
}

fn found<'a>(report: &'a Value, name: &str) -> &'a str {
    let mut checks = report["checks"].as_array().unwrap().iter();
    let check = checks.find(|check| check["name"] == name);
    check.unwrap_or_else(|| panic!("there is no {name}: {report}"))["found"].as_str().unwrap()
}

#[test]
fn this_machine_is_described_and_a_function_is_tried() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let report = checks(&machine.run(&["doctor", "--json", "--deploy"]).ok());
    assert_eq!(report["could_start"], true);
    assert!(found(&report, "python3").starts_with("Python 3"));
    assert!(found(&report, "permissions").contains("none are needed"));
    assert!(found(&report, "trial").contains("deployed, called and removed"));
    assert!(found(&report, "cost").contains("charges nothing"));
    let function = machine.file("kept.py", "def main(args): return args");
    machine.run(&["deploy", "-f", &function]).ok();
    let shown = machine.run(&["doctor"]).ok();
    assert!(shown.contains("deployed      kept  python:3"), "{shown}");
    machine.run(&["remove", "kept"]).ok();
    machine.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_platform_is_described_without_its_secrets() {
    if !has("python3") {
        return;
    }
    let (machine, aws) = (Machine::new(), FakeAws::start());
    let mut command = machine.command(&["doctor", "--json", "--deploy", "--platform", "aws"]);
    command
        .args(["--invocations", "10000", "--duration", "800ms"])
        .env("AWS_ENDPOINT_URL", aws.url())
        .env("AWS_REGION", "eu-central-1")
        .env("AWS_ACCESS_KEY_ID", falco_fakes::aws::FAKE_ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", falco_fakes::aws::FAKE_SECRET)
        .env("AWS_SESSION_TOKEN", "fake-session-token");
    let run = move || Printed::of(command.output().unwrap());
    let printed = tokio::task::spawn_blocking(run).await.unwrap().ok();
    let report = checks(&printed);
    assert_eq!(found(&report, "credentials"), "the variable AWS_ACCESS_KEY_ID");
    assert_eq!(found(&report, "region"), "eu-central-1, by the variable AWS_REGION");
    assert_eq!(found(&report, "endpoint"), aws.url());
    assert!(found(&report, "permissions").starts_with("all 19 that a run needs are granted"));
    let listed = report["checks"].as_array().unwrap().iter();
    let listed = listed.filter_map(|check| check["permissions"].as_array()).next().unwrap();
    assert!(listed.iter().any(|it| it["name"] == "iam:PassRole" && it["granted"] == true));
    assert!(found(&report, "trial").contains("deployed, called and removed"));
    assert!(found(&report, "limits").contains("code: "));
    assert!(found(&report, "cost").contains("at most 0.135"), "{}", found(&report, "cost"));
    for secret in [falco_fakes::aws::FAKE_SECRET, "fake-session-token"] {
        assert!(!printed.contains(secret));
    }
    assert_eq!(aws.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_that_are_missing_are_named_and_the_region_is_found_in_the_profile() {
    let settings = falco_fakes::aws::FakeSettings {
        denied_actions: vec!["iam:CreateRole".into(), "lambda:GetAccountSettings".into()],
        ..Default::default()
    };
    let (machine, aws) = (Machine::new(), FakeAws::with(settings));
    std::fs::create_dir_all(machine.path("home/.aws")).unwrap();
    let config = machine.file("home/.aws/config", "[profile work]\nregion = eu-west-3\n");
    let mut command = machine.command(&["doctor", "--json", "--platform", "aws"]);
    command
        .env("HOME", machine.path("home"))
        .env("AWS_PROFILE", "work")
        .env("AWS_ENDPOINT_URL", aws.url())
        .env("AWS_ACCESS_KEY_ID", falco_fakes::aws::FAKE_ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", falco_fakes::aws::FAKE_SECRET)
        .env("AWS_SESSION_TOKEN", "fake-session-token");
    let run = move || Printed::of(command.output().unwrap());
    let printed = tokio::task::spawn_blocking(run).await.unwrap();
    assert_eq!(printed.code, Some(1), "no run could start: {}", printed.stdout);
    let report = checks(&printed.stdout);
    let missing: Vec<&str> = found(&report, "permissions").lines().collect();
    assert_eq!(missing[1], "to let Falco make the role: iam:CreateRole");
    assert_eq!(missing[3], "to start from the account's concurrency: lambda:GetAccountSettings");
    let region = format!("eu-west-3, by the profile \"work\" in {config}");
    assert_eq!(found(&report, "region"), region);
}

#[tokio::test(flavor = "multi_thread")]
async fn google_says_which_permissions_are_missing() {
    let (machine, gcp) = (Machine::new(), falco_fakes::FakeGcp::start());
    gcp.deny_permissions(&["cloudfunctions.functions.create", "logging.logEntries.list"]);
    let mut command = machine.command(&["doctor", "--json", "--platform", "gcp"]);
    command.envs(gcp.environment());
    let run = move || Printed::of(command.output().unwrap());
    let printed = tokio::task::spawn_blocking(run).await.unwrap();
    assert_eq!(printed.code, Some(1), "no run could start: {}", printed.stdout);
    let report = checks(&printed.stdout);
    let missing: Vec<&str> = found(&report, "permissions").lines().collect();
    assert_eq!(missing[1], "to deploy and remove: cloudfunctions.functions.create");
    assert_eq!(missing[3], "to read logs: logging.logEntries.list");
}

/// A server whose clock stands still, and which knows nothing.
fn server_of_the_past() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = "HTTP/1.1 404 Not Found\r\ndate: Thu, 01 Jan 2015 00:00:00 GMT\r\n\
        content-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    std::thread::spawn(move || {
        for peer in listener.incoming() {
            let mut peer = peer.unwrap();
            let mut lines = BufReader::new(peer.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let _ = peer.write_all(answer.as_bytes());
        }
    });
    format!("http://{address}")
}

#[test]
fn a_clock_that_is_wrong_keeps_a_run_from_starting() {
    let (machine, server) = (Machine::new(), server_of_the_past());
    let arguments = ["doctor", "--platform", "openwhisk", "--apihost", &server, "--auth", "a:b"];
    let printed = machine.run(&[&arguments[..], &["--json"]].concat());
    assert_eq!(printed.code, Some(1), "{}", printed.stderr);
    let report = checks(&printed.stdout);
    assert!(found(&report, "clock").contains("differs from the provider's by "), "{report}");
    let quiet = machine.run(&[&arguments[..], &["-q"]].concat());
    assert!(quiet.stdout.lines().all(|line| !line.starts_with("ok ")), "{}", quiet.stdout);
    assert!(quiet.stdout.contains("error    clock"), "{}", quiet.stdout);
}

#[test]
fn a_platform_that_cannot_be_reached_fails_and_names_what_is_missing() {
    let machine = Machine::new();
    let arguments = ["doctor", "--json", "--platform", "openwhisk"];
    let mut command = machine.command(&arguments);
    let printed = Printed::of(command.env("HOME", machine.path("home")).output().unwrap());
    assert_eq!(printed.code, Some(1));
    let report = checks(&printed.stdout);
    assert_eq!(report["could_start"], false);
    assert!(found(&report, "connection").contains("WHISK_APIHOST"), "{report}");
}
