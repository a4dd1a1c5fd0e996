//! Each provider's fake behind a line that is cut in mid-run, with all executors.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use falco_aws::AwsWaits;
use falco_core::{
    AsyncPlatform, Deployable, Driver, Event, ExecutionPlan, ExecutionStrategy, Monitor, Payload,
    Result, Stage, Verdict,
};
use falco_executors::{
    AsyncExecutor, DriverExt, ParallelExecutor, RunOptions, RunOutcome, SequentialExecutor,
};
use falco_fakes::aws::{FAKE_ACCESS_KEY, FAKE_SECRET, FakeAws};
use falco_fakes::gcp::FakeGcp;
use falco_fakes::openwhisk::{FAKE_AUTH, FakeOpenWhisk, FakeSettings};
use falco_layers::{RetryPolicy, Stack};
use falco_testkit::{Line, TcpProxy};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::program::has;

const INVOCATIONS: usize = 30;
/// How long it is away after that was seen.
const AWAY: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Echoes;

impl Driver for Echoes {
    fn name(&self) -> &str {
        "echoes"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let source = "import time\n\ndef main(args):\n    time.sleep(0.01)\n    return args\n";
        let function = Deployable::from_source("echo", "python:3".parse()?, source);
        let stage = Stage::from_fn("map", function, |index| {
            (index < INVOCATIONS)
                .then(|| Payload::json(&serde_json::json!({"index": index, "sleep_ms": 10})))
        });
        ExecutionPlan::new(vec![stage.idempotent()])
    }
}

/// Says when a third is done, and counts outages.
#[derive(Debug, Default)]
struct Watch {
    done: AtomicUsize,
    third: Notify,
    outages: AtomicUsize,
    seen: Notify,
}

impl Monitor for Watch {
    fn event(&self, event: &Event<'_>) -> Verdict {
        match event {
            Event::Completed { .. } => {
                let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
                if done == INVOCATIONS / 3 {
                    self.third.notify_one();
                }
            }
            Event::OutageStarted { .. } => {
                self.outages.fetch_add(1, Ordering::Relaxed);
                self.seen.notify_one();
            }
            _ => {}
        }
        Verdict::Continue
    }
}

/// A server of OpenWhisk's whose functions answer with their arguments, without a process.
fn echo() -> FakeSettings {
    FakeSettings { function: Some(Arc::new(serde_json::Value::clone)), ..FakeSettings::default() }
}

fn executors() -> [(&'static str, Arc<dyn ExecutionStrategy>); 3] {
    [
        ("sequential", Arc::new(SequentialExecutor::new())),
        ("parallel", Arc::new(ParallelExecutor::with_concurrency(4).unwrap())),
        ("async", Arc::new(AsyncExecutor::with_window(4).unwrap())),
    ]
}

async fn run(
    platform: Arc<dyn AsyncPlatform>,
    strategy: Arc<dyn ExecutionStrategy>,
    is_seen: bool,
    begin: impl FnOnce(),
    end: impl FnOnce(),
) -> (RunOutcome, usize) {
    let pause = Duration::from_millis(10);
    let mut retry = RetryPolicy::default();
    (retry.min_delay, retry.max_delay) = (pause, 5 * pause);
    let layered = Stack::new()
        .with_retry(retry)
        .with_outage_pauses(pause, 10 * pause)
        .with_outage_patience(PATIENCE)
        .wrap(platform)
        .unwrap();
    let watch = Arc::new(Watch::default());
    let options = RunOptions::new(layered, strategy).with_monitor(watch.clone());
    let outage = async {
        watch.third.notified().await;
        begin();
        if is_seen {
            // The outcome shows whether nobody has seen it.
            let _ = timeout(PATIENCE, watch.seen.notified()).await;
        }
        sleep(AWAY).await;
        end();
    };
    let (outcome, ()) = tokio::join!(Echoes.run(options), outage);
    (outcome.unwrap(), watch.outages.load(Ordering::Relaxed))
}

async fn run_with(
    proxy: &TcpProxy,
    line: Line,
    platform: Arc<dyn AsyncPlatform>,
    strategy: Arc<dyn ExecutionStrategy>,
) -> (RunOutcome, usize) {
    run(platform, strategy, line == Line::Cut, || proxy.set(line), || proxy.set(Line::Up)).await
}

fn check(what: &str, (outcome, outages): &(RunOutcome, usize), line: Line) {
    assert!(outcome.is_success(), "{what} {line:?}: {}", outcome.error().unwrap());
    assert_eq!(outcome.results("map").unwrap().len(), INVOCATIONS, "{what} {line:?}");
    assert!(outcome.leftovers.is_empty(), "{what} {line:?}: {:?}", outcome.leftovers);
    if line == Line::Cut {
        assert!(*outages > 0, "{what}: nobody has seen the outage");
        assert!(!outcome.report.outage.is_zero(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openwhisk_may_be_away_in_mid_run() {
    for (name, strategy) in executors() {
        for line in [Line::Cut, Line::Hung] {
            let fake = FakeOpenWhisk::with(echo());
            let proxy = TcpProxy::start(fake.url()).await.unwrap();
            let config = falco_openwhisk::OpenWhiskConfig::builder();
            let config = config.apihost(proxy.url()).auth(FAKE_AUTH).build().unwrap();
            let platform = falco_openwhisk::OpenWhisk::connect(config).await.unwrap();
            check(name, &run_with(&proxy, line, Arc::new(platform), strategy.clone()).await, line);
            assert_eq!(fake.actions(), Vec::<String>::new(), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_may_be_away_in_mid_run() {
    if !has("python3") {
        return;
    }
    for (name, strategy) in executors() {
        for line in [Line::Cut, Line::Hung] {
            let fake = FakeAws::start();
            let proxy = TcpProxy::start(fake.url()).await.unwrap();
            let config = falco_aws::AwsConfig::builder()
                .region("eu-central-1")
                .endpoint_for_all(proxy.url())
                .static_credentials(
                    FAKE_ACCESS_KEY,
                    FAKE_SECRET,
                    Some("fake-session-token".to_owned()),
                )
                .waits(
                    AwsWaits::default()
                        .with_state_interval(Duration::from_millis(5))
                        .with_role_interval(Duration::from_millis(5))
                        // A result whose delivery was cut comes again after it.
                        .with_queue_visibility(Duration::from_secs(1)),
                )
                .build()
                .unwrap();
            let platform = falco_aws::AwsLambda::connect(config).await.unwrap();
            check(name, &run_with(&proxy, line, Arc::new(platform), strategy.clone()).await, line);
            assert_eq!(fake.leftovers(), Vec::<String>::new(), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn google_may_be_away_in_mid_run() {
    for (name, strategy) in executors() {
        for line in [Line::Cut, Line::Hung] {
            let fake = FakeGcp::start();
            fake.answer_with(|args| {
                std::thread::sleep(Duration::from_millis(10));
                args.clone()
            });
            let proxy = TcpProxy::start(fake.url()).await.unwrap();
            fake.stand_behind(proxy.url());
            let platform = falco_gcp::GcpFunctions::connect(fake.config().build().unwrap());
            let platform = Arc::new(platform.await.unwrap());
            check(name, &run_with(&proxy, line, platform, strategy.clone()).await, line);
            assert_eq!(fake.leftovers(), Vec::<String>::new(), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_openwhisk_may_be_replaced_in_mid_run() {
    for (name, strategy) in executors() {
        let fake = FakeOpenWhisk::with(echo());
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("wskprops");
        let write = |key: &str| {
            let props = format!("APIHOST={}\nAUTH={key}\n", fake.url());
            std::fs::write(&file, props).unwrap();
        };
        write(FAKE_AUTH);
        let config = falco_openwhisk::OpenWhiskConfig::builder();
        let in_file =
            |name: &str| (name == "WSK_CONFIG_FILE").then(|| file.to_str().unwrap().to_owned());
        let config = config.build_with(&in_file).unwrap();
        let platform = falco_openwhisk::OpenWhisk::connect(config).await.unwrap();
        let replace = || fake.change(|settings| settings.key = "another:key".to_owned());
        let ran = run(Arc::new(platform), strategy, true, replace, || write("another:key")).await;
        check(name, &ran, Line::Cut);
        assert_eq!(fake.actions(), Vec::<String>::new(), "{name}");
    }
}
