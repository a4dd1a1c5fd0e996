//! Calls that last for minutes, on a provider that starts the instances of a function only so fast.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{ExecutionStrategy, Scaling, Target};
use falco_executors::ParallelExecutor;
use falco_layers::Stack;
use falco_testkit::Latency;
use falco_testkit::simulation::{Provider, Quotas, Simulation};
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use crate::support::*;

/// Nobody waits longer for the last call to start.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long it takes until so many calls run at once, none of which ends before.
async fn time_to_start(calls: u32, replicas: u32) -> Duration {
    let provider = Provider::lambda();
    let simulation = Simulation::new(
        Provider {
            quotas: Quotas { concurrency: Some(calls), ..provider.quotas.clone() },
            latency: Latency::fixed(2 * PATIENCE),
            ..provider
        },
        42,
    );
    let stack = Stack::new().with_replicas(replicas);
    let platform = stack.wrap(simulation.platform()).unwrap();
    let function = function().with_scaling(Scaling::default().with_timeout(2 * PATIENCE));
    let deployment = Arc::new(platform.deploy(&function).await.unwrap());
    let invocations = stream::iter(0..calls).map(|n| invocation(&format!("{n:08}")));
    let began = Instant::now();
    let executor = ParallelExecutor::with_concurrency(calls as usize).unwrap();
    // It starts them all, whether or not anybody takes its results.
    let completions = executor.execute(Target::new(platform, deployment), invocations.boxed());
    while simulation.counters().allowed < u64::from(calls) && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let took = began.elapsed();
    drop(completions);
    took
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_long_calls_start_as_fast_as_lambda_starts_instances_and_four_replicas_sooner()
{
    // 1,000 at once, and 1,000 more every 10 s: the last of 10,000 may start after 90 s.
    let least = secs(90);
    let one = time_to_start(10_000, 1).await;
    assert!(one >= least, "{one:?}: the provider has no ramp");
    assert!(one < least.mul_f64(1.25), "{one:?}, where {least:?} are necessary");
    let four = time_to_start(10_000, 4).await;
    assert!(4 * four < one, "{four:?} with four replicas, {one:?} without");
}
