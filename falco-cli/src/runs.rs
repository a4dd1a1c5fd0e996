//! Lists, shows, verifies, repairs and prunes the journals of runs.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use falco_core::RunId;
use falco_journal::{JournalConfig, Keeping, RunDetails, RunJournal, RunSummary};
use serde::Serialize;
use serde_json::json;

use crate::flags::journal_directory;
use crate::print;

/// Lists the runs that have journals, and looks after them.
///
/// For example: falco runs show last --why
#[derive(Debug, Args)]
pub struct RunsFlags {
    #[command(subcommand)]
    command: Option<RunsCommand>,

    /// Where the journals are [default: $XDG_STATE_HOME/falco/runs, else ~/.local/state/falco/runs]
    #[arg(long, value_name = "DIR", global = true)]
    journal: Option<PathBuf>,

    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,

    /// Print nothing beside results and errors.
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum RunsCommand {
    /// Lists all runs, the newest first; without a command the same.
    ///
    /// For example: falco runs list --json
    List,
    /// Shows one run: its stages, deployments, and what a resume would do.
    ///
    /// For example: falco runs show last --why
    Show {
        /// The run, or `last`.
        run: String,
        /// Name each invocation without a success, and those that were sent again, with the reasons.
        #[arg(long)]
        why: bool,
    },
    /// Reads the whole journal of a run, and names what is damaged.
    ///
    /// For example: falco runs verify last
    Verify {
        /// The run, or `last`.
        run: String,
    },
    /// Gives up damaged lines. What they may have said of invocations that are not idempotent is unknown then.
    ///
    /// For example: falco runs repair last
    Repair {
        /// The run, or `last`.
        run: String,
    },
    /// Removes journals that need not stay. Those of runs that go on stay.
    ///
    /// For example: falco runs prune --finished 1d
    Prune {
        /// How long those of runs stay that succeeded, such as 7d.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "7d")]
        finished: Duration,
        /// How long all others stay.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "30d")]
        others: Duration,
        /// How many MiB all of them have together, at most.
        #[arg(long, value_name = "MIB", default_value_t = 2048)]
        size: u64,
    },
}

/// Does what the flags say, and returns whether all is well.
///
/// # Errors
///
/// When there is no such run, its journal cannot be read or written, or stdout cannot be written to.
pub fn runs(flags: &RunsFlags) -> anyhow::Result<bool> {
    let config = journal_directory(flags.journal.as_ref())?;
    let named = |run: &str| match run {
        "last" => RunJournal::latest(&config),
        run => Ok(RunId::from(run)),
    };
    match flags.command.as_ref().unwrap_or(&RunsCommand::List) {
        RunsCommand::List => list(flags, &config).map(|()| true),
        RunsCommand::Show { run, why } => {
            let details = RunJournal::show(&config, &named(run)?)?;
            show(flags, &details, || shown(&details, *why)).map(|()| true)
        }
        RunsCommand::Verify { run } => {
            let damage = RunJournal::verify(&config, &named(run)?)?;
            show(flags, &json!({"damage": damage}), || match damage.as_slice() {
                [] if flags.quiet => String::new(),
                [] => "the journal is whole\n".to_owned(),
                damage => lines(damage),
            })?;
            Ok(damage.is_empty())
        }
        RunsCommand::Repair { run } => {
            let given_up = RunJournal::repair(&config, &named(run)?)?.given_up;
            show(flags, &json!({"given_up": given_up}), || match given_up.as_slice() {
                [] if flags.quiet => String::new(),
                [] => "nothing to repair: the journal is whole\n".to_owned(),
                given_up => format!("given up:\n{}", lines(given_up)),
            })?;
            Ok(true)
        }
        RunsCommand::Prune { finished, others, size } => {
            let keeping = Keeping::default()
                .with_finished(*finished)
                .with_others(*others)
                .with_bytes(size.saturating_mul(1 << 20));
            let pruned = RunJournal::prune(&config, &keeping)?.runs;
            show(flags, &json!({"removed": pruned}), || {
                let pruned = if flags.quiet { &[][..] } else { &pruned };
                pruned.iter().map(|run| format!("removed {}\n", line(run))).collect()
            })?;
            Ok(true)
        }
    }
}

fn list(flags: &RunsFlags, config: &JournalConfig) -> anyhow::Result<()> {
    let runs = RunJournal::list(config)?;
    show(flags, &runs, || {
        let mut text = match flags.quiet {
            true => String::new(),
            false => format!("{}\n", columns(HEADER)),
        };
        for run in &runs {
            let _ = writeln!(text, "{}", line(run));
        }
        text
    })
}

/// Prints JSON where that is wanted, else text.
fn show(
    flags: &RunsFlags,
    value: &impl Serialize,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    match flags.json {
        true => print(format_args!("{}\n", serde_json::to_string(value)?)),
        false => print(text()),
    }
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

const HEADER: [&str; 7] =
    ["RUN", "STATE", "PIPELINE", "WHEN", "DONE/FAILED/UNKNOWN", "COST", "SIZE"];

fn columns(cells: [&str; 7]) -> String {
    let [run, state, name, when, counts, cost, size] = cells;
    format!("{run:<18} {state:<12} {name:<16} {when:<20} {counts:<20} {cost:<10} {size}")
}

fn line(run: &RunSummary) -> String {
    let counts = &run.invocations;
    let counts = format!("{}/{}/{}", counts.done, counts.failed, counts.unknown);
    let cost = run.cost.map_or_else(|| "-".to_owned(), |cost| format!("${:.4}", cost.0));
    let when = humantime::format_rfc3339_seconds(run.begun_at()).to_string();
    let size = format!("{:.1} MiB", run.bytes as f64 / f64::from(1 << 20));
    let text =
        columns([run.run.as_str(), run.state.as_str(), &run.name, &when, &counts, &cost, &size]);
    match &run.process {
        Some(process) => format!("{text}  (process {process})"),
        None => text,
    }
}

fn shown(details: &RunDetails, why: bool) -> String {
    let mut text = format!("{}\n{}\n", columns(HEADER), line(&details.summary));
    if let Some(error) = &details.summary.error {
        let _ = writeln!(text, "error: {error}");
    }
    if let Some(command) = &details.command {
        let words = command.arguments.join(" ");
        let _ = writeln!(text, "command: {} {words}", command.program.display());
    }
    for stage in &details.stages {
        let counts = &stage.invocations;
        let _ = writeln!(
            text,
            "stage {}: {} done, {} failed, {} unknown, {} submitted{}",
            stage.stage,
            counts.done,
            counts.failed,
            counts.unknown,
            counts.submitted,
            if stage.idempotent { "" } else { "; not idempotent" },
        );
    }
    for deployment in &details.deployments {
        let _ = writeln!(text, "deployed: {deployment}");
    }
    if why {
        for item in &details.unsettled {
            let _ = writeln!(text, "{}/{}: {}", item.stage, item.invocation, item.why);
        }
        for item in &details.sent_again {
            let _ = writeln!(text, "{}/{}: sent again: {}", item.stage, item.invocation, item.why);
        }
    } else if !details.unsettled.is_empty() {
        let _ = writeln!(text, "{} without a success; --why names them", details.unsettled.len());
    }
    text
}
