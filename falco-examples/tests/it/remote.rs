//! The same programs on the fakes of the remote platforms, whose functions are real processes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use falco_fakes::aws::{FAKE_ACCESS_KEY, FAKE_SECRET, FakeAws};
use falco_fakes::gcp::FakeGcp;
use falco_fakes::http::Fault;
use falco_fakes::openwhisk::{FAKE_AUTH, FakeOpenWhisk, FakeSettings};

use crate::program::{Printed, command, has};
use crate::wordcount::expected;

pub(crate) const TEXTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/texts");

/// Calls at once on the fake of Google: each takes an instance there, whose server takes half a second of a processor to start.
const AT_ONCE: &str = "8";

/// Runs a program on a thread of its own: the fake runs on this test's.
pub(crate) async fn run(mut command: Command) -> Printed {
    tokio::task::spawn_blocking(move || Printed::of(command.output().unwrap())).await.unwrap()
}

pub(crate) fn on_openwhisk(program: &str, url: &str) -> Command {
    let mut command = command(program);
    command.args(["--platform", "openwhisk", "--host", url, "--token", FAKE_AUTH]);
    command
}

pub(crate) fn on_aws(program: &str, url: &str) -> Command {
    let mut command = command(program);
    command.envs(aws_environment(url)).args(["--platform", "aws", "--region", "eu-central-1"]);
    command
}

/// The variables that lead to the fake of AWS.
pub(crate) fn aws_environment(url: &str) -> [(&'static str, &str); 4] {
    [
        ("AWS_ENDPOINT_URL", url),
        ("AWS_ACCESS_KEY_ID", FAKE_ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", FAKE_SECRET),
        ("AWS_SESSION_TOKEN", "fake-session-token"),
    ]
}

pub(crate) fn on_gcp(program: &str, fake: &FakeGcp) -> Command {
    let mut command = command(program);
    command.envs(fake.environment()).args(["--platform", "gcp"]);
    command
}

/// The ten most frequent words, counted on this machine without Falco.
pub(crate) fn top_words() -> String {
    expected(Path::new(TEXTS)).lines().take(10).map(|line| format!("{line}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_runs_on_openwhisk_with_every_executor_and_leaves_nothing() {
    if !has("python3") {
        return;
    }
    let fake = FakeOpenWhisk::start();
    for executor in ["sequential", "parallel", "async"] {
        let mut hello = on_openwhisk("hello", fake.url());
        hello.args(["--executor", executor, "world", "Ada"]);
        assert_eq!(run(hello).await.ok(), "Hello world!\nHello Ada!\n", "{executor}");
    }
    assert_eq!(fake.actions(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_runs_on_aws_with_every_executor_and_leaves_nothing() {
    if !has("python3") {
        return;
    }
    let fake = FakeAws::start();
    for executor in ["sequential", "parallel", "async"] {
        let mut hello = on_aws("hello", fake.url());
        hello.args(["--executor", executor, "world", "Ada"]);
        assert_eq!(run(hello).await.ok(), "Hello world!\nHello Ada!\n", "{executor}");
    }
    assert_eq!(fake.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_runs_on_gcp_with_every_executor_and_leaves_nothing() {
    if !has("python3") {
        return;
    }
    let fake = FakeGcp::start();
    for executor in ["sequential", "parallel", "async"] {
        let mut hello = on_gcp("hello", &fake);
        hello.args(["--executor", executor, "world", "Ada"]);
        assert_eq!(run(hello).await.ok(), "Hello world!\nHello Ada!\n", "{executor}");
    }
    assert!(fake.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn wordcount_keeps_to_sixty_calls_a_minute_and_counts_right() {
    if !has("python3") {
        return;
    }
    let settings = FakeSettings {
        invocations_per_minute: 60,
        concurrent_invocations: 30,
        // The law is about the count in a window, not about how long a test may take.
        minute: Duration::from_secs(2),
        ..FakeSettings::default()
    };
    let fake = FakeOpenWhisk::with(settings);
    let mut wordcount = on_openwhisk("wordcount", fake.url());
    wordcount.args(["--reducers", "60", TEXTS]);
    assert_eq!(run(wordcount).await.ok(), top_words());
    assert!(fake.activations() > 60, "one window was enough for {}", fake.activations());
}

#[tokio::test(flavor = "multi_thread")]
async fn wordcount_counts_right_on_a_flaky_gcp() {
    if !has("python3") {
        return;
    }
    let fake = FakeGcp::start();
    let call = "POST /run/";
    let html = "<html><body>Error: Server Error</body></html>";
    for fault in [
        Fault::answer(call, 429, "Rate exceeded."),
        Fault::answer(call, 503, html),
        // Of the front end: no mark says that the function has crashed.
        Fault::answer(call, 500, html).after_doing_it(),
        Fault::reset(call),
        Fault::reset(call).after_doing_it(),
        Fault::truncated(call).after_doing_it(),
        Fault::answer(call, 200, "{\"falco\":1,\"resu").after_doing_it(),
    ] {
        fake.inject(fault.share(0.03));
    }
    let mut wordcount = on_gcp("wordcount", &fake);
    wordcount.args(["--reducers", "40", "--retries", "8", "--concurrency", AT_ONCE, TEXTS]);
    assert_eq!(run(wordcount).await.ok(), top_words());
    assert!(fake.strikes() >= 3, "{} requests were spoilt only", fake.strikes());
    assert!(fake.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn wordcount_counts_right_on_a_gcp_that_leaves_calls_without_an_answer() {
    if !has("python3") {
        return;
    }
    let fake = FakeGcp::start();
    // Some of them have run. A copy of what is much slower than the others is answered.
    fake.inject(Fault::silence("POST /run/").share(0.05));
    fake.inject(Fault::silence("POST /run/").share(0.05).after_doing_it());
    let mut wordcount = on_gcp("wordcount", &fake);
    wordcount.args(["--reducers", "40", "--speculate", "5", "--concurrency", AT_ONCE, TEXTS]);
    assert_eq!(run(wordcount).await.ok(), top_words());
    assert!(fake.strikes() > 0, "nothing was left without an answer");
    assert!(fake.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn wordcount_counts_right_through_a_flaky_queue() {
    if !has("python3") {
        return;
    }
    let fake = FakeGcp::start();
    let busy = r#"{"error":{"code":503,"status":"UNAVAILABLE","message":"try again"}}"#;
    let (tasks, objects) =
        ("/queues/falco/tasks", "GET /storage/v1/b/falco-fake-project-us-central1/o");
    for fault in [
        Fault::answer(
            tasks,
            429,
            &busy.replace("503", "429").replace("UNAVAILABLE", "RESOURCE_EXHAUSTED"),
        ),
        Fault::reset(tasks).after_doing_it(),
        Fault::answer(objects, 503, busy),
        Fault::reset(objects),
        Fault::truncated(objects),
    ] {
        fake.inject(fault.share(0.03));
    }
    let mut wordcount = on_gcp("wordcount", &fake);
    wordcount.args([
        "--executor",
        "async",
        "--cloud-tasks",
        "--reducers",
        "40",
        "--retries",
        "8",
        "--concurrency",
        AT_ONCE,
        TEXTS,
    ]);
    assert_eq!(run(wordcount).await.ok(), top_words());
    assert!(fake.strikes() > 0, "nothing was spoilt");
    assert_eq!(fake.leftovers(), Vec::<String>::new());
}

/// The other programs, on one platform.
async fn all_examples_run(on: impl Fn(&str) -> Command) {
    if !has("python3") || !has("node") {
        return;
    }
    let mut chain = on("chain");
    chain.arg("3");
    assert_eq!(run(chain).await.ok(), "1 2\n2 12\n3 36\n");

    let mut montecarlo = on("montecarlo");
    montecarlo.args(["--invocations", "5", "--samples", "20000"]);
    let pi: f64 = run(montecarlo).await.ok().trim().parse().unwrap();
    assert!((3.0..3.3).contains(&pi), "{pi}");

    let mut hello = on("hello");
    hello.args(["--keep", "--json"]);
    let kept = run(hello).await.json()["report"]["run"].as_str().unwrap().to_owned();
    let mut cleanup = on("cleanup");
    cleanup.args(["--run", &kept]);
    let removed = run(cleanup).await.ok();
    assert!(removed.starts_with(&format!("removed hello-{kept}")), "{removed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_examples_run_on_openwhisk() {
    let fake = FakeOpenWhisk::start();
    all_examples_run(|program| on_openwhisk(program, fake.url())).await;
    assert_eq!(fake.actions(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_examples_run_on_aws() {
    let fake = FakeAws::start();
    all_examples_run(|program| on_aws(program, fake.url())).await;
    assert_eq!(fake.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_examples_run_on_gcp() {
    let fake = FakeGcp::start();
    all_examples_run(|program| on_gcp(program, &fake)).await;
    assert!(fake.is_clean());
}
