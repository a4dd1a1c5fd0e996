//! Many calls: by the million through the runner, from a slow source, up Lambda's ramp, and over TLS from a cold start.

mod ramp;
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use falco_core::{Deployable, Driver, ExecutionPlan, Input, Payload, Result, Stage};
use falco_executors::{DriverExt, KeepResults, ParallelExecutor, RunOptions};
use falco_testkit::{InMemory, Latency, Settings};
use futures_util::{StreamExt, stream};

use crate::figure::{Figure, Goal};
use crate::memory;

const AT_ONCE: usize = 256;
/// How long a slow source takes for each of its inputs.
const PAUSE: Duration = Duration::from_millis(1);
/// How long each call on an input of the slow source takes: 100 run at a time. Were inputs collected before the first call, the
/// run would take half as long again.
const CALL: Duration = Duration::from_millis(100);
const MB: f64 = 1e6;

fn million() -> usize {
    if crate::is_quick() { 20_000 } else { 1_000_000 }
}

/// The inputs of the slow source.
fn slow() -> usize {
    if crate::is_quick() { 2_000 } else { 100_000 }
}

/// The benchmark `scale`.
pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    // First what is about memory: a thousand connections leave some behind.
    let one = millions(1)?;
    let ten = millions(10)?;
    let mut figures = vec![
        Figure::alone("a million: CPU an invocation", "µs", one.cpu, Goal::Shown),
        Figure::beside(
            "10 million: CPU an invocation, beside one million",
            "µs",
            ten.cpu,
            one.cpu,
            Goal::AtMost(1.1),
        ),
        Figure::alone("a million: rate", "1/s", one.rate, Goal::Shown),
        Figure::beside(
            "10 million: peak memory, beside one million",
            "MB",
            ten.peak,
            one.peak,
            Goal::AtMost(1.1),
        ),
    ];
    figures.extend(slow_source()?);
    figures.extend(ramp::figures()?);
    figures.extend(tls::figures()?);
    Ok(figures)
}

/// A current-thread runtime whose clock leaps over every wait.
fn leaping() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?)
}

struct Cost {
    /// Microseconds of the processor for each invocation.
    cpu: f64,
    /// Invocations a second.
    rate: f64,
    /// The peak memory, in MB.
    peak: f64,
}

/// Runs so many million invocations through the plan runner, with a report, on a platform in memory.
fn millions(count: usize) -> anyhow::Result<Cost> {
    let count = count * million();
    leaping()?.block_on(async {
        let cpu = memory::cpu()?;
        memory::reset_peak()?;
        let began = Instant::now();
        execute(Inputs::Many(count), count, Settings::default()).await?;
        let (wall, cpu) = (began.elapsed(), memory::cpu()? - cpu);
        Ok(Cost {
            cpu: cpu.as_secs_f64() * 1e6 / count as f64,
            rate: count as f64 / wall.as_secs_f64(),
            peak: memory::peak()? / MB,
        })
    })
}

/// A source that takes a while for each input: the run ends when the call on its last input does, so that none was held back.
fn slow_source() -> anyhow::Result<Vec<Figure>> {
    leaping()?.block_on(async {
        memory::reset_peak()?;
        let began = tokio::time::Instant::now();
        let settings = Settings { latency: Latency::fixed(CALL), ..Settings::default() };
        execute(Inputs::Slow(slow()), slow(), settings).await?;
        let took = began.elapsed().as_secs_f64();
        let least = (PAUSE * u32::try_from(slow())? + CALL).as_secs_f64();
        Ok(vec![
            Figure::beside("100,000 from a slow source", "s", took, least, Goal::AtMost(1.01)),
            Figure::alone(
                "100,000 from a slow source: peak memory",
                "MB",
                memory::peak()? / MB,
                Goal::AtMost(64.0),
            ),
        ])
    })
}

async fn execute(inputs: Inputs, count: usize, settings: Settings) -> anyhow::Result<()> {
    let platform = Arc::new(InMemory::new(settings));
    let executor = Arc::new(ParallelExecutor::with_concurrency(AT_ONCE)?);
    let options = RunOptions::new(platform, executor).with_kept_results(KeepResults::Nothing);
    let outcome = inputs.run(options).await?;
    let stage = outcome.report.stages.first().context("the run had no stage")?;
    let succeeded = stage.invocations.succeeded;
    ensure!(succeeded == count as u64, "{succeeded} of {count} invocations succeeded");
    Ok(())
}

/// The inputs of a run.
#[derive(Clone, Copy, Debug)]
enum Inputs {
    /// So many, at once.
    Many(usize),
    /// So many, one after the other.
    Slow(usize),
}

impl Driver for Inputs {
    fn name(&self) -> &str {
        "scale"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let function =
            Deployable::from_source("no-op", "python:3".parse()?, "def main(args): return {}");
        ExecutionPlan::new(vec![match *self {
            Self::Many(count) => Stage::from_fn("map", function, move |index| {
                (index < count).then(|| Ok(Payload::empty()))
            }),
            Self::Slow(count) => Stage::new("map", function, move || {
                let inputs = stream::iter(0..count).then(async |n| {
                    tokio::time::sleep(PAUSE).await;
                    Ok(Input::new(format!("{n:08}"), Payload::empty()))
                });
                inputs.boxed()
            }),
        }])
    }
}
