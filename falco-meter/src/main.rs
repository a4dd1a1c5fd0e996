//! Looks at traces of Falco's runs.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use falco_meter::cli::TraceCommand;

/// Looks at traces of Falco's runs.
#[derive(Debug, Parser)]
#[command(name = "falco-meter", version)]
struct Arguments {
    #[command(subcommand)]
    command: TraceCommand,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Arguments::parse().command.run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write;
            // A closed stderr leaves the exit code.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
