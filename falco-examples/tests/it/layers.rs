//! The layers that the command line names, and their effect.

use std::time::Duration;

use falco_fakes::http::Reply;
use falco_fakes::openwhisk::{FakeOpenWhisk, FakeSettings};
use falco_testkit::Script;
use serde_json::Value;
use tokio::time::Instant;

use crate::flaky::{Fault, Faults, FlakyProxy};
use crate::program::Machine;
use crate::remote::{on_openwhisk, run};

/// A server that is busy for as many invocations as the test wants, and greets everybody after that, without a process.
async fn busy_for(invocations: usize) -> FakeOpenWhisk {
    let greet = |argument: &Value| serde_json::json!({"greeting": format!("Hello {}!", argument["name"].as_str().unwrap())});
    let settings =
        FakeSettings { function: Some(std::sync::Arc::new(greet)), ..FakeSettings::default() };
    let fake = FakeOpenWhisk::with(settings);
    for _ in 0..invocations {
        fake.answer_next_invocation(json(
            503,
            r#"{"error":"The server is currently unavailable.","code":"tid"}"#,
        ));
    }
    fake
}

#[test]
fn the_help_of_every_example_lists_the_flags_of_layers() {
    let machine = Machine::new();
    for program in ["chain", "hello", "montecarlo", "wordcount"] {
        let help = machine.run(program, &["--help"]).ok();
        for option in [
            "--no-layers",
            "--max-rate <RATE>",
            "--retries <N>",
            "--speculate <FACTOR>",
            "--attempt-timeout <TIME>",
        ] {
            assert!(help.contains(option), "{program} does not show {option}: {help}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_retries_as_named_are_made_and_reported() {
    let fake = busy_for(2).await;
    let mut hello = on_openwhisk("hello", fake.url());
    hello.args(["--retries", "2", "--json"]);
    let json = run(hello).await.json();
    assert_eq!(json["result"][0]["greeting"], "Hello world!");
    assert_eq!(json["report"]["stages"][0]["retries"], 2, "{json}");

    for options in [&["--retries", "1"][..], &["--retries", "0"], &["--no-layers"]] {
        let fake = busy_for(2).await;
        let mut hello = on_openwhisk("hello", fake.url());
        hello.args(options);
        let error = run(hello).await.error();
        assert!(error.contains("currently unavailable"), "{options:?}: {error}");
        let sent = fake.count_requests(|request| request.query("blocking").is_some());
        assert_eq!(sent, if options[1..] == ["1"] { 2 } else { 1 }, "{options:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_a_function_are_deployed_and_removed_together() {
    let fake = busy_for(0).await;
    let mut hello = on_openwhisk("hello", fake.url());
    hello.args(["--replicas", "3", "--json"]);
    let json = run(hello).await.json();
    assert_eq!(json["result"][0]["greeting"], "Hello world!");
    for method in ["PUT", "DELETE"] {
        let sent = fake.count_requests(|request| {
            request.method == method && request.path.contains("/actions/")
        });
        assert_eq!(sent, 3, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_counts_throttled_calls() {
    let fake = busy_for(0).await;
    fake.answer_next_invocation(json(429, r#"{"error":"Too many concurrent requests in flight (count: 9, allowed: 8).","code":"tid"}"#));
    let mut hello = on_openwhisk("hello", fake.url());
    hello.arg("--json");
    let json = run(hello).await.json();
    assert_eq!(json["report"]["stages"][0]["throttled"], 1, "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_named_is_not_exceeded() {
    let fake = busy_for(0).await;
    let names = (0..31).map(|n| n.to_string());
    let mut hello = on_openwhisk("hello", fake.url());
    hello.args(["--max-rate", "10"]).args(names);
    let began = Instant::now();
    run(hello).await.ok();
    let sent = fake.requests();
    let sent = sent.iter().filter(|request| request.query("blocking").is_some());
    // Thirty intervals of a tenth of a second, each up to five milliseconds early.
    assert!(sent.last().unwrap().at - began >= Duration::from_millis(2800));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_straggler_is_copied_when_asked_for_and_the_report_counts_it() {
    let fake = busy_for(0).await;
    let silence = Faults {
        applies: |request| request.starts_with("post") && request.contains("/actions/hello"),
        share: (1, 30),
        once: true,
        table: vec![("silence", Fault::Instead(Script::never_answer()))],
    };
    let proxy = FlakyProxy::start(fake.url(), [silence]).await;
    let names: Vec<String> = (0..30).map(|n| n.to_string()).collect();
    let mut hello = on_openwhisk("hello", &proxy.url());
    hello.args(["--speculate", "3", "--json"]).args(&names);
    let began = Instant::now();
    let json = run(hello).await.json();
    // Without the copy, the call would have been given up after a minute and more.
    assert!(began.elapsed() < Duration::from_secs(60));
    assert_eq!(json["result"].as_array().unwrap().len(), names.len());
    assert!(json["report"]["stages"][0]["copies"].as_u64().unwrap() > 0, "{json}");
    proxy.assert_each_happened();
}

fn json(status: u16, body: &'static str) -> Reply {
    Reply::new(status, body).with_header("content-type", "application/json")
}
