//! Invoking a function on an HTTP platform over a fake on loopback, beside the same request in a bare loop.

use std::future::ready;
use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use falco_core::{
    AsyncPlatform, Bytes, Deployment, ExecutionStrategy, Invocation, Payload, Target,
};
use falco_executors::ParallelExecutor;
use futures_util::{StreamExt, stream};
use reqwest::{Client, ClientBuilder, header::HeaderMap};

const AT_ONCE: usize = 64;
const INVOCATIONS: usize = 20_000;

/// Measured so often, in turns, of which the best counts: what disturbs a measurement only makes it slower.
pub(crate) const ROUNDS: usize = 3;

/// A client with the settings of the platforms'.
pub(crate) fn client() -> ClientBuilder {
    Client::builder()
        .connect_timeout(std::time::Duration::from_secs(10))
        .redirect(reqwest::redirect::Policy::none())
}

/// The floor: a request as a platform has sent it, again and again; nothing of the answers is parsed.
pub(crate) async fn bare(
    client: &Client,
    url: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> anyhow::Result<f64> {
    let mut headers = headers.clone();
    headers.remove("host");
    headers.remove("content-length");
    let begun = Instant::now();
    let answered = stream::iter(0..INVOCATIONS)
        .map(|_| {
            let request = client.post(url).headers(headers.clone()).body(body.clone());
            async move { request.send().await?.error_for_status()?.bytes().await }
        })
        .buffer_unordered(AT_ONCE)
        .filter(|answer| ready(answer.is_ok()))
        .count()
        .await;
    ensure!(answered == INVOCATIONS, "{answered} of {INVOCATIONS} were answered");
    Ok(rate(begun))
}

/// The same by Falco: through the executor, to a platform behind a pointer.
pub(crate) async fn falco(
    platform: Arc<dyn AsyncPlatform>,
    deployment: &Deployment,
) -> anyhow::Result<f64> {
    let target = Target::new(platform, deployment.clone());
    let payload = Payload::json(&serde_json::json!({"n": 1}))?;
    let invocations: Vec<_> = (0..INVOCATIONS)
        .map(|n| Invocation::new("bench", "noop", format!("{n:08}"), payload.clone()))
        .collect();
    let executor = ParallelExecutor::with_concurrency(AT_ONCE)?;
    let begun = Instant::now();
    let succeeded = executor
        .execute(target, stream::iter(invocations).boxed())
        .filter(|completion| ready(completion.is_success()))
        .count()
        .await;
    ensure!(succeeded == INVOCATIONS, "{succeeded} of {INVOCATIONS} succeeded");
    Ok(rate(begun))
}

fn rate(begun: Instant) -> f64 {
    INVOCATIONS as f64 / begun.elapsed().as_secs_f64()
}
