//! The local platform beside threads in lock-step with workers that do nothing else.

mod crowd;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use falco_core::{
    Deployable, Deployment, ExecutionStrategy, Invocation, Payload, Platform, Scaling, Target,
};
use falco_executors::ParallelExecutor;
use falco_local::{LocalConfig, LocalPlatform};
use futures_util::{StreamExt, stream};

use crate::figure::{Figure, Goal};
use crate::lockstep;

const CALLS: usize = 200_000;
const WORKERS: u32 = 2;
const COLD_STARTS: usize = 10;

/// Measures the rate of a no-op Python function, and how long its first result takes.
pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let floor = lockstep::calls_per_second(WORKERS as usize, CALLS / 2)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let state = std::env::temp_dir().join(format!("falco-bench-{}", std::process::id()));
    let config = LocalConfig::builder().directory(&state).build()?;
    let platform = Arc::new(runtime.block_on(LocalPlatform::connect(config))?);
    let figures = runtime.block_on(async {
        let crowd = crowd::figures().await?;
        let rate = rate(&platform).await?;
        let cold = cold_start(&platform).await?;
        let mut figures = vec![
            Figure::beside("local: no-op calls", "calls/s", rate, floor, Goal::AtLeast(1.0 / 3.0)),
            Figure::beside("local: cold start", "ms", cold, interpreter()?, Goal::AtMost(1.5)),
        ];
        figures.extend(crowd);
        anyhow::Ok(figures)
    });
    drop(platform);
    std::fs::remove_dir_all(&state)?;
    figures
}

async fn rate(platform: &Arc<LocalPlatform>) -> anyhow::Result<f64> {
    let deployment = Arc::new(deploy(platform, "no-op").await?);
    // The first calls start the workers, which is not what is measured here.
    execute(platform, &deployment, 1_000).await?;
    let start = Instant::now();
    execute(platform, &deployment, CALLS).await?;
    Ok(CALLS as f64 / start.elapsed().as_secs_f64())
}

async fn execute(
    platform: &Arc<LocalPlatform>,
    deployment: &Arc<Deployment>,
    calls: usize,
) -> anyhow::Result<()> {
    let invocations = stream::iter(
        (0..calls)
            .map(|index| Invocation::new("bench", "no-op", index.to_string(), Payload::empty())),
    );
    let succeeded = ParallelExecutor::new()
        .execute(Target::new(platform.clone(), deployment.clone()), invocations.boxed())
        .fold(0, async |count, completion| count + usize::from(completion.is_success()))
        .await;
    ensure!(succeeded == calls, "{succeeded} of {calls} calls succeeded");
    Ok(())
}

/// Milliseconds until the first result of a function that has no worker yet.
async fn cold_start(platform: &LocalPlatform) -> anyhow::Result<f64> {
    let mut times = Vec::new();
    for number in 0..COLD_STARTS {
        let deployment = deploy(platform, &format!("cold-{number}")).await?;
        let start = Instant::now();
        let invocation = Invocation::new("bench", "cold", "0", Payload::empty());
        let activation = platform.invoke(&deployment, &invocation).await?;
        times.push(start.elapsed());
        ensure!(activation.cold_start == Some(true), "it was not a cold start");
        platform.remove(&deployment).await?;
    }
    Ok(median(times))
}

/// Milliseconds that the interpreter needs by itself.
fn interpreter() -> anyhow::Result<f64> {
    // Resolved as the platform does, so that a version manager's shim is paid by neither.
    let path =
        Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output()?;
    let python = String::from_utf8(path.stdout)?;
    let mut times = Vec::new();
    for _ in 0..COLD_STARTS {
        let start = Instant::now();
        let status = Command::new(python.trim()).args(["-c", "import json"]).status()?;
        times.push(start.elapsed());
        ensure!(status.success(), "python3 failed");
    }
    Ok(median(times))
}

async fn deploy(platform: &LocalPlatform, name: &str) -> falco_core::Result<Deployment> {
    let source = "def main(args):\n    return args\n";
    let function = Deployable::from_source(name, "python:3".parse()?, source)
        .with_scaling(Scaling::default().with_max_instances(WORKERS));
    platform.deploy(&function).await
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}
