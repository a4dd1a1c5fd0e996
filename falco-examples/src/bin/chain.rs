//! Two stages that run side by side and one that joins them, by a driver with loops of its own.
//!
//! Most drivers hand a plan to `DriverExt::run`. This one does by hand what that does, to show the steps beneath.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use falco_cli::{Launch, RunFlags, exit_code, finish};
use falco_core::{Deployable, Deployment, Input, InvocationId, Payload, Result};
use falco_executors::report::StageReport;
use falco_executors::session::{Session, StageSpec};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Adds the square and the cube of each number from 1 to N.
#[derive(Debug, Parser)]
#[command(name = env!("CARGO_BIN_NAME"), args_override_self = true)]
struct Arguments {
    /// How many numbers.
    #[arg(default_value_t = 5, allow_negative_numbers = true)]
    numbers: u32,

    #[command(flatten)]
    flags: RunFlags,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(add_powers(Arguments::parse()).await)
}

async fn add_powers(Arguments { flags, numbers }: Arguments) -> anyhow::Result<bool> {
    let launch = Launch::connect(&flags).await?;
    let Functions { square, cube, join } = Functions::new(&flags)?;
    let functions = Functions {
        square: launch.with_packages(square).await?,
        cube: launch.with_packages(cube).await?,
        join: launch.with_packages(join).await?,
    };
    let mut chain =
        Chain { session: Session::start(launch.options())?, launch: &launch, reports: Vec::new() };
    let outcome = chain.run(&functions, numbers).await;
    // Whatever came of it, nothing stays behind, unless it is to be kept or another process goes on with the run.
    let leftovers = chain.session.end(&mut chain.reports).await;
    launch.conclude(&chain.session).await?;
    let sums = outcome?;
    let report = chain.session.report(chain.reports);
    finish(&flags.output, &report, &leftovers, || {
        sums.values().map(Payload::parse).collect::<Result<_>>().map(Sums)
    })
}

/// The functions of the stages.
struct Functions {
    square: Deployable,
    cube: Deployable,
    join: Deployable,
}

impl Functions {
    fn new(flags: &RunFlags) -> Result<Self> {
        Ok(Self {
            square: flags.function.deployable(
                "chain-square",
                "python:3",
                include_str!("../../functions/chain_square.py"),
            )?,
            cube: flags.function.deployable(
                "chain-cube",
                "python:3",
                include_str!("../../functions/chain_cube.py"),
            )?,
            join: flags.function.deployable(
                "chain-join",
                "python:3",
                include_str!("../../functions/chain_join.py"),
            )?,
        })
    }
}

/// The results of a stage, by invocation.
type Results = BTreeMap<InvocationId, Payload>;

/// The driver: its loops.
struct Chain<'a> {
    session: Session,
    launch: &'a Launch<'a>,
    reports: Vec<StageReport>,
}

impl Chain<'_> {
    async fn run(&mut self, functions: &Functions, numbers: u32) -> anyhow::Result<Results> {
        let (square, cube, join) = tokio::try_join!(
            self.session.deploy(&functions.square),
            self.session.deploy(&functions.cube),
            self.session.deploy(&functions.join),
        )?;
        let arguments = (1..=numbers).map(|n| Payload::json(&json!({"n": n})));
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        let inputs: Vec<Input> =
            arguments.into_iter().enumerate().map(|(at, n)| Input::numbered(at, n)).collect();

        let ((squares, left), (cubes, right)) = tokio::join!(
            self.execute("square", &square, inputs.clone()),
            self.execute("cube", &cube, inputs),
        );
        let failed = left.error.is_some() || right.error.is_some();
        self.reports.extend([left, right]);
        if failed {
            return Ok(Results::new());
        }
        let inputs = pair(&squares, &cubes)?;
        let (sums, report) = self.execute("join", &join, inputs).await;
        self.reports.push(report);
        Ok(sums)
    }

    async fn execute(
        &self,
        name: &str,
        deployment: &Arc<Deployment>,
        inputs: Vec<Input>,
    ) -> (Results, StageReport) {
        let stage = StageSpec::new(name).idempotent();
        let inputs = stream::iter(inputs.into_iter().map(Ok));
        let strategy = self.launch.strategy();
        let mut running = self.session.execute(strategy, stage, deployment, inputs);
        let mut results = Results::new();
        while let Some(completion) = running.next().await {
            if let Some(result) = completion.result() {
                results.insert(completion.invocation.clone(), result.clone());
            }
        }
        (results, running.finish().await)
    }
}

/// The arguments of the join: each number with its square and its cube, which have the same id.
fn pair(squares: &Results, cubes: &Results) -> Result<Vec<Input>> {
    let mut inputs = Vec::with_capacity(squares.len());
    for (id, square) in squares {
        let Some(cube) = cubes.get(id) else { continue };
        let mut argument: serde_json::Map<_, _> = square.parse()?;
        argument.extend(cube.parse::<serde_json::Map<_, _>>()?);
        inputs.push(Input::new(id.clone(), Payload::json(&argument)?));
    }
    Ok(inputs)
}

#[derive(Deserialize, Serialize)]
struct Sum {
    n: u32,
    sum: u64,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Sums(Vec<Sum>);

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|Sum { n, sum }| writeln!(f, "{n} {sum}"))
    }
}
