//! The command `falco`.
#![forbid(unsafe_code)]

mod commands;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    commands::Falco::parse().run().await
}
