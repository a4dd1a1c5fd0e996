//! The lock of a run: one process at a time works on it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use falco_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::clock::now;
use crate::machine::{boot, host};

/// A lease that was not renewed for so long is over.
const LEASE: Duration = Duration::from_secs(60);
/// How often a lock that is held is tried again, and how long after: somebody may have looked at it only.
const LOOKS: u32 = 10;
const LOOK: Duration = Duration::from_millis(10);
/// How often it is renewed.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(10);

/// The process that works on a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub(crate) host: String,
    /// The boot of the host.
    pub(crate) boot: String,
    pub(crate) pid: u32,
    /// In microseconds since the Unix epoch.
    pub(crate) since: u64,
    pub(crate) renewed_at: u64,
}

impl Owner {
    fn this() -> Self {
        let at = now();
        Self { host: host(), boot: boot(), pid: std::process::id(), since: at, renewed_at: at }
    }
}

/// The lock of a run, held until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    directory: PathBuf,
    owner: Owner,
    _file: File,
}

impl Lock {
    /// Takes the lock.
    ///
    /// # Errors
    ///
    /// `Conflict` that names the process that holds it; `Other` when the file cannot be made.
    pub(crate) fn take(directory: &Path, take_over: bool) -> Result<Self> {
        Self::take_by(directory, take_over, File::try_lock)
    }

    fn take_by(
        directory: &Path,
        take_over: bool,
        try_lock: impl Fn(&File) -> Result<(), TryLockError>,
    ) -> Result<Self> {
        let path = directory.join("lock");
        let failed = |error: io::Error| {
            let message = format!("the lock {} cannot be taken", path.display());
            Error::new(ErrorKind::Other, message).with_source(&error)
        };
        let file = open(&path).map_err(failed)?;
        match patiently(|| try_lock(&file)) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(directory, false)),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                // The file system has no locks: the owner's file is a lease.
                let is_live = read_owner(directory).is_some_and(|owner| {
                    now().saturating_sub(owner.renewed_at) < LEASE.as_micros() as u64
                });
                if is_live && !take_over {
                    return Err(held(directory, true));
                }
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let lock = Self { directory: directory.to_owned(), owner: Owner::this(), _file: file };
        lock.renew().map_err(failed)?;
        Ok(lock)
    }

    /// Says that the process is still there.
    pub(crate) fn renew(&self) -> io::Result<()> {
        let owner = Owner { renewed_at: now(), ..self.owner.clone() };
        let path = self.directory.join("owner.json");
        let partial = self.directory.join("owner.json.partial");
        let mut file = open(&partial)?;
        file.set_len(0)?;
        file.write_all(&serde_json::to_vec(&owner)?)?;
        fs::rename(partial, path)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A lease that is over lets the next process in at once.
        let _ = fs::remove_file(self.directory.join("owner.json"));
    }
}

/// Tries for a moment: a process that lists runs holds each lock while it looks.
fn patiently(mut try_lock: impl FnMut() -> Result<(), TryLockError>) -> Result<(), TryLockError> {
    for _ in 0..LOOKS {
        match try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
            locked => return locked,
        }
    }
    try_lock()
}

/// Whether a process works on the run now.
pub(crate) fn is_held(directory: &Path) -> bool {
    let Ok(file) = open(&directory.join("lock")) else { return false };
    // Shared, so that two who look do not take each other for its owner.
    match file.try_lock_shared() {
        Ok(()) => false,
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(_)) => read_owner(directory)
            .is_some_and(|owner| now().saturating_sub(owner.renewed_at) < LEASE.as_micros() as u64),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Readable, too: some network file systems share a lock among readers only.
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

pub(crate) fn read_owner(directory: &Path) -> Option<Owner> {
    serde_json::from_slice(&fs::read(directory.join("owner.json")).ok()?).ok()
}

fn held(directory: &Path, is_lease: bool) -> Error {
    let by = match read_owner(directory) {
        Some(Owner { host, pid, since, .. }) => {
            let minutes = now().saturating_sub(since) / 60_000_000;
            format!("process {pid} on {host} has worked on it for {minutes} minutes")
        }
        None => "another process works on it".to_owned(),
    };
    let run = directory.file_name().unwrap_or_default().to_string_lossy();
    let error = Error::new(ErrorKind::Conflict, format!("run {run} is in use: {by}"));
    match is_lease {
        true => error.with_hint(
            "the file system has no locks: wait a minute after the end of that process, or use ResumeOptions::with_take_over",
        ),
        false => error.with_hint("wait for its end, or end it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_refused_with_the_name_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let lock = Lock::take(directory.path(), false).unwrap();
        assert!(is_held(directory.path()));
        let error = Lock::take(directory.path(), true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.message().contains(&format!("process {}", std::process::id())), "{error}");
        drop(lock);
        assert!(!is_held(directory.path()));
        Lock::take(directory.path(), false).unwrap();
    }

    #[test]
    fn those_who_look_whether_a_run_is_held_neither_see_each_other_nor_keep_a_process_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let looking = open(&path).unwrap();
        looking.try_lock_shared().unwrap();
        assert!(!is_held(directory.path()));
        let looks = std::cell::Cell::new(0);
        let lock = Lock::take_by(directory.path(), false, |file| {
            looks.set(looks.get() + 1);
            if looks.get() == 3 {
                looking.unlock().unwrap();
            }
            file.try_lock()
        });
        lock.unwrap();
        assert_eq!(looks.get(), 3);
    }

    #[test]
    fn without_locks_a_lease_keeps_others_out_until_it_is_over_or_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let unsupported =
            |_: &File| Err(TryLockError::Error(io::Error::from(io::ErrorKind::Unsupported)));
        let first = Lock::take_by(directory, false, unsupported).unwrap();
        let error = Lock::take_by(directory, false, unsupported).unwrap_err();
        assert!(error.hint().unwrap().contains("take_over"), "{error}");
        let second = Lock::take_by(directory, true, unsupported).unwrap();
        let old = Owner { renewed_at: now() - 61_000_000, ..second.owner.clone() };
        fs::write(directory.join("owner.json"), serde_json::to_vec(&old).unwrap()).unwrap();
        Lock::take_by(directory, false, unsupported).unwrap();
        drop((first, second));
    }
}
