//! One function over many inputs, with settings, progress, and failures that show their input and traceback.

#![allow(clippy::print_stdout, reason = "a program prints")]

use std::sync::Arc;
use std::time::Duration;

use falco::prelude::*;
use serde::{Deserialize, Serialize};

const SOURCE: &str = r"
def main(args):
    start, end = args['start'], args['end']
    if start >= end:
        raise ValueError('an empty range')
    return {'primes': sum(all(n % d for d in range(2, int(n ** .5) + 1)) for n in range(start, end))}
";

#[derive(Serialize)]
struct Range {
    start: u64,
    end: u64,
}

#[derive(Deserialize)]
struct Count {
    primes: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let scaling = Scaling::default().with_timeout(Duration::from_secs(30));
    let primes: Function<Range, Count> =
        Function::python("primes", SOURCE).with_scaling(scaling).idempotent();

    let options = RunOptions::from(LocalPlatform::from_env().await?)
        .with_monitor(Arc::new(Progress::stderr()))
        .with_stop(stop_signals());
    let mut ranges: Vec<_> =
        (0..20).map(|n| Range { start: 2 + n * 1000, end: 1002 + n * 1000 }).collect();
    ranges.push(Range { start: 7, end: 7 });

    let mut sum = 0;
    for (Range { start, end }, count) in Run::on(options).map_each(&primes, ranges).await? {
        match count {
            Ok(count) => sum += count.primes,
            Err(error) => println!("no count from {start} to {end}: {error:?}"),
        }
    }
    println!("{sum} primes below 20002");
    Ok(())
}
