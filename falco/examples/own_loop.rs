//! A driver with a loop of its own: each round looks closer around the best point of the round before.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program prints")]

use falco::core::Input;
use falco::prelude::*;
use futures_util::{StreamExt, stream};
use serde_json::json;

const SOURCE: &str = r"
def main(args):
    x = args['x']
    return {'x': x, 'y': (x - 1.25) ** 2 + 3}
";

#[tokio::main]
async fn main() -> Result<()> {
    let options = RunOptions::from(LocalPlatform::from_env().await?);
    let strategy = options.strategy().clone();
    let session = Session::start(options)?;
    let found = search(&session, &strategy).await;
    for leftover in session.remove_all().await {
        eprintln!("left behind: {leftover}");
    }
    let (x, y) = found?;
    println!("lowest at {x:.2}: {y:.2}");
    Ok(())
}

async fn search(
    session: &Session,
    strategy: &dyn falco::core::ExecutionStrategy,
) -> Result<(f64, f64)> {
    // Deployed once, invoked in every round.
    let function = Deployable::python("curve", SOURCE);
    let deployment = session.deploy(&function).await?;
    let (mut best, mut width) = ((0.0, f64::INFINITY), 10.0);
    for round in 0..5 {
        let points = (0..=10).map(|n| best.0 + width * (f64::from(n) / 10.0 - 0.5));
        let payloads = points.map(|x| Payload::json(&json!({ "x": x })));
        let inputs: Vec<_> =
            payloads.enumerate().map(|(n, payload)| Ok(Input::numbered(n, payload?))).collect();
        let stage = StageSpec::new(format!("round-{round}"));
        let mut running = session.execute(strategy, stage, &deployment, stream::iter(inputs));
        while let Some(completion) = running.next().await {
            let Some(result) = completion.result() else { continue };
            let value: serde_json::Value = result.parse()?;
            let number = |name: &str| value[name].as_f64().unwrap_or(f64::NAN);
            if number("y") < best.1 {
                best = (number("x"), number("y"));
            }
        }
        if let Some(error) = running.finish().await.error {
            return Err(error);
        }
        width /= 5.0;
    }
    Ok(best)
}
