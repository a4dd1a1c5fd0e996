//! The end of the log that this process writes: appends, group commit, and what follows when the disk fails.

mod progress;
mod segments;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use falco_core::{Error, ErrorKind, Result};
use serde::Serialize;

use self::progress::Progress;
use self::segments::create;
use crate::clock::now;
use crate::config::RunCommand;
use crate::disk::{Appender, Disk};
use crate::kill;
use crate::line;
use crate::record::{Synced, kind};
use crate::segment;

/// How often a record says how much is on disk, at most. Tests that cut a log as the loss of power does have to know it
/// of each sync.
const CLAIM_EVERY: Duration =
    if cfg!(feature = "kill-points") { Duration::ZERO } else { Duration::from_millis(100) };

/// The most bytes of awaited records that are kept in memory; the record that exceeds it is written with all of them.
const COLLECTED: usize = 64 * 1024;

/// The settings that a log begins with.
#[derive(Clone, Debug)]
pub(crate) struct Begin {
    pub(crate) directory: PathBuf,
    pub(crate) run: String,
    pub(crate) name: String,
    /// How the process was started.
    pub(crate) command: Option<RunCommand>,
    /// The number of the first segment of this process.
    pub(crate) first: u32,
    /// How many bytes of each segment before are valid.
    pub(crate) after: Vec<(u32, u64)>,
    pub(crate) lost: Vec<(u32, u64, u64)>,
    /// A segment is closed when it has so many bytes.
    pub(crate) segment_bytes: u64,
    /// The most bytes that this process may write.
    pub(crate) most_bytes: u64,
}

/// The end of the log that this process writes.
#[derive(Debug)]
pub(crate) struct Log {
    begin: Begin,
    /// The times in this process's records count from here, in microseconds since the Unix epoch.
    base: u64,
    disk: Arc<dyn Disk>,
    tail: Mutex<Tail>,
    /// One sync at a time.
    syncing: Mutex<Claimed>,
    /// Signals that somebody waits for the disk.
    wanted: (Mutex<Wanted>, Condvar),
    progress: Progress,
}

/// Where the log ends.
#[derive(Debug)]
struct Tail {
    file: Arc<dyn Appender>,
    number: u32,
    /// Bytes in the segment, and in all segments of this process; those that are collected are among them.
    length: u64,
    total: u64,
    after: Vec<(u32, u64)>,
    /// Records that are not handed to the system yet.
    collected: Vec<u8>,
    /// Files beside the log that records name, to be synced before the log is.
    beside: Vec<(Arc<dyn Appender>, PathBuf)>,
    failure: Option<Error>,
}

/// How much is to be synced.
#[derive(Debug, Default)]
struct Wanted {
    total: u64,
    /// Whether a thread sleeps until more is wanted. Notifying costs a system call even when no thread sleeps, and there may be
    /// one for each record. Only one thread may wait: the keeper.
    is_awaited: bool,
}

/// The last record that says how much is on disk.
#[derive(Debug, Default)]
struct Claimed {
    at: Option<Instant>,
    /// Where the log ended after it, when nothing else came between the sync and it.
    end: Option<u64>,
}

impl Log {
    /// Creates the first segment of this process, and makes it durable.
    ///
    /// # Errors
    ///
    /// `Conflict` when another process has created it; `Other` when the disk fails.
    pub(crate) fn create(begin: Begin, disk: Arc<dyn Disk>) -> Result<Self> {
        let file: Arc<dyn Appender> = Arc::from(create(&*disk, &begin.directory, begin.first)?);
        let tail = Tail {
            file,
            number: begin.first,
            length: 0,
            total: 0,
            after: begin.after.clone(),
            collected: Vec::new(),
            beside: Vec::new(),
            failure: None,
        };
        let log = Self {
            syncing: Mutex::default(),
            wanted: (Mutex::default(), Condvar::new()),
            progress: Progress::default(),
            tail: Mutex::new(tail),
            base: now(),
            begin,
            disk,
        };
        log.write_header(&mut log.tail())?;
        log.sync()?;
        Ok(log)
    }

    /// Appends a record, and returns where the log ends then.
    ///
    /// # Errors
    ///
    /// `Other` when the disk fails, now or earlier: the journal takes nothing more then.
    pub(crate) fn append(&self, kind: u8, fields: &impl Serialize) -> Result<u64> {
        self.append_naming(kind, fields, None)
    }

    /// Appends a record that names a file beside the log, which is synced before the log is.
    pub(crate) fn append_naming(
        &self,
        kind: u8,
        fields: &impl Serialize,
        beside: Option<(Arc<dyn Appender>, PathBuf)>,
    ) -> Result<u64> {
        self.add(kind, fields, beside, 0)
    }

    /// Appends a record whose caller waits until it is on disk. The log keeps it in memory until the next sync or the next
    /// other record at the latest; until then it is lost if the process ends.
    pub(crate) fn append_awaited(&self, kind: u8, fields: &impl Serialize) -> Result<u64> {
        self.add(kind, fields, None, COLLECTED)
    }

    /// Appends a record; up to `collected` bytes are not handed to the system yet.
    fn add(
        &self,
        kind: u8,
        fields: &impl Serialize,
        beside: Option<(Arc<dyn Appender>, PathBuf)>,
        collected: usize,
    ) -> Result<u64> {
        kill::point();
        let mut tail = self.tail();
        if tail.length >= self.begin.segment_bytes {
            self.rotate(&mut tail)?;
        }
        tail.beside.extend(beside);
        self.collect(&mut tail, kind, fields)?;
        if tail.collected.len() > collected {
            self.write_out(&mut tail)?;
        }
        let total = tail.total;
        drop(tail);
        kill::point();
        Ok(total)
    }

    /// Returns once the first `total` bytes are on disk.
    ///
    /// # Errors
    ///
    /// `Other` when the disk fails.
    pub(crate) async fn synced(&self, total: u64) -> Result<()> {
        self.progress.reach(total, || self.want(total)).await
    }

    /// Whether the first `total` bytes are on disk.
    pub(crate) fn is_synced(&self, total: u64) -> Result<bool> {
        self.progress.has_reached(total)
    }

    /// Asks for the first `total` bytes to be synced, and does not wait for it.
    pub(crate) fn want(&self, total: u64) {
        let mut wanted = self.wanted.0.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.total < total {
            wanted.total = total;
            if std::mem::take(&mut wanted.is_awaited) {
                self.wanted.1.notify_one();
            }
        }
    }

    /// Waits until somebody asks for a sync, for a while at most, and says whether somebody did.
    pub(crate) fn wait(&self, at_most: Duration) -> bool {
        let synced = self.progress.bytes();
        let wanted = self.wanted.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Before each sleep: a signal may have come for what is synced already.
        let waited = self.wanted.1.wait_timeout_while(wanted, at_most, |wanted| {
            wanted.is_awaited = wanted.total <= synced;
            wanted.is_awaited
        });
        let (mut wanted, _) = waited.unwrap_or_else(PoisonError::into_inner);
        wanted.is_awaited = false;
        wanted.total > synced
    }

    /// Makes all that was appended durable.
    ///
    /// # Errors
    ///
    /// `Other` when the disk fails. It is not tried again: the kernel may have marked the pages as clean.
    pub(crate) fn sync(&self) -> Result<()> {
        let mut claimed = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, number, length, total, beside) = {
            let mut tail = self.tail();
            if let Some(error) = &tail.failure {
                return Err(error.clone());
            }
            // The record that says how much is on disk is not worth a sync of its own.
            if claimed.end == Some(tail.total) {
                return Ok(());
            }
            self.write_out(&mut tail)?;
            let beside = std::mem::take(&mut tail.beside);
            (tail.file.clone(), tail.number, tail.length, tail.total, beside)
        };
        kill::point();
        let synced = self.sync_beside(beside).and_then(|()| file.sync());
        kill::point();
        if let Err(error) = synced {
            return Err(self.fail(&mut self.tail(), "cannot be synced", &error));
        }
        let mut synced = total;
        if claimed.at.is_none_or(|at| at.elapsed() >= CLAIM_EVERY) {
            claimed.at = Some(Instant::now());
            let mut tail = self.tail();
            // A later segment says by its header that this one was on disk.
            if tail.number == number && tail.failure.is_none() {
                let is_alone = tail.total == total;
                let end = self.write(&mut tail, kind::SYNCED, &Synced { n: length })?;
                claimed.end = is_alone.then_some(end);
                synced = claimed.end.unwrap_or(total);
            }
        }
        self.progress.advance(synced);
        Ok(())
    }

    /// Why nothing can be written any more.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.tail().failure.clone()
    }

    /// Takes note that nothing may be written any more.
    pub(crate) fn poison(&self, error: Error) {
        self.poison_tail(&mut self.tail(), error);
    }

    /// A time, in microseconds since the Unix epoch, as records of this process hold it.
    pub(crate) fn since_base(&self, at: u64) -> i64 {
        at.wrapping_sub(self.base) as i64
    }

    /// Where the log ends.
    pub(crate) fn end(&self) -> u64 {
        self.tail().total
    }

    /// The number of the segment that is written.
    pub(crate) fn number(&self) -> u32 {
        self.tail().number
    }

    fn sync_beside(&self, beside: Vec<(Arc<dyn Appender>, PathBuf)>) -> std::io::Result<()> {
        let mut directories = HashSet::new();
        for (file, path) in &beside {
            file.sync()?;
            directories.extend(path.parent());
        }
        for directory in directories {
            self.disk.sync_directory(directory)?;
        }
        Ok(())
    }

    /// Appends a record and hands it to the system, after those that were collected.
    fn write(&self, tail: &mut Tail, kind: u8, fields: &impl Serialize) -> Result<u64> {
        self.collect(tail, kind, fields)?;
        self.write_out(tail)?;
        Ok(tail.total)
    }

    /// Adds a record to those that are handed to the system next.
    fn collect(&self, tail: &mut Tail, kind: u8, fields: &impl Serialize) -> Result<()> {
        if let Some(error) = &tail.failure {
            return Err(error.clone());
        }
        let start = line::begin(&mut tail.collected, kind);
        let at = tail.collected.len();
        if let Err(error) = serde_json::to_writer(&mut tail.collected, fields) {
            tail.collected.truncate(start);
            return Err(
                Error::new(ErrorKind::Other, "a record has no JSON form").with_source(&error)
            );
        }
        line::finish(&mut tail.collected, start, at);
        let bytes = (tail.collected.len() - start) as u64;
        if tail.total + bytes > self.begin.most_bytes {
            tail.collected.truncate(start);
            let full = std::io::Error::new(
                std::io::ErrorKind::StorageFull,
                format!(
                    "it would exceed {} bytes, as JournalConfig::with_most_bytes says",
                    self.begin.most_bytes
                ),
            );
            return Err(self.fail(tail, "is full", &full));
        }
        tail.length += bytes;
        tail.total += bytes;
        Ok(())
    }

    /// Hands the records that were collected to the system.
    fn write_out(&self, tail: &mut Tail) -> Result<()> {
        let mut collected = std::mem::take(&mut tail.collected);
        let mut left = &collected[..];
        while !left.is_empty() {
            match tail.file.write(left) {
                Ok(0) => {
                    let error = std::io::Error::from(std::io::ErrorKind::WriteZero);
                    return Err(self.cut_back(tail, collected.len(), &error));
                }
                Ok(written) => left = &left[written..],
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.cut_back(tail, collected.len(), &error)),
            }
        }
        collected.clear();
        collected.shrink_to(1 << 20);
        tail.collected = collected;
        Ok(())
    }

    /// Takes back the part of the last `bytes` that was written before the disk failed.
    fn cut_back(&self, tail: &mut Tail, bytes: usize, error: &std::io::Error) -> Error {
        tail.length -= bytes as u64;
        tail.total -= bytes as u64;
        // If that fails, too, a reader drops the record that is not whole: it has no valid checksum.
        let _ = tail.file.cut(tail.length);
        self.fail(tail, "cannot be written", error)
    }

    fn fail(&self, tail: &mut Tail, what: &str, error: &std::io::Error) -> Error {
        let path = self.begin.directory.join(segment::name(tail.number));
        let message = format!("the journal {} {what}", path.display());
        let error = Error::new(ErrorKind::Other, message).with_source(error).with_hint(
            "the run is suspended: functions and activations stay; free the disk, then resume it",
        );
        self.poison_tail(tail, error)
    }

    fn poison_tail(&self, tail: &mut Tail, error: Error) -> Error {
        let error = tail.failure.get_or_insert(error).clone();
        self.progress.fail(&error);
        error
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
