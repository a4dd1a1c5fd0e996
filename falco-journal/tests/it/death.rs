//! Drivers that end at a point of their run, and what they leave on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use falco_core::{Event, Monitor, Verdict};
use tokio_util::sync::CancellationToken;

use crate::support::RUN;

/// How a driver ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// By `kill -9`: what was written is there.
    Process,
    /// With the power: what was not synced is gone, or arbitrary bytes.
    Machine,
}

/// The life of one driver: it ends at a point, which is a call's begin or end, or a recorded event.
#[derive(Debug)]
pub(crate) struct Life {
    left: AtomicI64,
    journal: PathBuf,
    grave: PathBuf,
    death: Death,
    pub(crate) ended: CancellationToken,
}

impl Life {
    pub(crate) fn new(journal: &Path, grave: &Path, points: i64, death: Death) -> Arc<Self> {
        let (journal, grave) = (journal.to_owned(), grave.to_owned());
        let (left, ended) = (AtomicI64::new(points), CancellationToken::new());
        Arc::new(Self { left, journal, grave, death, ended })
    }

    pub(crate) fn points_left(&self) -> i64 {
        self.left.load(SeqCst)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Ends the driver when its points are used up: what is on disk now is all that the next one has.
    pub(crate) fn point(&self) {
        if self.left.fetch_sub(1, SeqCst) == 1 {
            self.ended.cancel();
            bury(&self.journal, &self.grave, self.death);
        }
    }

    /// Stays for ever in the call of a driver that is dead.
    pub(crate) async fn go_on(&self) {
        self.point();
        if self.has_ended() {
            std::future::pending::<()>().await;
        }
    }
}

impl Monitor for Life {
    fn event(&self, _: &Event<'_>) -> Verdict {
        self.point();
        Verdict::Continue
    }
}

/// Copies a journal as a dead driver leaves it.
pub(crate) fn bury(from: &Path, to: &Path, death: Death) {
    let (from, to) = (from.join(RUN), to.join(RUN));
    std::fs::create_dir_all(&to).unwrap();
    std::fs::write(to.join("lock"), "").unwrap();
    let mut logs: Vec<_> = std::fs::read_dir(&from)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "log"))
        .collect();
    logs.sort();
    let newest = logs.last().cloned();
    for path in logs {
        let mut log = std::fs::read(&path).unwrap();
        if death == Death::Machine && Some(&path) == newest.as_ref() {
            log.truncate(synced(&log));
            log.extend_from_slice(b"0000 scrambled by the loss of power");
        }
        std::fs::write(to.join(path.file_name().unwrap()), log).unwrap();
    }
}

/// How much of a log was on disk, as its records say.
fn synced(log: &[u8]) -> usize {
    let text = String::from_utf8_lossy(log);
    let claims = text.lines().filter_map(|line| {
        let claim = line.split_once(r#"{"k":"y","n":"#)?.1;
        claim.strip_suffix('}')?.parse().ok()
    });
    claims.max().unwrap_or(0)
}
