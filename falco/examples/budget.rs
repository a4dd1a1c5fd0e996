//! A run that stops before it costs more than its budget, and says what the rest would take.

#![allow(clippy::print_stdout, reason = "a program prints")]

use std::time::Duration;

use falco::core::Prices;
use falco::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize)]
struct Number {
    n: u64,
}

#[derive(Deserialize)]
struct Square {
    square: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let source = "def main(args): return {'square': args['n'] ** 2}";
    let scaling = Scaling::default().with_memory_mib(128).with_timeout(Duration::from_secs(10));
    let square: Function<Number, Square> = Function::python("square", source).with_scaling(scaling);

    // This machine charges nothing: these are prices as a provider's. AWS and Google know theirs.
    let prices = Prices::default().with_request(0.01).with_gib_second(0.001);
    // Two inputs are run first, and give an estimate.
    let budget = Budget::new(UsDollars(0.05))?
        .with_prices(prices)?
        .with_sample(2, |line| println!("{line}"))?;
    let options = RunOptions::from(LocalPlatform::from_env().await?).with_budget(budget.clone());

    let inputs = (0..10).map(|n| Number { n });
    for (Number { n }, result) in Run::on(options).map_each(&square, inputs).await? {
        match result {
            Ok(Square { square }) => println!("{n}: {square}"),
            Err(error) => println!("{n}: {}", error.message()),
        }
    }
    println!("{}", budget.report());
    Ok(())
}
