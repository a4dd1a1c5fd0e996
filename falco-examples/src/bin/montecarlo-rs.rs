//! Estimates pi by throwing darts, with a function in Rust: this program is driver and worker.
#![forbid(unsafe_code)]

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::process::ExitCode;

use clap::Parser;
use falco_cli::flags::count;
use falco_cli::{Launch, RunFlags, exit_code, finish};
use falco_executors::typed::{List, Pipeline};
use falco_function::{Executable, Functions, Registered};
use serde::{Deserialize, Serialize};

/// Estimates pi by throwing darts.
#[derive(Debug, Parser)]
#[command(name = env!("CARGO_BIN_NAME"), args_override_self = true)]
struct Arguments {
    /// How many invocations.
    #[arg(long, value_name = "N", default_value = "100", value_parser = count::<NonZeroUsize>, allow_negative_numbers = true)]
    invocations: NonZeroUsize,

    /// Darts of each invocation.
    #[arg(long, value_name = "N", default_value = "100000", value_parser = count::<NonZeroU32>, allow_negative_numbers = true)]
    samples: NonZeroU32,

    /// Where the random numbers begin; the same seed gives the same estimate.
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    seed: u32,

    #[command(flatten)]
    flags: RunFlags,
}

#[derive(Serialize, Deserialize)]
struct Throw {
    seed: u64,
    samples: u32,
}

#[derive(Serialize, Deserialize)]
struct Darts {
    inside: u64,
    samples: u64,
}

/// Runs on the platform: throws darts at a square and counts those inside the circle.
fn throw(Throw { seed, samples }: Throw) -> Result<Darts, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let inside = (0..samples).filter(|_| random.f64().hypot(random.f64()) < 1.0).count();
    Ok(Darts { inside: inside as u64, samples: samples.into() })
}

/// Runs on the platform: the estimate from all darts.
fn add_up(List { results }: List<Darts>) -> Result<Estimate, String> {
    let inside: u64 = results.iter().map(|darts| darts.inside).sum();
    let samples = results.iter().map(|darts| darts.samples).sum();
    Ok(Estimate { pi: 4.0 * inside as f64 / samples as f64, samples })
}

#[derive(Serialize, Deserialize)]
struct Estimate {
    pi: f64,
    samples: u64,
}

fn main() -> ExitCode {
    let mut functions = Functions::new();
    let throw = functions.add("montecarlo-throw", throw);
    let sum = functions.add("montecarlo-sum", add_up);
    functions.serve_if_worker();
    drive(&throw, &sum)
}

#[tokio::main]
async fn drive(
    throw: &Registered<Throw, Darts>,
    sum: &Registered<List<Darts>, Estimate>,
) -> ExitCode {
    exit_code(estimate(Arguments::parse(), throw, sum).await)
}

async fn estimate(
    arguments: Arguments,
    throw: &Registered<Throw, Darts>,
    sum: &Registered<List<Darts>, Estimate>,
) -> anyhow::Result<bool> {
    let Arguments { flags, invocations, samples, seed } = arguments;
    let program = Executable::current()?;
    let set_up = |function| flags.function.set_up(function);
    let throw = program.function(throw)?.map_deployable(set_up).idempotent();
    let sum = program.function(sum)?.map_deployable(set_up).idempotent();

    let launch = Launch::connect(&flags).await?;
    let mut pipeline = Pipeline::new("montecarlo-rs");
    let darts = pipeline.inputs_by("throw", &throw, invocations.get(), move |index| {
        let seed = u64::from(seed).wrapping_add((index as u64) << 32);
        Ok(Throw { seed, samples: samples.get() })
    });
    let estimate = pipeline.fan_in("sum", &darts, &sum);
    let outcome = launch.run(&pipeline).await?;
    finish(&flags.output, &outcome.report, &outcome.leftovers, || {
        let mut estimates = outcome.results_of(&estimate)?;
        estimates.pop().ok_or_else(|| falco_core::Error::invalid_input("the sum has no result"))
    })
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:.6}", self.pi)
    }
}
