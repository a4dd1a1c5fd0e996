//! `wordcount` on the fake of OpenWhisk, whose actions run as OpenWhisk's proxies start them.

use std::time::Duration;

use falco_fakes::openwhisk::{FakeOpenWhisk, FakeSettings};
use falco_testkit::Script;

use crate::flaky::{Fault, Faults, FlakyProxy};
use crate::program::has;
use crate::remote::{TEXTS, on_openwhisk, run, top_words};

/// Counts words with every executor, eight calls at once, and finds nothing left behind.
async fn counts_right_with_every_executor(fake: &FakeOpenWhisk, url: &str) {
    for executor in ["sequential", "parallel", "async"] {
        let mut wordcount = on_openwhisk("wordcount", url);
        wordcount.args(["--executor", executor, "--retries", "8", "--reducers", "4", TEXTS]);
        if executor != "sequential" {
            wordcount.args(["--concurrency", "8"]);
        }
        assert_eq!(run(wordcount).await.ok(), top_words(), "{executor}");
        assert_eq!(fake.actions(), Vec::<String>::new(), "{executor}");
    }
}

fn settings() -> FakeSettings {
    FakeSettings {
        record_lag: Duration::from_millis(20),
        list_lag: Duration::from_millis(20),
        ..FakeSettings::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wordcount_counts_right_on_openwhisk_with_every_executor_and_leaves_nothing() {
    if has("python3") {
        let fake = FakeOpenWhisk::with(settings());
        counts_right_with_every_executor(&fake, fake.url()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wordcount_counts_right_on_openwhisk_when_calls_fail_and_leaves_nothing() {
    if !has("python3") {
        return;
    }
    let fake = FakeOpenWhisk::with(settings());
    let busy = br#"{"error":"The server is currently unavailable.","code":"tid"}"#;
    let json = [("content-type", "application/json")];
    let refused = Script::reply("503 Service Unavailable", json, busy);
    let faults = Faults {
        applies: |request| request.starts_with("post") && request.contains("/actions/wordcount"),
        share: (1, 8),
        once: false,
        table: vec![
            ("a refusal", Fault::Instead(refused.clone())),
            ("an answer that is lost", Fault::AfterRunning(refused)),
        ],
    };
    let proxy = FlakyProxy::start(fake.url(), [faults]).await;
    counts_right_with_every_executor(&fake, &proxy.url()).await;
    proxy.assert_each_happened();
}
