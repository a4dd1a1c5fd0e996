//! Functions in Rust, which this program holds itself: beside the same program behind bare pipes, and beside Python.

mod pipes;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use falco_aws::AwsLambda;
use falco_core::{
    AsyncPlatform, Deployable, Deployment, ExecutionStrategy, Invocation, Payload, Platform,
    Scaling, Target,
};
use falco_executors::ParallelExecutor;
use falco_fakes::aws::FakeAws;
use falco_function::{Executable, Functions, Registered};
use falco_local::{LocalConfig, LocalPlatform};
use falco_package::Archive;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::figure::{Figure, Goal};

const WORKERS: u32 = 2;
const NO_OPS: usize = 200_000;
const ECHOES: usize = 300;
const WARM: usize = 300;

/// Starts in a round, of which the best of some counts: what disturbs a measurement only makes it slower.
const COLD: usize = 7;
const ROUNDS: usize = 5;

const MIB: usize = 1 << 20;

const PYTHON: &str = "def main(args):\n    return args\n";

#[derive(Serialize, Deserialize)]
struct Nothing {}

#[derive(Serialize, Deserialize)]
struct Text {
    text: String,
}

/// The functions of this program.
struct Registry {
    functions: Functions,
    nothing: Registered<Nothing, Nothing>,
    text: Registered<Text, Text>,
    raw: Registered<Box<RawValue>, Box<RawValue>>,
}

fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let mut functions = Functions::new();
        let nothing = functions.add("nothing", Ok::<Nothing, String>);
        let text = functions.add("text", Ok::<Text, String>);
        let raw = functions.add("raw", Ok::<Box<RawValue>, String>);
        Registry { functions, nothing, text, raw }
    })
}

/// Serves a function, or bare pipes, where this process was started for that.
pub(crate) fn serve_if_worker() {
    pipes::serve_if_asked();
    registry().functions.serve_if_worker();
}

pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let mut figures = vec![];
    let bare = pipes::calls_per_second(WORKERS as usize, NO_OPS / 2)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let state = tempfile::tempdir()?;
    let config = LocalConfig::builder().directory(state.path()).build()?;
    let local = Arc::new(runtime.block_on(LocalPlatform::connect(config))?);
    runtime.block_on(async {
        figures.extend(on_this_machine(&local, bare).await?);
        figures.extend(on_the_fake_lambda().await?);
        figures.extend(deploying(&local).await?);
        anyhow::Ok(())
    })?;
    Ok(figures)
}

fn function<A, R>(registered: &Registered<A, R>) -> anyhow::Result<Deployable> {
    let program = Executable::current()?;
    let scaling = Scaling::default().with_max_instances(WORKERS);
    Ok(program.function(registered)?.deployable().clone().with_scaling(scaling))
}

fn python() -> anyhow::Result<Deployable> {
    let scaling = Scaling::default().with_max_instances(WORKERS);
    Ok(Deployable::from_source("python", "python:3".parse()?, PYTHON).with_scaling(scaling))
}

async fn on_this_machine(local: &Arc<LocalPlatform>, bare: f64) -> anyhow::Result<Vec<Figure>> {
    let registry = registry();
    let rust = local.deploy(&function(&registry.nothing)?).await?;
    execute(local, &rust, 1_000, &Payload::empty()).await?;
    let rate = execute(local, &rust, NO_OPS, &Payload::empty()).await?;

    let warm = warm_call(local.as_ref(), &rust).await?;
    let inside = registry.functions.in_process();
    let floor = warm_call(&inside, &inside.deploy(&function(&registry.nothing)?).await?).await?;

    let payload = Payload::json(&Text { text: "x".repeat(MIB) })?;
    let typed = local.deploy(&function(&registry.text)?).await?;
    let raw = local.deploy(&function(&registry.raw)?).await?;
    execute(local, &typed, 10, &payload).await?;
    execute(local, &raw, 10, &payload).await?;
    let typed = execute(local, &typed, ECHOES, &payload).await?;
    let raw = execute(local, &raw, ECHOES, &payload).await?;

    // In turns, so that both meet the same machine.
    let (mut starts, mut by_hand) = (Vec::new(), Vec::new());
    for number in 0..ROUNDS * COLD {
        by_hand.push(pipes::first_answer()?);
        let cold = function(&registry.nothing)?.with_name(format!("cold-{number}"));
        let deployment = local.deploy(&cold).await?;
        let begun = Instant::now();
        let activation = local.invoke(&deployment, &invocation(0, &Payload::empty())).await?;
        starts.push(begun.elapsed());
        ensure!(activation.cold_start == Some(true), "it was not a cold start");
        local.remove(&deployment).await?;
    }
    let (start, bare_start) = (best(starts)?, best(by_hand)?);
    Ok(vec![
        Figure::beside("rust local: no-op calls", "calls/s", rate, bare, Goal::AtLeast(0.25)),
        Figure::beside(
            "rust local: a warm call, in process",
            "µs",
            warm * 1e3,
            floor * 1e3,
            Goal::Shown,
        ),
        Figure::beside(
            "rust local: echo of 1 MiB, as raw text",
            "MiB/s",
            typed,
            raw,
            Goal::AtLeast(0.5),
        ),
        Figure::beside(
            "rust local: cold start, by hand",
            "ms",
            start,
            bare_start,
            Goal::AtMost(2.0),
        ),
    ])
}

async fn on_the_fake_lambda() -> anyhow::Result<Vec<Figure>> {
    let fake = FakeAws::start();
    let platform = AwsLambda::connect(fake.config().build()?).await?;
    let rust = platform.deploy(&function(&registry().nothing)?).await?;
    let python = platform.deploy(&python()?).await?;
    let (rust, python) = (warm_call(&platform, &rust).await?, warm_call(&platform, &python).await?);
    let name = "rust aws: a warm call, Python";
    Ok(vec![Figure::beside(name, "ms", rust, python, Goal::AtMost(0.5))])
}

/// Deploying two functions of this program: the second has nothing to pack.
async fn deploying(local: &Arc<LocalPlatform>) -> anyhow::Result<Vec<Figure>> {
    let begun = Instant::now();
    // Under a name of its own, since what was packed already is not packed again.
    let own = std::fs::read("/proc/self/exe")?;
    let packed = Archive::new().with_executable("floor", own)?.to_zip()?;
    let packing = begun.elapsed().as_secs_f64();
    ensure!(!packed.is_empty(), "nothing was packed");
    let fake = FakeAws::start();
    let aws = Arc::new(AwsLambda::connect(fake.config().build()?).await?);
    let platforms: [(&str, Arc<dyn AsyncPlatform>); 2] = [("local", local.clone()), ("aws", aws)];
    let mut figures = Vec::new();
    for (name, platform) in platforms {
        let [first, second] = ["first", "second"]
            .map(|name| Ok::<_, anyhow::Error>(function(&registry().nothing)?.with_name(name)));
        platform.deploy(&first?).await?;
        let second = second?;
        let begun = Instant::now();
        platform.deploy(&second).await?;
        let name = format!("rust {name}: deploying a second function, packing");
        let took = begun.elapsed().as_secs_f64();
        figures.push(Figure::beside(name, "s", took, packing, Goal::AtMost(1.0)));
    }
    Ok(figures)
}

fn invocation(number: usize, payload: &Payload) -> Invocation {
    Invocation::new("bench", "rust", number.to_string(), payload.clone())
}

/// Calls a second.
async fn execute(
    platform: &Arc<LocalPlatform>,
    deployment: &Deployment,
    calls: usize,
    payload: &Payload,
) -> anyhow::Result<f64> {
    let payload = payload.clone();
    let invocations = stream::iter((0..calls).map(move |number| invocation(number, &payload)));
    let begun = Instant::now();
    let succeeded = ParallelExecutor::new()
        .execute(Target::new(platform.clone(), Arc::new(deployment.clone())), invocations.boxed())
        .fold(0, async |count, completion| count + usize::from(completion.is_success()))
        .await;
    ensure!(succeeded == calls, "{succeeded} of {calls} calls succeeded");
    Ok(calls as f64 / begun.elapsed().as_secs_f64())
}

/// The median of calls one after the other, in milliseconds.
async fn warm_call(platform: &impl Platform, deployment: &Deployment) -> anyhow::Result<f64> {
    let mut times = Vec::with_capacity(WARM);
    for number in 0..WARM {
        let begun = Instant::now();
        let activation =
            platform.invoke(deployment, &invocation(number, &Payload::empty())).await?;
        times.push(begun.elapsed());
        ensure!(activation.is_success(), "{:?}", activation.outcome);
    }
    median(times)
}

/// The least median of the rounds, in milliseconds.
fn best(times: Vec<Duration>) -> anyhow::Result<f64> {
    let medians: anyhow::Result<Vec<_>> =
        times.chunks(COLD).map(|round| median(round.to_vec())).collect();
    medians?.into_iter().min_by(f64::total_cmp).context("nothing was measured")
}

/// In milliseconds.
fn median(mut times: Vec<Duration>) -> anyhow::Result<f64> {
    times.sort();
    let median = times.get(times.len() / 2).context("nothing was measured")?;
    Ok(median.as_secs_f64() * 1e3)
}
