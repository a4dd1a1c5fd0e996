//! How a run is recorded, and gone on with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use falco_core::RunId;
use falco_executors::{OnStop, RunOptions};
use falco_journal::{JournalConfig, ResumeOptions, RunJournal};

use super::again::{program, resuming, this_command};
use crate::output::say;

/// How a run is recorded, and gone on with.
#[derive(Debug, Args)]
pub struct JournalFlags {
    /// Record the run in a journal, so that another process can go on with it
    /// [default directory: $XDG_STATE_HOME/falco/runs, else ~/.local/state/falco/runs]
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        // The parser of paths refuses an empty one, which stands for the default directory.
        value_parser = OsStringValueParser::new().map(PathBuf::from),
        help_heading = "Journal"
    )]
    pub journal: Option<PathBuf>,

    /// Go on with a run that was killed, suspended or failed; `last` is the newest of this program.
    #[arg(long, value_name = "RUN|last", help_heading = "Journal")]
    pub resume: Option<String>,

    /// Send invocations again that are not idempotent: those that failed, or those of which nobody knows whether they ran.
    #[arg(long, value_enum, value_name = "WHICH", requires = "resume", help_heading = "Journal")]
    pub rerun: Vec<Rerun>,

    /// Keep the results of a stage although its function has changed.
    #[arg(long, value_name = "STAGE", requires = "resume", help_heading = "Journal")]
    pub accept_changed: Vec<String>,

    /// Use the results of another run in stages whose results follow from code and arguments alone.
    #[arg(long, value_name = "RUN", help_heading = "Journal")]
    pub reuse: Vec<String>,

    /// The effect of Ctrl-C, SIGTERM and SIGHUP on a run with a journal.
    #[arg(long, value_enum, default_value_t = WhenStopped::Suspend, help_heading = "Journal")]
    pub on_stop: WhenStopped,

    /// Go on although another process may work on the run, where the file system has no locks.
    #[arg(long, requires = "resume", help_heading = "Journal")]
    pub take_over: bool,
}

/// The invocations that run again although they are not idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rerun {
    /// Those whose function failed.
    Failed,
    /// Those of which nobody knows whether they ran: they may run twice.
    Unknown,
}

/// The effect of a signal on a run with a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WhenStopped {
    /// Submissions and deployments stay; --resume goes on.
    Suspend,
    /// Calls in flight are given up, and functions are removed.
    Remove,
}

impl JournalFlags {
    /// Whether a run is recorded in a journal.
    pub fn is_wanted(&self) -> bool {
        self.journal.is_some() || self.resume.is_some() || !self.reuse.is_empty()
    }

    /// Opens the journal that the flags name, if they name one.
    ///
    /// # Errors
    ///
    /// When there is no such run, another process works on it, or the journal cannot be read or written.
    pub fn open(&self) -> falco_core::Result<Option<Arc<RunJournal>>> {
        if !self.is_wanted() {
            return Ok(None);
        }
        let mut config = directory(self.journal.as_ref())?.with_name(program());
        if let Some(command) = this_command() {
            config = config.with_command(command);
        }
        let config = self.reuse.iter().fold(config, |config, run| config.with_reuse(run.as_str()));
        let Some(run) = self.resumed_in(&config)? else {
            let run = RunId::starting_at(SystemTime::now(), fastrand::u32(..));
            return RunJournal::create(&config, run).map(Some);
        };
        let mut options = ResumeOptions::default()
            .with_rerun_failed(self.rerun.contains(&Rerun::Failed))
            .with_rerun_unknown(self.rerun.contains(&Rerun::Unknown))
            .with_take_over(self.take_over);
        for stage in &self.accept_changed {
            options = options.with_accepted(stage.as_str());
        }
        RunJournal::resume(&config, &run, options).map(Some)
    }

    /// The run that the flags go on with, if they name one.
    ///
    /// # Errors
    ///
    /// When there is no run, or the journals cannot be read.
    pub fn resumed(&self) -> falco_core::Result<Option<RunId>> {
        if self.resume.is_none() {
            return Ok(None);
        }
        self.resumed_in(&directory(self.journal.as_ref())?.with_name(program()))
    }

    fn resumed_in(&self, config: &JournalConfig) -> falco_core::Result<Option<RunId>> {
        match self.resume.as_deref() {
            None => Ok(None),
            Some("last") => RunJournal::latest(config).map(Some),
            Some(run) => Ok(Some(RunId::from(run))),
        }
    }

    /// Has the run recorded.
    pub(crate) fn options(
        &self,
        options: RunOptions,
        journal: Option<&Arc<RunJournal>>,
    ) -> RunOptions {
        let Some(journal) = journal else { return options };
        let on_stop = match self.on_stop {
            WhenStopped::Suspend => OnStop::Suspend,
            WhenStopped::Remove => OnStop::Remove,
        };
        options.with_journal(journal.clone()).with_on_stop(on_stop)
    }

    /// Says how to go on with a run that was suspended.
    pub(crate) fn finish(&self, run: &RunId, is_suspended: bool) {
        if is_suspended {
            let command = resuming(std::env::args(), run.as_str());
            say(format_args!("the run is suspended; go on with it by: {command}"));
        }
    }
}

/// The journals in a directory; in the default place when none or an empty one is named.
///
/// # Errors
///
/// When no place for them is known.
pub fn directory(directory: Option<&PathBuf>) -> falco_core::Result<JournalConfig> {
    match directory {
        Some(directory) if !directory.as_os_str().is_empty() => Ok(JournalConfig::new(directory)),
        _ => JournalConfig::from_env(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        flags: JournalFlags,
        names: Vec<String>,
    }

    #[test]
    fn a_journal_without_a_directory_is_in_the_default_one() {
        let parse = |words: &[&str]| Program::try_parse_from(words).unwrap();
        let default = parse(&["hello", "--journal", "Ada"]);
        assert_eq!((default.flags.journal, default.names), (Some("".into()), vec!["Ada".into()]));
        let named = parse(&["hello", "--journal=/x", "Ada"]);
        assert_eq!(named.flags.journal, Some("/x".into()));
        assert_eq!(parse(&["hello"]).flags.journal, None);
    }
}
