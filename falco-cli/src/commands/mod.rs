//! The commands: one file or folder for each.

mod function;
mod map;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use falco_cli::cleanup::{CleanupFlags, clean_up};
use falco_cli::exit_code;

/// Runs functions on this machine and on FaaS platforms.
///
/// For example: seq 1000 | falco map --text -f f.py
#[derive(Debug, Parser)]
#[command(name = "falco", version)]
pub(crate) struct Falco {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Map(Box<map::MapFlags>),
    Cleanup(Box<CleanupFlags>),
    #[cfg(feature = "meter")]
    #[command(flatten)]
    Trace(falco_meter::cli::TraceCommand),
}

impl Falco {
    /// Runs the command, and returns what the shell sees of it.
    pub(crate) async fn run(self) -> ExitCode {
        match self.command {
            Command::Map(flags) => map::map(*flags).await,
            Command::Cleanup(flags) => exit_code(clean_up(&flags).await),
            #[cfg(feature = "meter")]
            Command::Trace(command) => {
                exit_code(command.run().await.map(|()| true).map_err(Into::into))
            }
        }
    }
}
