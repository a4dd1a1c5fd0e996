//! The executors beside bare loops over the same platform: what Falco's bookkeeping costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use falco_core::{
    AsyncPlatform, Capabilities, Deployable, Deployment, ExecutionStrategy, Invocation, Payload,
    Platform, Release, Target,
};
use falco_executors::{AsyncExecutor, ParallelExecutor};
use falco_testkit::{InMemory, Latency, Settings};
use futures_util::{Stream, StreamExt, stream};

use crate::figure::{Figure, Goal};
use crate::memory;

const CALLS: usize = 1_000_000;
const IN_FLIGHT: usize = 100_000;
const MB: f64 = 1e6;

/// Measures rates and memory of the parallel and the asynchronous executor.
pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut figures = Vec::new();
    for concurrency in [64, 1_000] {
        figures.extend(runtime.block_on(parallel(concurrency))?);
    }
    figures.push(runtime.block_on(submitted(1_000))?);
    figures.push(runtime.block_on(memory_per_call())?);
    Ok(figures)
}

async fn parallel(concurrency: usize) -> anyhow::Result<Vec<Figure>> {
    let (platform, deployment) = no_op(Latency::ZERO).await?;
    let start = Instant::now();
    let bare = invocations(CALLS)
        .map(|invocation| {
            let (platform, deployment) = (platform.clone(), deployment.clone());
            async move { platform.invoke(&deployment, &invocation).await }
        })
        .buffer_unordered(concurrency)
        .fold(0, async |count, activation| count + usize::from(activation.is_ok()))
        .await;
    let floor = rate(bare, start)?;

    memory::reset_peak()?;
    let executor = ParallelExecutor::with_concurrency(concurrency)?;
    let measured = execute(&executor, platform, deployment).await?;
    let peak = memory::peak()? / MB;
    let name = format!("parallel, {concurrency} at once");
    Ok(vec![
        Figure::beside(&name, "calls/s", measured, floor, Goal::AtLeast(0.3)),
        Figure::alone(format!("{name}: peak memory"), "MB", peak, Goal::AtMost(64.0)),
    ])
}

async fn submitted(window: usize) -> anyhow::Result<Figure> {
    let (platform, deployment) = no_op(Latency::ZERO).await?;
    let start = Instant::now();
    let mut bare = 0;
    let mut chunks = invocations(CALLS).chunks(window);
    while let Some(chunk) = chunks.next().await {
        let mut pending = Vec::with_capacity(chunk.len());
        for invocation in &chunk {
            pending.push(platform.submit(&deployment, invocation).await?);
        }
        while !pending.is_empty() {
            let collected = platform.collect(&deployment, &pending).await?;
            let ids: Vec<_> = collected.finished.into_iter().map(|one| one.id).collect();
            bare += ids.len();
            platform.release(&deployment, &ids, Release::Taken);
            let done: std::collections::HashSet<_> = ids.into_iter().collect();
            pending.retain(|pending| !done.contains(&pending.id));
        }
    }
    let floor = rate(bare, start)?;
    let executor = AsyncExecutor::with_window(window)?;
    let measured = execute(&executor, platform, deployment).await?;
    let name = format!("asynchronous, {window} at once");
    Ok(Figure::beside(name, "calls/s", measured, floor, Goal::AtLeast(0.5)))
}

async fn memory_per_call() -> anyhow::Result<Figure> {
    let (platform, deployment) = no_op(Latency::fixed(Duration::from_secs(30))).await?;
    let before = memory::resident()?;
    let executor = ParallelExecutor::with_concurrency(IN_FLIGHT)?;
    let target = Target::new(platform.clone(), deployment);
    let completions = executor.execute(target, invocations(IN_FLIGHT).boxed());
    let give_up = Instant::now() + Duration::from_secs(25);
    while platform.counters().running < IN_FLIGHT as u64 {
        ensure!(Instant::now() < give_up, "the calls were not in flight within 25 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let kilobytes = (memory::resident()? - before) / 1e3 / IN_FLIGHT as f64;
    drop(completions);
    Ok(Figure::alone("memory per call in flight", "KB", kilobytes, Goal::AtMost(4.0)))
}

async fn execute(
    executor: &dyn ExecutionStrategy,
    platform: Arc<InMemory>,
    deployment: Arc<Deployment>,
) -> anyhow::Result<f64> {
    let start = Instant::now();
    let count = executor
        .execute(Target::new(platform, deployment), invocations(CALLS).boxed())
        .fold(0, async |count, completion| count + usize::from(completion.is_success()))
        .await;
    rate(count, start)
}

fn rate(succeeded: usize, start: Instant) -> anyhow::Result<f64> {
    ensure!(succeeded == CALLS, "{succeeded} of {CALLS} calls succeeded");
    Ok(succeeded as f64 / start.elapsed().as_secs_f64())
}

async fn no_op(latency: Latency) -> anyhow::Result<(Arc<InMemory>, Arc<Deployment>)> {
    let platform = InMemory::new(Settings {
        latency,
        capabilities: Capabilities { submit: true, ..Settings::default().capabilities },
        ..Settings::default()
    });
    let function =
        Deployable::from_source("no-op", "python:3".parse()?, "def main(args): return {}");
    let deployment = platform.deploy(&function).await?;
    Ok((Arc::new(platform), Arc::new(deployment)))
}

fn invocations(count: usize) -> impl Stream<Item = Invocation> + Send + 'static {
    let run = falco_core::RunId::from("bench");
    let stage = falco_core::StageName::from("no-op");
    stream::iter((0..count).map(move |index| {
        Invocation::new(run.clone(), stage.clone(), index.to_string(), Payload::empty())
    }))
}
