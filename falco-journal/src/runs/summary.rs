//! One line for each run.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use falco_core::{Error, ErrorKind, Result, RunId, UsDollars};
use serde::Serialize;

use crate::config::JournalConfig;
use crate::index::Entry;
use crate::journal::{RunJournal, existing};
use crate::lock;
use crate::record::Verdict;
use crate::replay::{Keep, Replay, replay};

/// A run, in one line.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RunSummary {
    /// The run.
    pub run: RunId,
    /// The name of its pipeline, if the journal was given one.
    pub name: String,
    /// The platform, once there is a plan.
    pub platform: Option<String>,
    /// Its state, or how it ended.
    pub state: RunState,
    /// The process that works on it, such as `1234 on workstation`.
    pub process: Option<String>,
    /// Why it did not succeed, or why its journal cannot be read.
    pub error: Option<String>,
    /// When its first process began, in milliseconds since the Unix epoch.
    pub begun_at_ms: u64,
    /// How many processes have worked on it.
    pub processes: u32,
    /// Its invocations.
    pub invocations: Counted,
    /// The cost of all processes, as far as the provider has reported it.
    pub cost: Option<UsDollars>,
    /// The size of the journal in bytes, long results included.
    pub bytes: u64,
}

/// Invocations by what is recorded of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counted {
    /// They have results.
    pub done: u64,
    /// The function or the platform failed.
    pub failed: u64,
    /// Nobody knows whether they ran.
    pub unknown: u64,
    /// They were submitted, and have no result yet.
    pub submitted: u64,
}

/// The state of a run, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunState {
    /// A process works on it.
    Running,
    /// It was suspended: another process can go on with it.
    Suspended,
    /// Its process ended before the run did: another one can go on with it.
    Interrupted,
    /// Every stage succeeded.
    Succeeded,
    /// It came to its end and did not succeed.
    Failed,
    /// A clean-up has removed its functions.
    Abandoned,
    /// Its journal cannot be read.
    Damaged,
}

impl RunState {
    /// The state as one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Interrupted => "interrupted",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
            Self::Damaged => "damaged",
        }
    }
}

impl Counted {
    pub(super) fn add(&mut self, last: Entry) {
        match last {
            Entry::Completed(Verdict::Succeeded) => self.done += 1,
            Entry::Completed(Verdict::FunctionFailed | Verdict::PlatformFailed) => self.failed += 1,
            Entry::Completed(Verdict::Unknown) | Entry::Intent => self.unknown += 1,
            Entry::Submitted => self.submitted += 1,
            // It never ran, and is sent when the run goes on.
            Entry::NotRun => {}
        }
    }
}

impl RunSummary {
    pub(super) fn of(run: RunId, directory: &Path) -> (Self, Result<Replay>) {
        let replay = replay(directory, Keep::Everything);
        let (owner, is_held) = (lock::read_owner(directory), lock::is_held(directory));
        let mut summary = Self {
            run,
            name: String::new(),
            platform: None,
            state: RunState::Damaged,
            process: owner
                .filter(|_| is_held)
                .map(|owner| format!("{} on {}", owner.pid, owner.host)),
            error: None,
            begun_at_ms: 0,
            processes: 0,
            invocations: Counted::default(),
            cost: None,
            bytes: bytes_of(directory),
        };
        let replay = match replay {
            Ok(replay) => replay,
            Err(error) => {
                summary.error = Some(error.to_string());
                return (summary, Err(error));
            }
        };
        summary.name.clone_from(&replay.name);
        summary.platform = replay.plan.as_ref().map(|plan| plan.platform.clone());
        summary.begun_at_ms = replay.begun_at / 1000;
        summary.processes = replay.processes;
        summary.cost = replay.cost.map(UsDollars);
        for group in replay.index.groups() {
            if let Some((_, last)) = group.last() {
                summary.invocations.add(last);
            }
        }
        let finished = replay.finished.as_ref();
        summary.error = finished.and_then(|finished| finished.e.clone());
        summary.state = match finished {
            _ if is_held => RunState::Running,
            _ if replay.abandoned.is_some() => RunState::Abandoned,
            None => RunState::Interrupted,
            Some(finished) if finished.suspended => RunState::Suspended,
            Some(finished) if finished.e.is_some() => RunState::Failed,
            Some(_) => RunState::Succeeded,
        };
        (summary, Ok(replay))
    }

    /// When its first process began.
    pub fn begun_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.begun_at_ms)
    }
}

impl RunJournal {
    /// The runs that have journals, the newest first. It takes no lock: runs may go on meanwhile.
    ///
    /// # Errors
    ///
    /// `Other` when the directory cannot be read. A journal that cannot be read is listed as damaged.
    pub fn list(config: &JournalConfig) -> Result<Vec<RunSummary>> {
        let mut runs: Vec<RunSummary> = directories(config)?
            .into_iter()
            .map(|run| Ok(RunSummary::of(run.clone(), &config.directory_of(&run)?).0))
            .collect::<Result<_>>()?;
        runs.sort_by(|left, right| {
            (right.begun_at_ms, &right.run).cmp(&(left.begun_at_ms, &left.run))
        });
        Ok(runs)
    }

    /// The newest run, of the pipeline that the configuration names, if it names one.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is none.
    pub fn latest(config: &JournalConfig) -> Result<RunId> {
        let mut newest: Option<(u64, RunId)> = None;
        for run in directories(config)? {
            let directory = config.directory_of(&run)?;
            let mut begun = None;
            for (_, path) in crate::segment::list(&directory)? {
                let header = crate::segment::header(&path).ok().flatten();
                begun = header.map(|header| (header.at, header.name));
                if begun.is_some() {
                    break;
                }
            }
            let Some((at, name)) = begun else { continue };
            let is_wanted = config.name.is_empty() || name == config.name;
            if is_wanted && newest.as_ref().is_none_or(|(then, _)| *then < at) {
                newest = Some((at, run));
            }
        }
        newest.map(|(_, run)| run).ok_or_else(|| {
            let of = if config.name.is_empty() {
                String::new()
            } else {
                format!(" of {:?}", config.name)
            };
            let message =
                format!("there is no journal of a run{of} in {}", config.directory().display());
            Error::new(ErrorKind::NotFound, message)
        })
    }

    /// The summary of one run.
    ///
    /// # Errors
    ///
    /// `NotFound` when it has no journal.
    pub fn summary(config: &JournalConfig, run: &RunId) -> Result<RunSummary> {
        Ok(RunSummary::of(run.clone(), &existing(config, run)?).0)
    }
}

/// The runs in the directory that the configuration names; none when it is not there.
pub(super) fn directories(config: &JournalConfig) -> Result<Vec<RunId>> {
    let entries = match std::fs::read_dir(config.directory()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let message = format!("the directory {} cannot be read", config.directory().display());
            return Err(Error::new(ErrorKind::Other, message).with_source(&error));
        }
    };
    let name = |entry: std::fs::DirEntry| {
        let is_run = entry.path().join("lock").is_file();
        entry.file_name().into_string().ok().filter(|_| is_run).map(RunId::from)
    };
    let runs = entries.filter_map(|entry| name(entry.ok()?));
    Ok(runs.filter(|run| config.directory_of(run).is_ok()).collect())
}

/// The bytes of all files in a directory and below it.
fn bytes_of(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}
