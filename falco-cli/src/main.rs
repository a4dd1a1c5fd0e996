//! The command `falco`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use falco_cli::cleanup::{CleanupFlags, clean_up};
use falco_cli::exit_code;

/// Runs functions on this machine and on FaaS platforms.
#[derive(Debug, Parser)]
#[command(name = "falco", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Cleanup(CleanupFlags),
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(match Arguments::parse().command {
        Command::Cleanup(flags) => clean_up(&flags).await,
    })
}
