//! The same programs on the fakes of the remote platforms, whose functions are real processes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use falco_aws::fake::{FAKE_ACCESS_KEY, FAKE_SECRET, FakeAws};
use falco_gcp::fake::{FakeGcp, Fault};
use falco_openwhisk::fake::{FAKE_AUTH, FakeOpenWhisk, FakeSettings};

use crate::program::{Printed, command, has};
use crate::wordcount::expected;

pub(crate) const TEXTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/texts");

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
    command
        .env("AWS_ENDPOINT_URL", url)
        .env("AWS_ACCESS_KEY_ID", FAKE_ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", FAKE_SECRET)
        .env("AWS_SESSION_TOKEN", "fake-session-token")
        .args(["--platform", "aws", "--region", "eu-central-1"]);
    command
}

fn on_gcp(program: &str, fake: &FakeGcp) -> Command {
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
    let fake = FakeOpenWhisk::start(FakeSettings::default()).await.unwrap();
    for executor in ["sequential", "parallel", "async"] {
        let mut hello = on_openwhisk("hello", &fake.url());
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
    let fake = FakeAws::start().await;
    for executor in ["sequential", "parallel", "async"] {
        let mut hello = on_aws("hello", &fake.url());
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
    let fake = FakeOpenWhisk::start(settings).await.unwrap();
    let mut wordcount = on_openwhisk("wordcount", &fake.url());
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
    let run_a_function = "POST /run/";
    fake.inject(Fault::answer(run_a_function, 429, "Rate exceeded.").share(0.03));
    fake.inject(Fault::answer(run_a_function, 503, "<html>no upstream</html>").share(0.03));
    fake.inject(Fault::reset(run_a_function).share(0.03));
    fake.inject(Fault::reset(run_a_function).share(0.03).after_doing_it());
    let mut wordcount = on_gcp("wordcount", &fake);
    wordcount.args(["--reducers", "40", TEXTS]);
    assert_eq!(run(wordcount).await.ok(), top_words());
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
    let fake = FakeOpenWhisk::start(FakeSettings::default()).await.unwrap();
    all_examples_run(|program| on_openwhisk(program, &fake.url())).await;
    assert_eq!(fake.actions(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_examples_run_on_aws() {
    let fake = FakeAws::start().await;
    all_examples_run(|program| on_aws(program, &fake.url())).await;
    assert_eq!(fake.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_examples_run_on_gcp() {
    let fake = FakeGcp::start();
    all_examples_run(|program| on_gcp(program, &fake)).await;
    assert!(fake.is_clean());
}
