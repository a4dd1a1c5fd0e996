//! More memory and time for the inputs that need it, and for no others.

#![allow(clippy::print_stdout, reason = "a program prints")]

use std::time::Duration;

use falco::layers::{Escalation, Ladder};
use falco::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize)]
struct Work {
    seconds: f64,
}

#[derive(Deserialize)]
struct Done {
    seconds: f64,
}

const SOURCE: &str = r"
import time

def main(args):
    time.sleep(args['seconds'])
    return args
";

#[tokio::main]
async fn main() -> Result<()> {
    let scaling = Scaling::default().with_timeout(Duration::from_secs(1));
    let work: Function<Work, Done> = Function::python("work", SOURCE).with_scaling(scaling);

    // On clouds memory as well: Ladder::memory([512, 1024, 2048])?
    let ladder = Ladder::timeouts([Duration::from_secs(3), Duration::from_secs(30)])?;
    let options = RunOptions::from(LocalPlatform::from_env().await?)
        .with_layers(|platform| Ok(Escalation::wrap(platform, ladder)))?;

    // One of them takes longer than the others may.
    let inputs = [0.0, 0.0, 2.0, 0.0].map(|seconds| Work { seconds });
    for Done { seconds } in Run::on(options).map(&work, inputs).await? {
        println!("took {seconds} seconds");
    }
    Ok(())
}
