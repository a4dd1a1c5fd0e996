//! Greets everybody who is named: the smallest driver.
#![forbid(unsafe_code)]

use std::fmt;
use std::process::ExitCode;

use clap::Parser;
use falco_cli::{Launch, RunFlags, exit_code, finish};
use falco_core::{Deployable, Driver, ExecutionPlan, Payload, Result, Stage};
use serde::{Deserialize, Serialize};

/// Greets everybody who is named.
#[derive(Debug, Parser)]
#[command(name = env!("CARGO_BIN_NAME"), args_override_self = true)]
struct Arguments {
    /// Whom to greet.
    #[arg(default_value = "world")]
    names: Vec<String>,

    #[command(flatten)]
    flags: RunFlags,
}

#[derive(Debug)]
struct Hello {
    function: Deployable,
    names: Vec<String>,
}

impl Driver for Hello {
    fn name(&self) -> &str {
        "hello"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let payloads =
            self.names.iter().map(|name| Payload::json(&serde_json::json!({"name": name})));
        let payloads = payloads.collect::<Result<_>>()?;
        let greet = Stage::from_payloads("greet", self.function.clone(), payloads).idempotent();
        ExecutionPlan::new(vec![greet])
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(greet(Arguments::parse()).await)
}

async fn greet(Arguments { flags, names }: Arguments) -> anyhow::Result<bool> {
    let source = include_str!("../../functions/hello.py");
    let function = flags.function.deployable("hello", "python:3", source)?;
    let launch = Launch::connect(&flags).await?;
    let outcome = launch.run(&Hello { function, names }).await?;
    finish(&flags.output, &outcome.report, &outcome.leftovers, || {
        outcome.results_as("greet").map(Greetings)
    })
}

#[derive(Serialize, Deserialize)]
struct Greeting {
    greeting: String,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Greetings(Vec<Greeting>);

impl fmt::Display for Greetings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|Greeting { greeting }| writeln!(f, "{greeting}"))
    }
}
