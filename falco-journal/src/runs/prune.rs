//! Removes journals that nobody needs any more.

use std::time::{Duration, SystemTime};

use falco_core::{Error, ErrorKind, Result};

use crate::config::JournalConfig;
use crate::journal::RunJournal;
use crate::lock::Lock;
use crate::runs::{RunState, RunSummary};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The journals that stay.
///
/// # Examples
///
/// ```
/// use falco_journal::Keeping;
/// use std::time::Duration;
///
/// let month = Keeping::default().with_finished(Duration::from_secs(30 * 24 * 3600));
/// assert_eq!(month.bytes, 2 << 30);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keeping {
    /// How long those of runs that succeeded or were abandoned stay, from the beginning of the run: 7 days.
    pub finished: Duration,
    /// How long all others stay: 30 days.
    pub others: Duration,
    /// How many bytes those that stay have together, at most: 2 GiB. Runs that can go on come before those that succeeded or
    /// were abandoned, and among them the newest first; one that does not fit is removed and takes no room from the others.
    pub bytes: u64,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { finished: 7 * DAY, others: 30 * DAY, bytes: 2 << 30 }
    }
}

impl Keeping {
    /// Sets how long journals of runs stay that succeeded or were abandoned.
    #[must_use]
    pub fn with_finished(mut self, finished: Duration) -> Self {
        self.finished = finished;
        self
    }

    /// Sets how long all other journals stay.
    #[must_use]
    pub fn with_others(mut self, others: Duration) -> Self {
        self.others = others;
        self
    }

    /// Sets how many bytes the journals that stay have together, at most.
    #[must_use]
    pub fn with_bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    fn keeps(&self, run: &RunSummary) -> bool {
        let longest = match run.state {
            RunState::Succeeded | RunState::Abandoned => self.finished,
            _ => self.others,
        };
        let age = SystemTime::now().duration_since(run.begun_at()).unwrap_or_default();
        age <= longest
    }
}

/// The order in which runs get room: those that stay in any case, those that can go on, and those that are over.
fn rank(state: RunState) -> u8 {
    match state {
        RunState::Running | RunState::Damaged => 0,
        RunState::Suspended | RunState::Interrupted | RunState::Failed => 1,
        RunState::Succeeded | RunState::Abandoned => 2,
    }
}

/// The journals that were removed.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Pruned {
    /// Their runs.
    pub runs: Vec<RunSummary>,
}

impl RunJournal {
    /// Removes the journals that need not stay. One of a run that a process works on always stays, and so does one that
    /// cannot be read.
    ///
    /// # Errors
    ///
    /// `Other` when a journal cannot be removed.
    pub fn prune(config: &JournalConfig, keeping: &Keeping) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        let mut left = keeping.bytes;
        let mut runs = Self::list(config)?;
        // The newest of each rank remain the first: the room is theirs.
        runs.sort_by_key(|run| rank(run.state));
        for run in runs {
            let stays = matches!(run.state, RunState::Running | RunState::Damaged);
            if stays || (run.bytes <= left && keeping.keeps(&run)) {
                left = left.saturating_sub(run.bytes);
                continue;
            }
            let directory = config.directory_of(&run.run)?;
            let Ok(lock) = Lock::take(&directory, false) else { continue };
            std::fs::remove_dir_all(&directory).map_err(|error| {
                let message = format!("the journal {} cannot be removed", directory.display());
                Error::new(ErrorKind::Other, message).with_source(&error)
            })?;
            drop(lock);
            pruned.runs.push(run);
        }
        Ok(pruned)
    }
}
