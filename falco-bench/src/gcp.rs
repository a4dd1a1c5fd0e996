//! Google Cloud Functions over a loopback fake of them, whose functions answer at once.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use falco_core::{
    AsyncPlatform, Deployable, Deployment, ExecutionStrategy, Invocation, Payload, Platform, Target,
};
use falco_executors::ParallelExecutor;
use falco_gcp::Gcp;
use falco_gcp::fake::{Fake, Seen};
use futures_util::{StreamExt, stream};

use crate::figure::{Figure, Goal};

const AT_ONCE: usize = 64;
const INVOCATIONS: usize = 20_000;

/// Measured so often, in turns, of which the best counts: what disturbs a measurement only makes it slower.
const ROUNDS: usize = 3;

pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let bench = Bench::start().await?;
        let (mut bare, mut falco) = (0.0_f64, 0.0_f64);
        for _ in 0..ROUNDS {
            bare = bare.max(bench.bare().await?);
            falco = falco.max(bench.falco().await?);
        }
        let name = "gcp invocations, 64 at once";
        Ok(vec![Figure::beside(name, "1/s", falco, bare, Goal::AtLeast(0.7))])
    })
}

struct Bench {
    fake: Fake,
    platform: Arc<Gcp>,
    deployment: Deployment,
    /// A request as the platform sends it, with its token.
    request: Seen,
}

impl Bench {
    async fn start() -> anyhow::Result<Self> {
        let fake = Fake::start();
        fake.answer_with(Payload::clone);
        let platform = Arc::new(Gcp::connect(fake.config()).await?);
        let function =
            Deployable::from_source("noop", "python:3".parse()?, "def main(args): return args");
        let deployment = platform.deploy(&function).await?;
        let payload = Payload::json(&serde_json::json!({"n": 1}))?;
        platform.invoke(&deployment, &Invocation::new("bench", "noop", "1", payload)).await?;
        let request = fake.requests_to("POST /run/").pop().context("the invocation was seen")?;
        fake.stop_remembering();
        Ok(Self { fake, platform, deployment, request })
    }

    /// The floor: the same request, of whose answer nothing is parsed.
    async fn bare(&self) -> anyhow::Result<f64> {
        let client = reqwest::Client::builder()
            .connect_timeout(std::time::Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .build()?;
        let url = format!("{}{}", self.fake.url(), self.request.path);
        let mut headers = self.request.headers.clone();
        headers.remove("host");
        headers.remove("content-length");
        let begun = Instant::now();
        let answered = stream::iter(0..INVOCATIONS)
            .map(|_| {
                let request =
                    client.post(&url).headers(headers.clone()).body(self.request.body.clone());
                async move { request.send().await?.error_for_status()?.bytes().await }
            })
            .buffer_unordered(AT_ONCE)
            .filter(|answer| std::future::ready(answer.is_ok()))
            .count()
            .await;
        ensure!(answered == INVOCATIONS, "{answered} of {INVOCATIONS} were answered");
        Ok(rate(begun))
    }

    async fn falco(&self) -> anyhow::Result<f64> {
        let platform: Arc<dyn AsyncPlatform> = self.platform.clone();
        let target = Target::new(platform, self.deployment.clone());
        let payload = Payload::json(&serde_json::json!({"n": 1}))?;
        let invocations: Vec<_> = (0..INVOCATIONS)
            .map(|n| Invocation::new("bench", "noop", format!("{n:08}"), payload.clone()))
            .collect();
        let executor = ParallelExecutor::with_concurrency(AT_ONCE)?;
        let begun = Instant::now();
        let succeeded = executor
            .execute(target, stream::iter(invocations).boxed())
            .filter(|completion| std::future::ready(completion.is_success()))
            .count()
            .await;
        ensure!(succeeded == INVOCATIONS, "{succeeded} of {INVOCATIONS} succeeded");
        Ok(rate(begun))
    }
}

fn rate(begun: Instant) -> f64 {
    INVOCATIONS as f64 / begun.elapsed().as_secs_f64()
}
