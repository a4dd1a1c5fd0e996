//! `wordcount` with every fault of the platforms' fault tests that can be recovered from: its counts are right.
//!
//! A quarter of all invocations are spoilt, so each fault happens to one or two in a hundred.

use std::process::Command;
use std::time::Duration;

use falco_fakes::aws::FakeAws;
use falco_fakes::openwhisk::{FakeOpenWhisk, FakeSettings};
use falco_testkit::Script;

use crate::flaky::{Fault, Faults, FlakyProxy, broken_peer};
use crate::program::has;
use crate::remote::{TEXTS, on_aws, on_openwhisk, run, top_words};

type Table = Vec<(&'static str, Fault)>;

fn reply(status: &str, headers: &[(&str, &str)], body: &str) -> Script {
    let headers = headers.iter().copied().chain([("content-type", "application/json")]);
    Script::reply(status, headers, body.as_bytes())
}

/// Runs it with more invocations than it takes for each fault to happen once, and more retries than one of them can need.
async fn counts_right(mut wordcount: Command) {
    wordcount.args(["--reducers", "80", "--retries", "20", TEXTS]);
    assert_eq!(run(wordcount).await.ok(), top_words());
}

fn spoilt_invocations(applies: fn(&str) -> bool, table: Table) -> Faults {
    Faults { applies, share: (1, 4), once: false, table: [broken_peer(), table].concat() }
}

/// A run asks at least once for each of its two stages, so that six questions are spoilt at least.
fn spoilt_questions(applies: fn(&str) -> bool, table: Table) -> Faults {
    assert!(table.len() <= 6);
    Faults { applies, share: (3, 4), once: true, table }
}

/// OpenWhisk's refusals of an invocation (contract, 1.7 and 3.2).
fn openwhisk_refusals() -> Table {
    let error = |status: &str, text: &str| {
        Fault::Instead(reply(status, &[], &format!(r#"{{"error":"{text}","code":"tid"}}"#)))
    };
    let whisk_error = r#"{"activationId":"44794bd6aab74415b4e42a308d880e5b","start":1,"end":1,"duration":0,
        "annotations":[],"logs":[],"response":{"status":"whisk internal error","success":false,
        "result":{"error":"Failed to provision resources to run the action."}}}"#;
    let too_many = r#"{"error":"Too many requests in the last minute (count: 61, allowed: 60).","code":"tid"}"#;
    let at_once = r#"{"error":"Too many concurrent requests in flight (count: 30, allowed: 30).","code":"tid"}"#;
    let late = r#"{"activationId":"44794bd6aab74415b4e42a308d880e5b","start":1,"end":1,"duration":0,
        "annotations":[],"logs":[],"response":{"status":"action developer error","success":false,
        "result":{"error":"Too many concurrent requests in flight."}}}"#;
    let named = [("x-openwhisk-activation-id", "44794bd6aab74415b4e42a308d880e5b")];
    let plain = |status| {
        Script::reply(status, [("content-type", "text/plain")], b"The server was not able ..")
    };
    vec![
        (
            "too many in a minute",
            Fault::Storm(reply("429 Too Many Requests", &[("retry-after", "1")], too_many)),
        ),
        ("too many at once", Fault::Storm(reply("429 Too Many Requests", &[], at_once))),
        ("too many at once, late", Fault::Instead(reply("502 Bad Gateway", &named, late))),
        (
            "internal error",
            error("500 Internal Server Error", "There was an internal server error."),
        ),
        ("unavailable", error("503 Service Unavailable", "The server is currently unavailable.")),
        ("controller's timeout", Fault::AfterRunning(plain("503 Service Unavailable"))),
        ("request timeout", Fault::Instead(plain("408 Request Timeout"))),
        (
            "whisk internal error",
            Fault::Instead(reply("500 Internal Server Error", &named, whisk_error)),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn wordcount_counts_right_on_an_openwhisk_whose_calls_meet_every_fault() {
    if !has("python3") {
        return;
    }
    let fake = FakeOpenWhisk::start();
    let invokes = spoilt_invocations(
        |request| request.starts_with("post") && request.contains("/actions/wordcount"),
        openwhisk_refusals(),
    );
    let proxy = FlakyProxy::start(fake.url(), [invokes]).await;
    let mut wordcount = on_openwhisk("wordcount", &proxy.url());
    wordcount.args(["--attempt-timeout", "3s"]);
    counts_right(wordcount).await;
    proxy.assert_each_happened();
}

#[tokio::test(flavor = "multi_thread")]
async fn wordcount_counts_right_on_an_openwhisk_whose_submissions_and_questions_meet_every_fault() {
    if !has("python3") {
        return;
    }
    let settings = FakeSettings {
        record_lag: Duration::from_millis(100),
        list_lag: Duration::from_millis(100),
        lists_twice: true,
        loses_every: Some(20),
        ..FakeSettings::default()
    };
    let fake = FakeOpenWhisk::with(settings);
    let submits = spoilt_invocations(
        |request| request.starts_with("post") && request.contains("/actions/wordcount"),
        openwhisk_refusals(),
    );
    let questions = spoilt_questions(
        |request| request.starts_with("get") && request.contains("/activations?"),
        vec![
            ("truncated list", Fault::BreakOff),
            ("no list", Fault::Instead(reply("200 OK", &[], r#"{"no":"list"}"#))),
            ("page of a proxy", Fault::Instead(Script::proxied_html("502 Bad Gateway"))),
            ("reset", Fault::Instead(Script::reset_after_reading())),
            ("silence", Fault::Instead(Script::never_answer())),
            (
                "throttled",
                Fault::Instead(reply(
                    "429 Too Many Requests",
                    &[("retry-after", "1")],
                    r#"{"error":"Too many requests","code":"t"}"#,
                )),
            ),
        ],
    );
    let proxy = FlakyProxy::start(fake.url(), [submits, questions]).await;
    let mut wordcount = on_openwhisk("wordcount", &proxy.url());
    wordcount.args(["--executor", "async", "--attempt-timeout", "5s"]);
    counts_right(wordcount).await;
    proxy.assert_each_happened();
}

/// AWS's refusals of an invocation (contract of Lambda's `Invoke`).
fn aws_refusals() -> Table {
    let error = |status: &str, code: &str, headers: &[(&str, &str)]| {
        let headers = [headers, &[("x-amzn-ErrorType", code)]].concat();
        reply(status, &headers, r#"{"Type":"User","message":"on purpose"}"#)
    };
    let throttled = "429 Too Many Requests";
    let code = "TooManyRequestsException";
    vec![
        ("throttled", Fault::Storm(error(throttled, code, &[("Retry-After", "1")]))),
        (
            "throttled for milliseconds",
            Fault::Storm(error(throttled, code, &[("x-amz-retry-after", "300")])),
        ),
        ("throttled without a word", Fault::Storm(error(throttled, code, &[]))),
        (
            "service exception",
            Fault::Instead(error("500 Internal Server Error", "ServiceException", &[])),
        ),
        (
            "service unavailable",
            Fault::Instead(error("503 Service Unavailable", "ServiceUnavailableException", &[])),
        ),
        (
            "expired credentials",
            Fault::Instead(error("403 Forbidden", "ExpiredTokenException", &[])),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn wordcount_counts_right_on_an_aws_whose_calls_meet_every_fault() {
    if !has("python3") {
        return;
    }
    let fake = FakeAws::start();
    let invokes = spoilt_invocations(|request| request.contains("/invocations "), aws_refusals());
    let proxy = FlakyProxy::start(fake.url(), [invokes]).await;
    let mut wordcount = on_aws("wordcount", &proxy.url());
    wordcount.args(["--attempt-timeout", "3s"]);
    counts_right(wordcount).await;
    proxy.assert_each_happened();
}

#[tokio::test(flavor = "multi_thread")]
async fn wordcount_counts_right_on_an_aws_whose_submissions_and_questions_meet_every_fault() {
    if !has("python3") {
        return;
    }
    let settings = falco_fakes::aws::FakeSettings {
        records_come_twice: true,
        records_come_early: true,
        loses_every: Some(20),
        ..falco_fakes::aws::FakeSettings::default()
    };
    let fake = FakeAws::with(settings);
    let submits = spoilt_invocations(|request| request.contains("/invocations "), aws_refusals());
    let questions = spoilt_questions(
        |request| request.contains("amazonsqs.receivemessage"),
        vec![
            ("truncated records", Fault::BreakOff),
            ("page of a proxy", Fault::Instead(Script::proxied_html("502 Bad Gateway"))),
            ("reset", Fault::Instead(Script::reset_after_reading())),
            ("silence", Fault::Instead(Script::never_answer())),
            (
                "throttled",
                Fault::Instead(reply(
                    "400 Bad Request",
                    &[("x-amzn-ErrorType", "RequestThrottled")],
                    "{}",
                )),
            ),
            ("unavailable", Fault::Instead(reply("503 Service Unavailable", &[], "{}"))),
        ],
    );
    let proxy = FlakyProxy::start(fake.url(), [submits, questions]).await;
    let mut wordcount = on_aws("wordcount", &proxy.url());
    wordcount.args(["--executor", "async", "--attempt-timeout", "5s"]);
    counts_right(wordcount).await;
    proxy.assert_each_happened();
}
