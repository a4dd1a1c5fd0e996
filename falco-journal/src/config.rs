//! Where journals are kept, and how.

use std::path::{Path, PathBuf};

use falco_core::{Error, Result, RunId, StageName};
use serde::{Deserialize, Serialize};

/// The longest segment: positions in it have 32 bits.
const MOST_SEGMENT_BYTES: u64 = 1 << 30;

/// Where journals are kept, and how durable they are.
///
/// # Examples
///
/// ```
/// use falco_journal::{Durability, JournalConfig};
///
/// let config = JournalConfig::new("/var/lib/falco/runs")
///     .with_name("wordcount")
///     .with_durability(Durability::Process);
/// assert!(config.directory().ends_with("runs"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    directory: PathBuf,
    pub(crate) name: String,
    pub(crate) durability: Durability,
    pub(crate) segment_bytes: u64,
    pub(crate) most_bytes: u64,
    pub(crate) reuse: Vec<RunId>,
    pub(crate) command: Option<RunCommand>,
    pub(crate) without: Option<Part>,
}

/// The command that started a process of a run.
///
/// # Examples
///
/// ```
/// use falco_journal::{JournalConfig, RunCommand};
///
/// let command = RunCommand::new("/usr/bin/wordcount", "/home/ada").with_argument("texts");
/// let config = JournalConfig::new("/var/lib/falco/runs").with_command(command);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, without those that say which run it is, and without secrets.
    pub arguments: Vec<String>,
    /// The directory in which it was started.
    pub directory: PathBuf,
}

impl RunCommand {
    /// A program that was started in `directory`.
    pub fn new(program: impl Into<PathBuf>, directory: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), arguments: Vec::new(), directory: directory.into() }
    }

    /// Adds an argument.
    #[must_use]
    pub fn with_argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }
}

/// A part of the journal that a test leaves out, to see that its laws find that.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// Intents are not written.
    Intents,
    /// Calls do not wait until their intents are on disk.
    Waits,
    /// The provider's copy of a result goes before the result is on disk.
    Order,
}

/// The events that a journal survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// The loss of power. The call of an invocation that is not idempotent waits until its intent is on disk, and the
    /// provider keeps its copy of a result until that is on disk.
    #[default]
    Machine,
    /// The end of the process, also by `kill -9`. Nothing waits for the disk.
    Process,
}

impl JournalConfig {
    /// Journals in `directory`, one directory for each run.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            name: String::new(),
            durability: Durability::default(),
            segment_bytes: 64 << 20,
            most_bytes: u64::MAX,
            reuse: Vec::new(),
            command: None,
            without: None,
        }
    }

    /// Journals in the place for the state of programs: `$XDG_STATE_HOME/falco/runs`, else
    /// `~/.local/state/falco/runs`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when neither variable names an absolute path.
    pub fn from_env() -> Result<Self> {
        let variable = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
        };
        let state = variable("XDG_STATE_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".local").join("state")));
        let state = state.ok_or_else(|| {
            Error::invalid_input("there is no place for journals: HOME is not set")
                .with_hint("set HOME or XDG_STATE_HOME, or name a directory by JournalConfig::new")
        })?;
        Ok(Self::new(state.join("falco").join("runs")))
    }

    /// Names the pipeline, for lists of runs.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets what the journal survives.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Begins a new segment after so many bytes, 64 MiB by default and 1 GiB at most.
    #[must_use]
    pub fn with_segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes.clamp(1, MOST_SEGMENT_BYTES);
        self
    }

    /// Limits how many bytes of log one process may write; at the limit the run is suspended, as on a full disk.
    #[must_use]
    pub fn with_most_bytes(mut self, bytes: u64) -> Self {
        self.most_bytes = bytes;
        self
    }

    /// Uses the results of another run in stages that are [pure](falco_core::Stage::pure), for the same function and
    /// the same argument. It may be called more than once.
    #[must_use]
    pub fn with_reuse(mut self, run: impl Into<RunId>) -> Self {
        self.reuse.push(run.into());
        self
    }

    /// Records the command by which the process was started, so that another one can be started like it. The journal
    /// stores it unchanged: leave secrets out.
    #[must_use]
    pub fn with_command(mut self, command: RunCommand) -> Self {
        self.command = Some(command);
        self
    }

    /// Leaves a part of the journal out, for tests that have to find that something is wrong then.
    #[cfg(feature = "kill-points")]
    #[doc(hidden)]
    #[must_use]
    pub fn with_part_left_out(mut self, part: Part) -> Self {
        self.without = Some(part);
        self
    }

    /// The directory that holds the runs.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory of a run.
    pub(crate) fn directory_of(&self, run: &RunId) -> Result<PathBuf> {
        let text = run.as_str();
        let is_plain =
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if text.is_empty() || !is_plain {
            return Err(Error::invalid_input(format!("invalid run id {text:?}"))
                .with_hint("use letters, digits, '-' and '_'"));
        }
        Ok(self.directory.join(text))
    }
}

/// How a run is resumed.
///
/// By itself, a resume sends again what certainly never ran, and what is idempotent and has no success.
///
/// # Examples
///
/// ```
/// use falco_journal::ResumeOptions;
///
/// let options = ResumeOptions::default().with_rerun_failed(true).with_accepted("map");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResumeOptions {
    /// Whether failed invocations that are not idempotent run again.
    pub rerun_failed: bool,
    /// Whether invocations whose outcome is unknown are sent again. They may run twice.
    pub rerun_unknown: bool,
    /// Stages that keep their results although they have changed.
    pub accepted: Vec<StageName>,
    /// Whether to go on although another process may still work on the run, where the file system cannot say so.
    pub take_over: bool,
}

impl ResumeOptions {
    /// Says whether failed invocations that are not idempotent run again.
    #[must_use]
    pub fn with_rerun_failed(mut self, rerun: bool) -> Self {
        self.rerun_failed = rerun;
        self
    }

    /// Says whether invocations whose outcome is unknown are sent again. They may run twice.
    #[must_use]
    pub fn with_rerun_unknown(mut self, rerun: bool) -> Self {
        self.rerun_unknown = rerun;
        self
    }

    /// Keeps the results of a stage although it has changed. It may be called more than once.
    #[must_use]
    pub fn with_accepted(mut self, stage: impl Into<StageName>) -> Self {
        self.accepted.push(stage.into());
        self
    }

    /// Goes on although another process may still work on the run, where the file system cannot say so.
    #[must_use]
    pub fn with_take_over(mut self, take_over: bool) -> Self {
        self.take_over = take_over;
        self
    }
}
