//! Sixty-four workers of one Python function: how soon they are there, what they hold, and how busy they are kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use falco_core::{Deployable, Deployment, Invocation, Payload, Platform, Scaling};
use falco_local::{ForkedWorkers, LocalConfig, LocalPlatform};
use futures_util::future::try_join_all;
use serde_json::json;

use crate::figure::{Figure, Goal};
use crate::memory::TreeSampler;

const WORKERS: u32 = 64;
/// How long the first call of each worker takes, in seconds: so long that all have to be there.
const TOGETHER: f64 = 1.0;
const CALLS: usize = 10_000;
/// How long each of the many calls takes, in seconds.
const SHORT: f64 = 0.01;
/// Measured so often, in turns, of which the best counts.
const ROUNDS: usize = 2;
const MB: f64 = 1e6;

#[derive(Clone, Copy)]
struct Crowd {
    /// Seconds until all workers had begun.
    start: f64,
    /// The memory of all processes when the workers are idle, in MB.
    memory: f64,
    /// Seconds for many short calls, starting the workers included.
    calls: f64,
}

pub(super) async fn figures() -> anyhow::Result<Vec<Figure>> {
    let none = Crowd { start: f64::MAX, memory: f64::MAX, calls: f64::MAX };
    let (mut forked, mut alone) = (none, none);
    for _ in 0..ROUNDS {
        for (best, choice) in
            [(&mut alone, ForkedWorkers::Never), (&mut forked, ForkedWorkers::Auto)]
        {
            let one = measure(choice).await?;
            best.start = best.start.min(one.start);
            best.memory = best.memory.min(one.memory);
            best.calls = best.calls.min(one.calls);
        }
    }
    let least = CALLS as f64 * SHORT / f64::from(WORKERS);
    Ok(vec![
        Figure::alone("local: 64 workers started", "s", forked.start, Goal::AtMost(0.3)),
        Figure::alone("local: 64 workers started one by one", "s", alone.start, Goal::Shown),
        Figure::beside(
            "local: memory of 64 idle workers, beside those started one by one",
            "MB",
            forked.memory,
            alone.memory,
            Goal::AtMost(1.0 / 3.0),
        ),
        Figure::beside(
            "local: 10,000 calls of 10 ms on 64 workers, beside the least",
            "s",
            forked.calls,
            least,
            Goal::AtMost(1.1),
        ),
    ])
}

async fn measure(choice: ForkedWorkers) -> anyhow::Result<Crowd> {
    let state = tempfile::tempdir()?;
    let config = LocalConfig::builder().directory(state.path()).forked_workers(choice).build()?;
    let platform = Arc::new(LocalPlatform::connect(config).await?);
    let first = deploy(&platform, "together").await?;
    let start = calls(&platform, &first, WORKERS as usize, TOGETHER).await? - TOGETHER;
    let sampler = TreeSampler::start();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let memory = tokio::task::spawn_blocking(move || sampler.finish()).await?? / MB;
    platform.remove(&first).await?;
    let second = deploy(&platform, "short").await?;
    let calls = calls(&platform, &second, CALLS, SHORT).await?;
    Ok(Crowd { start, memory, calls })
}

async fn deploy(platform: &LocalPlatform, name: &str) -> anyhow::Result<Deployment> {
    let source = "import time\ndef main(args):\n    time.sleep(args['s'])\n    return {}\n";
    let function = Deployable::from_source(name, "python:3".parse()?, source)
        .with_scaling(Scaling::default().with_max_instances(WORKERS));
    Ok(platform.deploy(&function).await?)
}

/// Seconds from the first of so many calls to the last answer.
async fn calls(
    platform: &LocalPlatform,
    deployment: &Deployment,
    count: usize,
    seconds: f64,
) -> anyhow::Result<f64> {
    let payload = Payload::json(&json!({ "s": seconds }))?;
    let invocations: Vec<_> = (0..count)
        .map(|n| Invocation::new("bench", "crowd", n.to_string(), payload.clone()))
        .collect();
    let begun = Instant::now();
    let done = try_join_all(invocations.iter().map(|it| platform.invoke(deployment, it))).await?;
    let took = begun.elapsed().as_secs_f64();
    ensure!(done.iter().all(|activation| activation.is_success()), "a call failed");
    Ok(took)
}
