//! The same functions over a real S3 server, which checks signatures.

use std::collections::BTreeMap;
use std::time::Duration;

use falco_core::{
    AsyncPlatform, Deployable, ErrorKind, Event, Invocation, Monitor, Payload, Platform,
    RuntimeName, Stage, Verdict,
};
use falco_data::{Data, DataPolicy, Exchange, Sink, Splits, Store, clean, commit};
use falco_executors::{DriverExt, ParallelExecutor, RunOptions};
use falco_fakes::FakeS3;
use falco_layers::{RetryPolicy, Stack};
use falco_local::{LocalConfig, LocalPlatform, WorkerLimits};
use falco_testkit::{InMemory, LogCapture};
use futures_util::{FutureExt, TryStreamExt};
use serde_json::{Value, json};

use crate::local::{COUNT_NODE, COUNT_PYTHON, Plan, TOTAL_NODE, TOTAL_PYTHON};
use crate::server::{store, store_at};

pub(crate) fn local(folder: &tempfile::TempDir, workers: u32) -> LocalPlatform {
    let workers = WorkerLimits::default().with_max_workers(workers);
    let config = LocalConfig::builder().directory(folder.path().join("local")).workers(workers);
    let local = LocalPlatform::connect(config.build().unwrap()).now_or_never();
    local.expect("connecting waits for nothing").unwrap()
}

/// The argument as a function gets it.
async fn sent(data: &Data<InMemory>, argument: &Value) -> Value {
    let function =
        Deployable::from_source("f", RuntimeName::python(), "def main(args): return args");
    let deployment = data.deploy(&function).await.unwrap();
    let invocation = Invocation::new("run-1", "map", "7", Payload::json(argument).unwrap());
    let activation = data.invoke(&deployment, &invocation).await.unwrap();
    activation.outcome.unwrap().parse().unwrap()
}

#[tokio::test]
async fn signed_urls_are_refused_when_they_are_altered_or_expired_or_used_otherwise() {
    let s3 = FakeS3::start();
    s3.put("in/a.txt", "0123456789");
    let input = store(&s3, "bucket/in");
    let data_with = |policy| {
        let data = Data::new(InMemory::default(), store(&s3, "bucket/scratch"), policy).unwrap();
        data.with_store(input.clone())
    };
    let argument = json!({"input": input.object("a.txt"), "out": Sink::scratch()});
    let short = DataPolicy::default().with_url_lifetime(Duration::from_secs(1));
    let expiring = sent(&data_with(short), &argument).await;
    let sent = sent(&data_with(DataPolicy::default()), &argument).await;
    let get = sent["input"]["falco:object"]["get"].as_str().unwrap();
    let put = sent["out"]["falco:sink"]["put"].as_str().unwrap();
    let client = reqwest::Client::new();
    let status = |request: reqwest::RequestBuilder| async {
        request.send().await.unwrap().status().as_u16()
    };

    let part = client.get(get).header("Range", "bytes=2-4").send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.text().await.unwrap()), (206, "234".to_owned()));
    assert_eq!(status(client.put(put).body("x")).await, 200);
    assert_eq!(status(client.get(get.replace("a.txt", "b.txt"))).await, 403);
    assert_eq!(status(client.put(get).body("x")).await, 403);
    assert_eq!(status(client.get(put)).await, 403);
    let until = expiring["input"]["falco:object"]["until"].as_u64().unwrap();
    while std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
        <= until + 1
    {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let expired = expiring["input"]["falco:object"]["get"].as_str().unwrap();
    assert_eq!(status(client.get(expired)).await, 403);
    assert_eq!(status(client.get(get)).await, 200);
}

#[tokio::test]
async fn two_calls_of_one_attempt_never_write_to_the_same_key_and_nothing_shows_a_signature() {
    let s3 = FakeS3::start();
    let data = Data::new(InMemory::default(), store(&s3, "bucket/scratch"), DataPolicy::default())
        .unwrap();
    let argument = json!({"out": Sink::scratch().partitions(3), "n": 1.50});
    let (first, second) = (sent(&data, &argument).await, sent(&data, &argument).await);
    let url = |sent: &Value| sent["out"]["falco:sink"]["url"].as_str().unwrap().to_owned();
    assert_ne!(url(&first), url(&second));
    assert!(url(&first).starts_with("s3://bucket/scratch/runs/run-1/map/"), "{}", url(&first));
    assert!(!format!("{data:?}").contains("Signature"));
    // What holds no reference is left alone, to the byte.
    let plain = Payload::from_bytes(r#"{"n": 1.50, "falco:ran": {}}"#).unwrap();
    let function =
        Deployable::from_source("g", RuntimeName::python(), "def main(args): return args");
    let deployment = data.deploy(&function).await.unwrap();
    let invocation = Invocation::new("run-1", "map", "7", plain.clone());
    let activation = data.invoke(&deployment, &invocation).await.unwrap();
    assert_eq!(activation.outcome.unwrap(), plain);
}

const TEXT: &str = "to be or not to be\nthat is the question\nwhether 'tis nobler \u{e4}\n";

#[tokio::test]
async fn words_are_counted_over_s3_whatever_request_fails() {
    let python = || (Deployable::python("c", COUNT_PYTHON), Deployable::python("t", TOTAL_PYTHON));
    let node = || (Deployable::nodejs("c", COUNT_NODE), Deployable::nodejs("t", TOTAL_NODE));
    // They wait much and compute little.
    tokio::join!(
        words_are_counted((python().0, node().1), 0),
        words_are_counted(python(), 7),
        words_are_counted(node(), 7),
    );
}

/// Counts words while every n-th request fails.
async fn words_are_counted((map, reduce): (Deployable, Deployable), every: u64) {
    let (s3, folder) = (FakeS3::start(), tempfile::tempdir().unwrap());
    for key in ["in/a.txt", "in/b.txt"] {
        s3.put(key, TEXT.repeat(3));
    }
    let (input, output) = (store(&s3, "bucket/in"), store(&s3, "bucket/out"));
    let scratch = store(&s3, "bucket/scratch");
    let data = Data::new(local(&folder, 2), scratch.clone(), DataPolicy::default()).unwrap();
    let data = data.with_store(input.clone()).with_store(output.clone());
    let splits = Splits::lines(&input, "").target(100).with_sink(Sink::scratch().partitions(4));
    let exchange = Exchange::of_field("out").with_sink(output.sink("part.tsv"));
    let plan = Plan(vec![
        Stage::new("map", map, move || splits.inputs()).idempotent(),
        Stage::derived("reduce", reduce, ["map"], exchange).idempotent(),
    ]);
    s3.fail_every(every);
    let retry = RetryPolicy::with_retries(8);
    let platform = Stack::new().with_retry(retry).wrap(data).unwrap();
    let options = RunOptions::new(platform, std::sync::Arc::new(ParallelExecutor::new()));
    let outcome = plan.run(options).await.unwrap();
    assert!(outcome.is_success(), "{}", outcome.report);
    s3.fail_every(0);
    let results = outcome.results("reduce").unwrap();
    let manifest = commit(&output, &outcome.report.run, results).await.unwrap();
    let mut counts = BTreeMap::new();
    for (key, content) in s3.objects("out") {
        let is_listed = manifest.objects.iter().any(|it| it.url.ends_with(&key));
        assert_eq!(is_listed, !key.starts_with("out/_"), "{key}");
        for line in String::from_utf8(content).unwrap().lines().filter(|_| is_listed) {
            let (word, count) = line.split_once('\t').unwrap();
            assert!(counts.insert(word.to_owned(), count.parse::<u64>().unwrap()).is_none());
        }
    }
    let mut expected = BTreeMap::new();
    for word in TEXT.split_whitespace() {
        *expected.entry(word.to_owned()).or_default() += 6;
    }
    assert_eq!(counts, expected);
    assert!(clean(&scratch, &outcome.report.run).await.unwrap().is_empty());
    assert!(s3.objects("scratch").is_empty());
}

#[tokio::test]
async fn an_expired_url_costs_an_attempt_and_the_next_one_is_signed_anew() {
    let (s3, folder) = (FakeS3::start(), tempfile::tempdir().unwrap());
    s3.put("in/a.txt", "hello");
    let input = store(&s3, "bucket/in");
    let policy = DataPolicy::default().with_url_lifetime(Duration::from_secs(2));
    let data = Data::new(local(&folder, 1), store(&s3, "bucket/scratch"), policy).unwrap();
    // The second call waits for the only worker until its URL has expired.
    let slow = "import time\ndef main(args):\n    text = args['input'].read().decode()\n    time.sleep(3.5)\n    return {'text': text}\n";
    let argument = json!({"input": input.object("a.txt")});
    let stage =
        Stage::from_values("read", Deployable::python("slow", slow), [&argument, &argument]);
    let retry = RetryPolicy::with_retries(8);
    let platform = Stack::new().with_retry(retry).wrap(data.with_store(input)).unwrap();
    let options = RunOptions::new(platform, std::sync::Arc::new(ParallelExecutor::new()));
    let outcome = Plan(vec![stage.unwrap().idempotent()]).run(options).await.unwrap();
    assert!(outcome.is_success(), "{}", outcome.report);
    assert!(outcome.report.stages[0].retries > 0, "{}", outcome.report);
}

/// All that a monitor is shown.
#[derive(Debug, Default)]
struct Shown(std::sync::Mutex<String>);

impl Monitor for Shown {
    fn event(&self, event: &Event<'_>) -> Verdict {
        *self.0.lock().unwrap() += &format!("{event:?}\n");
        Verdict::Continue
    }
}

#[tokio::test]
async fn signatures_reach_no_monitor_no_log_and_no_report() {
    let log = LogCapture::start();
    let (s3, folder) = (FakeS3::start(), tempfile::tempdir().unwrap());
    s3.put("in/a.txt", "hello ".repeat(1000));
    let (input, scratch) = (store(&s3, "bucket/in"), store(&s3, "bucket/scratch"));
    let policy = DataPolicy::default().with_inline(2000);
    let data = Data::new(local(&folder, 1), scratch, policy).unwrap().with_store(input.clone());
    let read = "def main(args):\n    with args['out'] as out:\n        out.write(b'x')\n    \
                return {'text': args['input'].read().decode(), 'out': out.close()}\n";
    let inputs = ["a.txt", "gone.txt"].map(
        |key| json!({"input": input.object(key), "out": Sink::scratch(), "long": "x".repeat(3000)}),
    );
    let stage = Stage::from_values("read", Deployable::python("read", read), inputs).unwrap();
    let shown = std::sync::Arc::new(Shown::default());
    let options =
        RunOptions::new(std::sync::Arc::new(data), std::sync::Arc::new(ParallelExecutor::new()));
    let outcome = Plan(vec![stage]).run(options.with_monitor(shown.clone())).await.unwrap();
    assert!(!outcome.is_success());
    let monitor = shown.0.lock().unwrap().clone();
    let report = format!("{outcome:?} {}", outcome.report);
    for (place, text) in [("monitor", &monitor), ("report", &report), ("log", &log.text())] {
        for secret in ["Signature=", "X-Amz-Credential"] {
            assert!(!text.contains(secret), "{secret} in the {place}: {text}");
        }
    }
    // What was looked at is what happened.
    assert!(monitor.contains("read") && report.contains("gone.txt is not there"), "{report}");
    assert_eq!(
        s3.objects("scratch").iter().filter(|(key, _)| key.ends_with("-argument")).count(),
        2
    );
}

#[tokio::test]
async fn a_function_whose_clock_is_ahead_says_so_and_shows_no_signature() {
    let (s3, folder) = (FakeS3::start(), tempfile::tempdir().unwrap());
    s3.put("in/a.txt", "hello");
    let input = store(&s3, "bucket/in");
    let data = Data::new(local(&folder, 2), store(&s3, "bucket/scratch"), DataPolicy::default());
    let data = data.unwrap().with_store(input.clone());
    let python = "
import time
now = time.time
time.time = lambda: now() + 2 * 60 * 60
def main(args): return {'text': args['input'].read().decode()}
";
    let node = "
const now = Date.now;
Date.now = () => now() + 2 * 60 * 60 * 1000;
exports.main = async (args) => ({ text: (await args.input.read()).toString() });
";
    for function in [Deployable::python("f", python), Deployable::nodejs("f", node)] {
        let deployment = data.deploy(&function).await.unwrap();
        let argument = Payload::json(&json!({"input": input.object("a.txt")})).unwrap();
        let invocation = Invocation::new("run-1", "map", "7", argument);
        let error = data.invoke(&deployment, &invocation).await.unwrap_err();
        let text = format!("{error:#?}");
        // Whether a fresh URL would do is not known: a slow function fails in the same way.
        assert!(error.kind() == ErrorKind::Timeout && error.is_retryable(), "{text}");
        assert!(text.contains("check the clocks") && text.contains("/in/a.txt was good"), "{text}");
        assert!(!text.contains("X-Amz-Signature"), "{text}");
        data.remove(&deployment).await.unwrap();
    }
}

#[tokio::test]
async fn a_store_that_functions_could_not_use_is_found_out_before_anything_is_deployed() {
    let s3 = FakeS3::start();
    let function = Deployable::python("f", "def main(args): return {}");
    // Buckets that are not there, clocks and regions: see the tests of Google's answers. This server makes buckets.
    let wrong = store_at(s3.url(), "bucket/x", "wrong");
    for (store, kind, text) in [(wrong, ErrorKind::Forbidden, "secret key")] {
        let platform = std::sync::Arc::new(InMemory::default());
        let data = Data::new(platform.clone(), store, DataPolicy::default()).unwrap();
        let error = data.deploy(&function).await.unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(text), "{error:#?}");
        assert!(!error.to_string().contains("X-Amz-Signature"), "{error}");
        assert!(platform.list_deployments().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_bucket_for_the_output_that_is_missing_is_found_out_before_anything_is_deployed() {
    let s3 = FakeS3::start();
    let function = Deployable::python("f", "def main(args): return {}");
    for (output, is_there) in [("missing/out", false), ("bucket/out", true)] {
        let platform = std::sync::Arc::new(InMemory::default());
        let scratch = store(&s3, "bucket/scratch");
        let data = Data::new(platform.clone(), scratch, DataPolicy::default()).unwrap();
        let deployed = data.with_store(store(&s3, output)).deploy(&function).await;
        assert_eq!(platform.list_deployments().await.unwrap().len(), usize::from(is_there));
        if is_there {
            deployed.unwrap();
        } else {
            let error = deployed.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            let text = error.to_string();
            assert!(text.contains("missing") && text.contains("create the bucket"), "{text}");
        }
    }
}

#[tokio::test]
async fn planning_over_s3_reports_what_the_store_refuses() {
    let s3 = FakeS3::start();
    for (store, kind) in [
        (store(&s3, "missing/in"), ErrorKind::NotFound),
        (store_at(s3.url(), "bucket/in", "wrong"), ErrorKind::Forbidden),
    ] {
        let planned = Splits::lines(&store, "").stream().try_collect::<Vec<_>>().await;
        let error = planned.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[tokio::test]
async fn a_folder_is_refused_with_a_remote_platform_unless_functions_see_it() {
    let folder = tempfile::tempdir().unwrap();
    let scratch = Store::folder(folder.path()).unwrap();
    let function = Deployable::python("f", "def main(args): return {}");
    let mut settings = falco_testkit::Settings::default();
    settings.capabilities = settings.capabilities.with_wants_layers(true);
    let platform = std::sync::Arc::new(InMemory::new(settings));
    for (shared, is_ok) in [(false, false), (true, true)] {
        let policy = DataPolicy::default().with_shared_folders(shared);
        let data = Data::new(platform.clone(), scratch.clone(), policy).unwrap();
        let deployed = data.deploy(&function).await;
        assert_eq!(deployed.is_ok(), is_ok, "{deployed:?}");
        if let Err(error) = deployed {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("do not see the folder file://"), "{error}");
        }
    }
    let _: &dyn AsyncPlatform = &platform;
}
