//! The executors beside bare loops over the same platform: what Falco's bookkeeping costs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use falco_core::{
    AsyncPlatform, Deployable, Deployment, ExecutionStrategy, Invocation, Payload, Platform,
    Release, Target,
};
use falco_executors::{AsyncExecutor, ParallelExecutor};
use falco_testkit::{InMemory, Latency, Settings};
use futures_util::{Stream, StreamExt, stream};

use crate::figure::{Figure, Goal};
use crate::memory;

const CALLS: usize = 1_000_000;
/// The calls of each side of a ratio are made in so many turns: a shared machine is not as fast in one minute as in the
/// next, and both sides need the same minutes.
const TURNS: usize = 10;
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
    let executor = ParallelExecutor::with_concurrency(concurrency)?;
    let (mut bare, mut falco) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..TURNS {
        bare += invoke_bare(concurrency, &*platform, &deployment).await?;
        falco += execute(&executor, CALLS / TURNS, &platform, &deployment).await?;
    }
    memory::reset_peak()?;
    execute(&executor, CALLS, &platform, &deployment).await?;
    let peak = memory::peak()? / MB;
    let name = format!("parallel, {concurrency} at once");
    Ok(vec![
        Figure::beside(&name, "calls/s", rate(falco), rate(bare), Goal::AtLeast(0.3)),
        Figure::alone(format!("{name}: peak memory"), "MB", peak, Goal::AtMost(64.0)),
    ])
}

async fn submitted(window: usize) -> anyhow::Result<Figure> {
    let (platform, deployment) = no_op(Latency::ZERO).await?;
    let executor = AsyncExecutor::with_window(window)?;
    let (mut bare, mut falco) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..TURNS {
        bare += submit_bare(window, &*platform, &deployment).await?;
        falco += execute(&executor, CALLS / TURNS, &platform, &deployment).await?;
    }
    let name = format!("asynchronous, {window} at once");
    Ok(Figure::beside(name, "calls/s", rate(falco), rate(bare), Goal::AtLeast(0.5)))
}

/// A turn of the floor for what is held open.
async fn invoke_bare(
    concurrency: usize,
    platform: &dyn AsyncPlatform,
    deployment: &Deployment,
) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let succeeded = invocations(CALLS / TURNS)
        .map(|invocation| async move { platform.invoke(deployment, &invocation).await })
        .buffer_unordered(concurrency)
        .fold(0, async |count, activation| count + usize::from(activation.is_ok()))
        .await;
    all(succeeded, CALLS / TURNS)?;
    Ok(start.elapsed())
}

/// A turn of the floor for what is submitted.
async fn submit_bare(
    window: usize,
    platform: &dyn AsyncPlatform,
    deployment: &Deployment,
) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let mut succeeded = 0;
    let mut chunks = invocations(CALLS / TURNS).chunks(window);
    while let Some(chunk) = chunks.next().await {
        let mut pending = Vec::with_capacity(chunk.len());
        for invocation in &chunk {
            pending.push(platform.submit(deployment, invocation).await?);
        }
        while !pending.is_empty() {
            let collected = platform.collect(deployment, &pending).await?;
            let ids: Vec<_> = collected.finished.into_iter().map(|one| one.id).collect();
            succeeded += ids.len();
            platform.release(deployment, &ids, Release::Taken);
            let done: HashSet<_> = ids.into_iter().collect();
            pending.retain(|pending| !done.contains(&pending.id));
        }
    }
    all(succeeded, CALLS / TURNS)?;
    Ok(start.elapsed())
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
    calls: usize,
    platform: &Arc<InMemory>,
    deployment: &Arc<Deployment>,
) -> anyhow::Result<Duration> {
    let target = Target::new(platform.clone(), deployment.clone());
    let start = Instant::now();
    let succeeded = executor
        .execute(target, invocations(calls).boxed())
        .fold(0, async |count, completion| count + usize::from(completion.is_success()))
        .await;
    all(succeeded, calls)?;
    Ok(start.elapsed())
}

fn all(succeeded: usize, calls: usize) -> anyhow::Result<()> {
    ensure!(succeeded == calls, "{succeeded} of {calls} calls succeeded");
    Ok(())
}

/// Calls a second, where all of them took `time`.
fn rate(time: Duration) -> f64 {
    CALLS as f64 / time.as_secs_f64()
}

async fn no_op(latency: Latency) -> anyhow::Result<(Arc<InMemory>, Arc<Deployment>)> {
    let platform = InMemory::new(Settings {
        latency,
        capabilities: Settings::default().capabilities.with_submit(true),
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
