//! Lists and removes what runs of Falco have left on a platform: `falco cleanup` by itself.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use falco_cli::cleanup::{CleanupFlags, clean_up};
use falco_cli::exit_code;

#[derive(Debug, Parser)]
#[command(name = env!("CARGO_BIN_NAME"), args_override_self = true)]
struct Arguments {
    #[command(flatten)]
    cleanup: CleanupFlags,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(clean_up(&Arguments::parse().cleanup).await)
}
