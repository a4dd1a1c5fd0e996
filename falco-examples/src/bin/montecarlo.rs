//! Estimates pi by throwing darts: many small invocations, added up as they complete.
#![forbid(unsafe_code)]

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::Parser;
use falco_cli::flags::{DataFlags, Stores, count};
use falco_cli::{Launch, RunFlags, exit_code, finish};
use falco_core::{Completion, Deployable, Driver, ExecutionPlan, Payload, Result, Stage, Verdict};
use falco_data::{Splits, SplitsOf};
use falco_examples::objects::OverObjects;
use falco_executors::KeepResults;
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
    data: DataFlags,

    #[command(flatten)]
    flags: RunFlags,
}

#[derive(Debug)]
struct MonteCarlo {
    function: Deployable,
    invocations: NonZeroUsize,
    samples: NonZeroU32,
    seed: u32,
    darts: Mutex<Darts>,
}

/// The answer of one invocation, and the sum of all.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Darts {
    inside: u64,
    samples: u64,
}

impl Driver for MonteCarlo {
    fn name(&self) -> &str {
        "montecarlo"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let Self { invocations, samples, seed, .. } = *self;
        let count = invocations.get();
        let throw = Stage::from_fn_sized("throw", self.function.clone(), count, move |index| {
            // An odd factor gives each invocation a seed of its own.
            let seed = seed.wrapping_add((index as u32).wrapping_mul(0x9e37_79b9));
            Payload::json(&serde_json::json!({"seed": seed, "samples": samples}))
        });
        ExecutionPlan::new(vec![throw.idempotent()])
    }

    fn on_completion(&self, completion: &Completion) -> Verdict {
        let Some(result) = completion.result() else { return Verdict::Continue };
        let Ok(one) = result.parse::<Darts>() else { return Verdict::Stop };
        let mut all = self.darts.lock().unwrap_or_else(PoisonError::into_inner);
        all.inside += one.inside;
        all.samples += one.samples;
        Verdict::Continue
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(estimate(Arguments::parse()).await)
}

async fn estimate(arguments: Arguments) -> anyhow::Result<bool> {
    let Arguments { flags, invocations, samples, seed, data } = arguments;
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/seeds.txt");
    if let Some(stores) = data.stores(&seeds)? {
        return estimate_by_objects(&flags, stores).await;
    }
    let source = include_str!("../../functions/montecarlo.js");
    let function = flags.function.deployable("montecarlo", "nodejs", source)?;
    let darts = Mutex::default();
    let driver = MonteCarlo { function, invocations, samples, seed, darts };
    let launch = Launch::connect(&flags).await?.with_kept_results(KeepResults::Nothing);
    let outcome = launch.run(&driver).await?;
    let darts = *driver.darts.lock().unwrap_or_else(PoisonError::into_inner);
    finish(&flags.output, &outcome.report, &outcome.leftovers, || Ok(Estimate::of(darts)))
}

#[derive(Serialize)]
struct Estimate {
    pi: f64,
    samples: u64,
}

impl Estimate {
    fn of(Darts { inside, samples }: Darts) -> Self {
        Self { pi: 4.0 * inside as f64 / samples as f64, samples }
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:.6}", self.pi)
    }
}

/// Darts for each line of the input, a seed and a number; what each line came to is written to the output.
#[derive(Debug)]
struct OfObjects {
    splits: SplitsOf,
    function: Deployable,
}

impl Driver for OfObjects {
    fn name(&self) -> &str {
        "montecarlo"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let splits = self.splits.clone();
        let throw = Stage::new("throw", self.function.clone(), move || splits.inputs());
        ExecutionPlan::new(vec![throw.idempotent()])
    }
}

async fn estimate_by_objects(flags: &RunFlags, stores: Stores) -> anyhow::Result<bool> {
    let splits = Splits::lines(&stores.input, "").count(16);
    let splits = splits.with_sink(stores.output.sink("darts.jsonl"));
    let source = include_str!("../../functions/montecarlo_objects.js");
    let function = flags.function.deployable("montecarlo", "nodejs", source)?;
    let objects = OverObjects::connect(flags, stores).await?;
    let (outcome, _) = objects.run(&OfObjects { splits, function }, "throw").await?;
    finish(&flags.output, &outcome.report, &outcome.leftovers, || {
        let all: Vec<Darts> = outcome.results_as("throw")?;
        let sum = |of: fn(&Darts) -> u64| all.iter().map(of).sum();
        Ok(Estimate::of(Darts { inside: sum(|it| it.inside), samples: sum(|it| it.samples) }))
    })
}
