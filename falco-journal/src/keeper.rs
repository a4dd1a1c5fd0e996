//! The thread that syncs the log, renews the lease, and watches for a second process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use falco_core::{Error, ErrorKind, Result};

use crate::config::Durability;
use crate::lock::{Lock, RENEW_EVERY};
use crate::log::Log;
use crate::segment;

/// How often it looks around when nobody waits for the disk.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The thread, ended and waited for when this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    log: Arc<Log>,
    is_closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn start(
        log: Arc<Log>,
        lock: Lock,
        directory: &Path,
        durability: Durability,
    ) -> Result<Self> {
        let is_closing = Arc::new(AtomicBool::new(false));
        let work = Work {
            log: log.clone(),
            lock,
            directory: directory.to_owned(),
            durability,
            is_closing: is_closing.clone(),
        };
        let thread = Builder::new().name("falco-journal".to_owned()).spawn(move || work.run());
        let thread = thread.map_err(|error| {
            Error::new(ErrorKind::Other, "the thread of the journal cannot be started")
                .with_source(&error)
        })?;
        Ok(Self { log, is_closing, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.is_closing.store(true, SeqCst);
        self.log.want(u64::MAX);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    log: Arc<Log>,
    lock: Lock,
    directory: PathBuf,
    durability: Durability,
    is_closing: Arc<AtomicBool>,
}

impl Work {
    fn run(self) {
        let mut looked_at = Instant::now();
        let mut renewed_at = Instant::now();
        loop {
            let is_wanted = self.log.wait(LOOK_EVERY.saturating_sub(looked_at.elapsed()));
            let is_closing = self.is_closing.load(SeqCst);
            if (is_wanted || self.durability == Durability::Machine) && self.log.sync().is_err() {
                // Those who wait have got the error.
                return;
            }
            if is_closing {
                return;
            }
            if looked_at.elapsed() >= LOOK_EVERY {
                looked_at = Instant::now();
                self.look_for_others();
            }
            if renewed_at.elapsed() >= RENEW_EVERY {
                renewed_at = Instant::now();
                if let Err(error) = self.lock.renew() {
                    tracing::warn!(%error, "the lease of the journal cannot be renewed");
                }
            }
        }
    }

    /// Stops writing when another process has begun a segment: it has taken the run over.
    fn look_for_others(&self) {
        let own = self.log.number();
        let newest =
            segment::list(&self.directory).ok().and_then(|segments| segments.last().cloned());
        // A rotation may have happened in between.
        if let Some((number, path)) = newest
            && number > own.max(self.log.number())
        {
            let message =
                format!("another process has taken the run over: it writes {}", path.display());
            self.log.poison(Error::new(ErrorKind::Conflict, message));
        }
    }
}
