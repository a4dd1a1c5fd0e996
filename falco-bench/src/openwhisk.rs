//! OpenWhisk over a fast loopback fake of its API, whose functions answer at once.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use falco_core::{
    AsyncPlatform, Deployable, Deployment, ExecutionStrategy, Invocation, Payload, Pending,
    Platform, Release, Target,
};
use falco_executors::{AsyncExecutor, ParallelExecutor};
use falco_fakes::openwhisk::{FAKE_AUTH, FakeOpenWhisk, FakeSettings};
use falco_openwhisk::OpenWhisk;
use futures_util::{StreamExt, stream};
use serde_json::Value;

use crate::figure::{Figure, Goal};

const AT_ONCE: usize = 64;
const BLOCKING: usize = 20_000;
const SUBMITTED: usize = 10_000;

/// Measured so often, in turns, of which the best counts: what disturbs a measurement only makes it slower.
const ROUNDS: usize = 3;

pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut bare, mut blocking) = (0.0_f64, 0.0_f64);
        let bench = Bench::start().await?;
        for _ in 0..ROUNDS {
            bare = bare.max(bench.bare_blocking().await?);
            blocking = blocking.max(bench.blocking().await?);
        }
        let (mut submitting, mut collected, mut requests) = (0.0_f64, 0.0_f64, f64::MAX);
        for _ in 0..ROUNDS {
            submitting = submitting.max(Bench::start().await?.submit_only().await?);
            let (rate, each) = Bench::start().await?.submit_and_collect().await?;
            collected = collected.max(rate);
            requests = requests.min(each);
        }
        let mut figures = Vec::new();
        for (window, name) in SMALL_WINDOWS {
            let (mut parallel, mut asynchronous) = (0.0_f64, 0.0_f64);
            for _ in 0..ROUNDS {
                let bench = Bench::with_a_list_that_lags().await?;
                let executor = ParallelExecutor::with_concurrency(window)?;
                parallel = parallel.max(bench.execute(&executor, LAGGING).await?);
                let executor = AsyncExecutor::with_window(window)?;
                asynchronous = asynchronous.max(bench.execute(&executor, LAGGING).await?);
            }
            figures.push(Figure::beside(name, "1/s", asynchronous, parallel, Goal::AtLeast(0.5)));
        }
        let mut at_a_thousand = f64::MAX;
        for _ in 0..ROUNDS {
            let bench = Bench::with_a_list_that_lags().await?;
            bench.execute(&AsyncExecutor::with_window(LAGGING)?, LAGGING).await?;
            let requests = bench.fake.collecting_requests() as f64 / LAGGING as f64;
            at_a_thousand = at_a_thousand.min(requests);
        }
        figures.extend([
            Figure::alone(
                "openwhisk collecting requests, window 1000, list lags 200 ms",
                "per activation",
                at_a_thousand,
                Goal::AtMost(0.05),
            ),
            Figure::beside(
                "openwhisk blocking, 64 at once",
                "1/s",
                blocking,
                bare,
                Goal::AtLeast(0.7),
            ),
            Figure::beside(
                "openwhisk submit and collect",
                "1/s",
                collected,
                submitting,
                Goal::AtLeast(0.5),
            ),
            Figure::alone(
                "openwhisk collecting requests",
                "per activation",
                requests,
                Goal::AtMost(0.02),
            ),
        ]);
        Ok(figures)
    })
}

/// Windows that are small beside the lag of the list.
const SMALL_WINDOWS: [(usize, &str); 2] = [
    (8, "openwhisk async, window 8, list lags 200 ms"),
    (64, "openwhisk async, window 64, list lags 200 ms"),
];

/// Activations where the list lags.
const LAGGING: usize = 1000;

struct Bench {
    fake: FakeOpenWhisk,
    platform: Arc<OpenWhisk>,
    deployment: Deployment,
}

impl Bench {
    async fn start() -> anyhow::Result<Self> {
        Self::start_with(FakeSettings::default()).await
    }

    async fn with_a_list_that_lags() -> anyhow::Result<Self> {
        let list_lag = Duration::from_millis(200);
        Self::start_with(FakeSettings { list_lag, ..FakeSettings::default() }).await
    }

    async fn start_with(settings: FakeSettings) -> anyhow::Result<Self> {
        let fake = FakeOpenWhisk::with(FakeSettings {
            function: Some(Arc::new(Value::clone)),
            invocations_per_minute: u32::MAX,
            concurrent_invocations: u32::MAX,
            ..settings
        });
        fake.stop_remembering();
        let platform = Arc::new(OpenWhisk::connect(fake.config().build()?).await?);
        let function =
            Deployable::from_source("noop", "python:3".parse()?, "def main(args): return args");
        let deployment = platform.deploy(&function).await?;
        Ok(Self { fake, platform, deployment })
    }

    /// Where the list lags, functions take a few milliseconds, as the shortest real ones do.
    fn invocations(count: usize) -> anyhow::Result<Vec<Invocation>> {
        let millis = if count == LAGGING { 8 } else { 0 };
        let payload = Payload::json(&serde_json::json!({"n": 1, "sleep_ms": millis}))?;
        Ok((0..count)
            .map(|n| Invocation::new("bench", "noop", format!("{n:08}"), payload.clone()))
            .collect())
    }

    /// The floor: the same requests by a client with the same settings, of whose answers nothing is parsed.
    async fn bare_blocking(&self) -> anyhow::Result<f64> {
        let (user, password) = FAKE_AUTH.split_once(':').context("a key has two parts")?;
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(90))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let url = format!(
            "{}/api/v1/namespaces/_/actions/noop?blocking=true&result=false",
            self.fake.url()
        );
        let begun = Instant::now();
        let answered = stream::iter(0..BLOCKING)
            .map(|_| {
                let request = client
                    .post(&url)
                    .basic_auth(user, Some(password))
                    .header("content-type", "application/json")
                    .body(r#"{"n":1}"#);
                async move { request.send().await?.error_for_status()?.bytes().await }
            })
            .buffer_unordered(AT_ONCE)
            .filter(|answer| std::future::ready(answer.is_ok()))
            .count()
            .await;
        ensure!(answered == BLOCKING, "{answered} of {BLOCKING} were answered");
        Ok(rate(BLOCKING, begun))
    }

    async fn blocking(&self) -> anyhow::Result<f64> {
        let executor = ParallelExecutor::with_concurrency(AT_ONCE)?;
        self.execute(&executor, BLOCKING).await
    }

    async fn submit_only(&self) -> anyhow::Result<f64> {
        let invocations = Self::invocations(SUBMITTED)?;
        let begun = Instant::now();
        let mut pending: Vec<Pending> = Vec::with_capacity(SUBMITTED);
        let mut submissions = stream::iter(&invocations)
            .map(|invocation| self.platform.submit(&self.deployment, invocation))
            .buffer_unordered(AT_ONCE);
        while let Some(accepted) = submissions.next().await {
            pending.push(accepted?);
        }
        let rate = rate(SUBMITTED, begun);
        let ids: HashSet<_> = pending.into_iter().map(|pending| pending.id).collect();
        ensure!(ids.len() == SUBMITTED, "ids are given out twice");
        self.platform.release(
            &self.deployment,
            &ids.into_iter().collect::<Vec<_>>(),
            Release::Abandoned,
        );
        Ok(rate)
    }

    /// The rate, and the collecting requests for each activation.
    async fn submit_and_collect(&self) -> anyhow::Result<(f64, f64)> {
        let executor = AsyncExecutor::with_window(SUBMITTED)?;
        let rate = self.execute(&executor, SUBMITTED).await?;
        let requests = self.fake.collecting_requests();
        Ok((rate, requests as f64 / SUBMITTED as f64))
    }

    async fn execute(&self, executor: &dyn ExecutionStrategy, count: usize) -> anyhow::Result<f64> {
        let platform: Arc<dyn AsyncPlatform> = self.platform.clone();
        let target = Target::new(platform, self.deployment.clone());
        let invocations = Self::invocations(count)?;
        let begun = Instant::now();
        let succeeded = executor
            .execute(target, stream::iter(invocations).boxed())
            .filter(|completion| std::future::ready(completion.is_success()))
            .count()
            .await;
        ensure!(succeeded == count, "{succeeded} of {count} succeeded");
        Ok(rate(count, begun))
    }
}

fn rate(count: usize, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64()
}
