//! The commands: one file or folder for each.

mod advise;
mod call;
mod deployed;
mod doctor;
mod function;
mod inputs;
mod lines;
mod map;
mod objects;
mod pipeline;
mod resume;
mod shell;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use falco_cli::cleanup::{CleanupFlags, clean_up};
use falco_cli::exit_code;
use falco_cli::runs::{RunsFlags, runs};

/// The exit code of a program whose reader has gone away, as shells have it: 128 and the number of SIGPIPE.
const READER_LEFT: u8 = 141;

/// Runs functions on this machine and on FaaS platforms.
///
/// For example: seq 1000 | falco map --text -f f.py
#[derive(Debug, Parser)]
#[command(name = "falco", version, args_override_self = true)]
pub(crate) struct Falco {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Map(Box<map::MapFlags>),
    Run(Box<pipeline::PipelineFlags>),
    Invoke(Box<call::InvokeFlags>),
    Call(Box<call::CallFlags>),
    Deploy(Box<deployed::DeployFlags>),
    List(Box<deployed::ListFlags>),
    Remove(Box<deployed::RemoveFlags>),
    Logs(Box<deployed::LogsFlags>),
    Doctor(Box<doctor::DoctorFlags>),
    Cleanup(Box<CleanupFlags>),
    Runs(RunsFlags),
    Advise(advise::AdviseFlags),
    Resume(resume::ResumeFlags),
    #[cfg(feature = "meter")]
    #[command(flatten)]
    Trace(falco_meter::cli::TraceCommand),
    Completions(shell::CompletionsFlags),
    Man(shell::ManFlags),
}

impl Falco {
    /// Runs the command, and returns what the shell sees of it.
    pub(crate) async fn run(self) -> ExitCode {
        exit_code(match self.command {
            Command::Map(flags) => return map::map(*flags).await,
            Command::Run(flags) => return pipeline::run(*flags).await,
            Command::Invoke(flags) => call::invoke(*flags).await,
            Command::Call(flags) => call::call(*flags).await,
            Command::Deploy(flags) => deployed::deploy(*flags).await,
            Command::List(flags) => deployed::list(*flags).await,
            Command::Remove(flags) => deployed::remove(*flags).await,
            Command::Logs(flags) => deployed::logs(*flags).await,
            Command::Doctor(flags) => doctor::doctor(*flags).await,
            Command::Cleanup(flags) => clean_up(&flags).await,
            Command::Runs(flags) => runs(&flags),
            Command::Advise(flags) => advise::advise(&flags),
            Command::Resume(flags) => resume::resume(&flags),
            #[cfg(feature = "meter")]
            Command::Trace(command) => command.run().await.map(|()| true).map_err(Into::into),
            Command::Completions(flags) => shell::completions(&flags),
            Command::Man(flags) => shell::man(&flags),
        })
    }
}
