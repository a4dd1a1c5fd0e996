//! `falco resume`: starts the command of a run again.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use clap::Args;
use falco_cli::flags::journal_directory;
use falco_core::RunId;
use falco_journal::RunJournal;

/// Goes on with a run: starts the command that its journal names again, in the same directory
///
/// Flags after the run are added, and replace those of before. Secrets are not recorded: values of --env and the key of
/// --auth come from the environment. What was read from stdin has to be there again.
///
/// For example:
///
///   falco resume last
///   falco resume last --rerun failed --memory 2048
///   seq 1000 | falco resume 6923c1aa-0000beef
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ResumeFlags {
    /// Where the journals are [default: $XDG_STATE_HOME/falco/runs, else ~/.local/state/falco/runs]
    #[arg(long, value_name = "DIR")]
    journal: Option<PathBuf>,

    /// Print JSON, as that command does with --json.
    #[arg(long)]
    json: bool,

    /// Show neither progress nor report.
    #[arg(long, short)]
    quiet: bool,

    /// The run, or `last` for the newest one.
    run: String,

    /// Flags of that command, such as --rerun failed.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    flags: Vec<String>,
}

/// Starts the command, which takes the place of this process. It returns only when that fails.
pub(crate) fn resume(flags: &ResumeFlags) -> anyhow::Result<bool> {
    let config = journal_directory(flags.journal.as_ref())?;
    let run = match flags.run.as_str() {
        "last" => RunJournal::latest(&config)?,
        run => RunId::from(run),
    };
    let Some(recorded) = RunJournal::show(&config, &run)?.command else {
        bail!(
            "the journal of run {run} does not say which command has started it: start it again with --resume {run}"
        );
    };
    let journals = std::path::absolute(config.directory())?;
    let mut command = Command::new(&recorded.program);
    command
        .args(&recorded.arguments)
        .arg(format!("--journal={}", journals.display()))
        .args(["--resume", run.as_str()])
        .args(flags.json.then_some("--json"))
        .args(flags.quiet.then_some("--quiet"))
        .args(&flags.flags)
        .current_dir(&recorded.directory);
    start(&mut command).with_context(|| {
        let (program, directory) = (recorded.program.display(), recorded.directory.display());
        format!("cannot start {program} in {directory}")
    })
}

#[cfg(unix)]
fn start(command: &mut Command) -> std::io::Result<bool> {
    use std::os::unix::process::CommandExt;

    // Signals and the terminal are its own.
    Err(command.exec())
}

#[cfg(not(unix))]
fn start(command: &mut Command) -> std::io::Result<bool> {
    Ok(command.status()?.success())
}
