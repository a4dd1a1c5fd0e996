//! Each provider's fake behind a line that is cut in mid-run, with all executors.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use falco_aws::{AwsConfig, AwsLambda, AwsWaits};
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
use falco_gcp::GcpFunctions;
use falco_layers::{RetryPolicy, Stack};
use falco_openwhisk::{OpenWhisk, OpenWhiskConfig};
use falco_testkit::{Line, TcpProxy};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

const INVOCATIONS: usize = 30;

/// The outages that were tried on a real controller: how it is away, and for how many seconds after that was seen.
const OUTAGES: [(Line, u32); 4] =
    [(Line::Cut, 3), (Line::Cut, 8), (Line::Cut, 25), (Line::Hung, 20)];
/// A second of that lasts so long here, and so do the pauses in an outage.
const SECOND: Duration = Duration::from_millis(20);

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

/// When an outage begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum When {
    Deploying,
    /// A third is done.
    #[default]
    Running,
    Removing,
}

/// Says when the outage is to begin, and counts outages.
#[derive(Debug, Default)]
struct Watch {
    when: When,
    done: AtomicUsize,
    begin: Notify,
    outages: AtomicUsize,
    seen: Notify,
}

impl Monitor for Watch {
    fn event(&self, event: &Event<'_>) -> Verdict {
        match event {
            Event::Completed { .. } => {
                let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
                if done == INVOCATIONS / 3 && self.when == When::Running {
                    self.begin.notify_one();
                }
            }
            Event::RunStarted { .. } if self.when == When::Deploying => self.begin.notify_one(),
            Event::StageFinished { .. } if self.when == When::Removing => self.begin.notify_one(),
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

async fn openwhisk(proxy: &TcpProxy) -> OpenWhisk {
    let config = OpenWhiskConfig::builder().apihost(proxy.url()).auth(FAKE_AUTH);
    OpenWhisk::connect(config.build().unwrap()).await.unwrap()
}

/// Functions of AWS that answer with their arguments, without a process.
fn aws_echo() -> falco_fakes::aws::FakeSettings {
    let function = |args: &serde_json::Value| {
        std::thread::sleep(Duration::from_millis(10));
        args.clone()
    };
    falco_fakes::aws::FakeSettings {
        function: Some(Arc::new(function)),
        ..falco_fakes::aws::FakeSettings::default()
    }
}

async fn aws(proxy: &TcpProxy) -> AwsLambda {
    let config = AwsConfig::builder()
        .region("eu-central-1")
        .endpoint_for_all(proxy.url())
        .static_credentials(FAKE_ACCESS_KEY, FAKE_SECRET, Some("fake-session-token".to_owned()))
        .waits(
            AwsWaits::default()
                .with_state_interval(Duration::from_millis(5))
                .with_role_interval(Duration::from_millis(5))
                // A result whose delivery was cut comes again after it.
                .with_queue_visibility(SECOND * 50),
        )
        .build()
        .unwrap();
    AwsLambda::connect(config).await.unwrap()
}

async fn gcp(fake: &FakeGcp) -> GcpFunctions {
    GcpFunctions::connect(fake.config().build().unwrap()).await.unwrap()
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
    (when, away): (When, Duration),
    begin: impl FnOnce(),
    end: impl FnOnce(),
) -> (RunOutcome, usize) {
    let retry = RetryPolicy::default().with_min_delay(SECOND / 10).with_max_delay(SECOND * 5);
    let layered = Stack::new()
        .with_retry(retry)
        .with_outage_pauses(SECOND / 2, SECOND * 10)
        .with_outage_patience(PATIENCE)
        .wrap(platform)
        .unwrap();
    let watch = Arc::new(Watch { when, ..Watch::default() });
    let options = RunOptions::new(layered, strategy).with_monitor(watch.clone());
    let outage = async {
        watch.begin.notified().await;
        begin();
        if is_seen {
            // The outcome shows whether nobody has seen it.
            let _ = timeout(PATIENCE, watch.seen.notified()).await;
        }
        sleep(away).await;
        end();
    };
    let (outcome, ()) = tokio::join!(Echoes.run(options), outage);
    (outcome.unwrap(), watch.outages.load(Ordering::Relaxed))
}

async fn run_with(
    proxy: &TcpProxy,
    (line, seconds): (Line, u32),
    platform: Arc<dyn AsyncPlatform>,
    strategy: Arc<dyn ExecutionStrategy>,
) -> (RunOutcome, usize) {
    let (begin, end) = (|| proxy.set(line), || proxy.set(Line::Up));
    let away = (When::Running, SECOND * seconds);
    run(platform, strategy, line == Line::Cut, away, begin, end).await
}

/// Runs with outages that begin while the function is deployed and while it is removed.
async fn run_with_outages_around<P: AsyncPlatform>(
    proxy: &TcpProxy,
    platform: impl AsyncFn() -> P,
) {
    for when in [When::Deploying, When::Removing] {
        let (begin, end) = (|| proxy.set(Line::Cut), || proxy.set(Line::Up));
        let strategy = Arc::new(ParallelExecutor::with_concurrency(4).unwrap());
        let platform = Arc::new(platform().await);
        let ran = run(platform, strategy, true, (when, SECOND * 8), begin, end).await;
        check(&format!("{when:?}"), &ran, Line::Cut);
    }
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
        for outage in OUTAGES {
            let fake = FakeOpenWhisk::with(echo());
            let proxy = TcpProxy::start(fake.url()).await.unwrap();
            let platform = Arc::new(openwhisk(&proxy).await);
            let ran = run_with(&proxy, outage, platform, strategy.clone()).await;
            check(name, &ran, outage.0);
            assert_eq!(fake.actions(), Vec::<String>::new(), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_may_be_away_in_mid_run() {
    for (name, strategy) in executors() {
        for outage in OUTAGES.into_iter().chain([(Line::Cut, 15)]) {
            let fake = FakeAws::with(aws_echo());
            let proxy = TcpProxy::start(fake.url()).await.unwrap();
            let platform = Arc::new(aws(&proxy).await);
            let ran = run_with(&proxy, outage, platform, strategy.clone()).await;
            check(name, &ran, outage.0);
            assert_eq!(fake.leftovers(), Vec::<String>::new(), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn google_may_be_away_in_mid_run() {
    for (name, strategy) in executors() {
        for outage in OUTAGES {
            let fake = FakeGcp::start();
            fake.answer_with(|args| {
                std::thread::sleep(Duration::from_millis(10));
                args.clone()
            });
            let proxy = TcpProxy::start(fake.url()).await.unwrap();
            fake.stand_behind(proxy.url());
            let platform = Arc::new(gcp(&fake).await);
            let ran = run_with(&proxy, outage, platform, strategy.clone()).await;
            check(name, &ran, outage.0);
            assert_eq!(fake.leftovers(), Vec::<String>::new(), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_provider_may_be_away_while_functions_are_deployed_and_removed() {
    let fake = FakeOpenWhisk::with(echo());
    let proxy = TcpProxy::start(fake.url()).await.unwrap();
    run_with_outages_around(&proxy, async || openwhisk(&proxy).await).await;
    assert_eq!(fake.actions(), Vec::<String>::new());

    let fake = FakeAws::with(aws_echo());
    let proxy = TcpProxy::start(fake.url()).await.unwrap();
    run_with_outages_around(&proxy, async || aws(&proxy).await).await;
    assert_eq!(fake.leftovers(), Vec::<String>::new());

    let fake = FakeGcp::start();
    fake.answer_with(Payload::clone);
    let proxy = TcpProxy::start(fake.url()).await.unwrap();
    fake.stand_behind(proxy.url());
    run_with_outages_around(&proxy, async || gcp(&fake).await).await;
    assert_eq!(fake.leftovers(), Vec::<String>::new());
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
        let config = OpenWhiskConfig::builder();
        let in_file =
            |name: &str| (name == "WSK_CONFIG_FILE").then(|| file.to_str().unwrap().to_owned());
        let config = config.build_with(&in_file).unwrap();
        let platform = OpenWhisk::connect(config).await.unwrap();
        let replace = || fake.change(|settings| settings.key = "another:key".to_owned());
        let renew = || write("another:key");
        let away = (When::Running, SECOND * 10);
        let ran = run(Arc::new(platform), strategy, true, away, replace, renew).await;
        check(name, &ran, Line::Cut);
        assert_eq!(fake.actions(), Vec::<String>::new(), "{name}");
    }
}
