//! Verification, repair, and the end of a run that nobody goes on with.

use std::sync::Arc;

use falco_core::{Error, ErrorKind, Result, RunId};

use crate::blobs;
use crate::clock::now;
use crate::config::{JournalConfig, ResumeOptions};
use crate::disk::Files;
use crate::head::kind_of;
use crate::journal::{RunJournal, existing};
use crate::lock::Lock;
use crate::log::{Begin, Log};
use crate::record::{Abandoned, Completed, kind};
use crate::replay::{Keep, Replay, examine, replay};
use crate::segment::{self, Claims, Damage, parse};

/// The records that a repair has given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// The damage, each with file and bytes. Empty when the journal was sound.
    pub given_up: Vec<String>,
}

impl RunJournal {
    /// Reads the whole journal of a run, long results included, and returns what is damaged, each with its place.
    ///
    /// A last line that was never on disk is not damage: the journal ends before it.
    ///
    /// # Errors
    ///
    /// `NotFound` when the run has no journal; `Unsupported` for one of a later version; `Other` when it cannot be read.
    pub fn verify(config: &JournalConfig, run: &RunId) -> Result<Vec<String>> {
        let directory = existing(config, run)?;
        let (replay, damage) = damage_of(&directory)?;
        let mut found: Vec<String> =
            damage.iter().map(|it| it.error().message().to_owned()).collect();
        for segment in &replay.segments {
            let lost = replay.lost.iter().filter(|(number, ..)| *number == segment.number);
            let claims = Claims {
                length: Some(segment.length),
                lost: lost.map(|(_, from, to)| (*from, *to)).collect(),
            };
            let read = segment::read(segment.number, &segment.path, &claims, |at, json| {
                if kind_of(json) == Some(kind::COMPLETED) {
                    let completed: Completed<'static> = parse(&segment.path, at, json)?;
                    let stored = completed.b.map(|hash| blobs::read(&directory, &hash));
                    if let Some(Err(error)) = stored {
                        found.push(error.message().to_owned());
                    }
                }
                Ok(())
            })?;
            read.map_err(|damage| damage.error())?;
        }
        Ok(found)
    }

    /// Makes a damaged journal readable: gives up the lines that cannot be read. What they may have said of invocations
    /// that are not idempotent is unknown then.
    ///
    /// # Errors
    ///
    /// As [`resume`](Self::resume).
    pub fn repair(config: &JournalConfig, run: &RunId) -> Result<Repaired> {
        let directory = existing(config, run)?;
        let lock = Lock::take(&directory, false)?;
        let (replay, damage) = damage_of(&directory)?;
        if !damage.is_empty() {
            let begin = Begin {
                directory: directory.clone(),
                run: run.as_str().to_owned(),
                name: replay.name.clone(),
                command: None,
                first: replay.segments.last().map_or(1, |segment| segment.number + 1),
                after: replay.lengths(),
                lost: replay.lost.clone(),
                segment_bytes: u64::MAX,
                most_bytes: u64::MAX,
            };
            Log::create(begin, Arc::new(Files))?;
        }
        drop(lock);
        Ok(Repaired { given_up: damage.iter().map(|it| it.error().message().to_owned()).collect() })
    }

    /// Records that a clean-up has removed the functions of a run: what was submitted to them cannot be collected any
    /// more.
    ///
    /// # Errors
    ///
    /// As [`resume`](Self::resume).
    pub fn abandon(config: &JournalConfig, run: &RunId) -> Result<()> {
        let directory = existing(config, run)?;
        let deployed = replay(&directory, Keep::Places)?.deployed;
        let journal = Self::resume(config, run, ResumeOptions::default())?;
        for name in deployed.into_keys() {
            journal.log.append(kind::REMOVED, &crate::record::Removed { name })?;
        }
        journal.log.append(kind::ABANDONED, &Abandoned { at: now() })?;
        journal.log.sync()
    }
}

/// The damage in a journal, and what can be read without it.
fn damage_of(directory: &std::path::Path) -> Result<(Replay, Vec<Damage>)> {
    let (mut given_up, mut found) = (Vec::new(), Vec::<Damage>::new());
    loop {
        let (replay, damage) = examine(directory, Keep::Places, &given_up)?;
        let Some(damage) = damage else { return Ok((replay, found)) };
        if damage.to <= damage.from {
            let message = format!("the damage in {} has no end", damage.path.display());
            return Err(Error::new(ErrorKind::Other, message));
        }
        given_up.push((damage.number, damage.from, damage.to));
        found.push(damage);
    }
}
