//! How soon a stage has as many calls at once as the account allows, on a simulated Lambda.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use falco_core::{Deployable, ExecutionStrategy, Invocation, Payload, Platform, Scaling, Target};
use falco_executors::ParallelExecutor;
use falco_layers::{RetryPolicy, Stack};
use falco_testkit::Latency;
use falco_testkit::simulation::{Provider, Quotas, Ramp, Rate, Simulation};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use crate::figure::{Figure, Goal};

/// How long each call runs: longer than it takes to start all.
const LONG: Duration = Duration::from_secs(1_200);
/// Nobody waits longer for the last call to start.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often it is looked at how many calls have started.
const STEP: Duration = Duration::from_millis(1);

pub(super) fn figures() -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let mut alone = f64::NAN;
    for (calls, replicas, name) in [
        (1_000, 1, "Lambda's ramp: 1,000 at once"),
        (10_000, 1, "Lambda's ramp: 10,000 at once"),
        (10_000, 2, "2 replicas: 10,000 at once"),
        (10_000, 4, "4 replicas: 10,000 at once"),
    ] {
        let Start { started, took, least } = super::leaping()?.block_on(start(calls, replicas))?;
        let beside = format!("{name}, beside what is allowed");
        figures.push(Figure::beside(beside, "s", took, least, Goal::AtMost(1.25)));
        let all = format!("{name}, started in 600 s");
        figures.push(Figure::beside(all, "calls", started, f64::from(calls), Goal::AtLeast(1.0)));
        if replicas == 1 {
            alone = took;
        } else {
            let name = format!("{name}, beside one function");
            let goal = Goal::AtMost(1.0 / f64::from(replicas));
            figures.push(Figure::beside(name, "s", took, alone, goal));
        }
    }
    Ok(figures)
}

/// How the calls of a stage started.
struct Start {
    /// The calls that had started when the wait for them ended.
    started: f64,
    /// Seconds until all had started, or until nobody waited any longer.
    took: f64,
    /// The seconds that the ramp and the rate of requests make necessary.
    least: f64,
}

/// Waits until so many calls run at once.
async fn start(calls: u32, replicas: u32) -> anyhow::Result<Start> {
    let lambda = Provider::lambda();
    let ramp = lambda.quotas.ramp.unwrap_or(Ramp { per_second: 100.0, burst: 1_000 });
    let rate = lambda.quotas.rate.map_or(f64::INFINITY, Rate::per_second);
    let request = lambda.request_latency.mean().unwrap_or_default();
    let simulation = Simulation::new(
        Provider {
            quotas: Quotas { concurrency: Some(calls), ..lambda.quotas.clone() },
            latency: Latency::fixed(LONG),
            ..lambda
        },
        42,
    );
    // Calls are sent again after any number of refusals.
    let retry = RetryPolicy::with_retries(1_000);
    let platform =
        Stack::new().with_retry(retry).with_replicas(replicas).wrap(simulation.platform())?;
    let function = Deployable::from_source("f", "python:3".parse()?, "def main(args): return args")
        .with_scaling(Scaling::default().with_timeout(Duration::from_secs(900)));
    let deployment = Arc::new(platform.deploy(&function).await?);
    let invocations = stream::iter(0..calls)
        .map(|n| Invocation::new("bench", "ramp", format!("{n:08}"), Payload::empty()));
    let began = Instant::now();
    let executor = ParallelExecutor::with_concurrency(calls as usize)?;
    // It starts them all, whether or not anybody takes its results.
    let target = Target::new(platform.clone(), deployment.clone());
    let completions = executor.execute(target, invocations.boxed());
    while simulation.counters().allowed < u64::from(calls) && began.elapsed() < PATIENCE {
        sleep(STEP).await;
    }
    let (took, started) = (began.elapsed().as_secs_f64(), simulation.counters().allowed);
    drop(completions);
    let deployed = simulation.platform().list_deployments().await?.len();
    ensure!(deployed == replicas as usize, "{deployed} functions for {replicas} replicas");
    platform.remove(&deployment).await?;
    let left = simulation.platform().list_deployments().await?;
    ensure!(left.is_empty(), "replicas are left: {left:?}");
    let at_once = f64::from(ramp.burst * replicas);
    let later = (f64::from(calls) - at_once).max(0.0);
    let by_ramp = later / (ramp.per_second * f64::from(replicas));
    // Calls are also sent no faster than the account's rate of requests, which Lambda states.
    let least = request.as_secs_f64() + by_ramp.max(f64::from(calls) / rate);
    Ok(Start { started: started as f64, took, least })
}
