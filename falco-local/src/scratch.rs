//! Directories for what workers write: `TMPDIR` of each is its own, and goes with it.

use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use crate::tree;

/// Holds the directories of all workers. Its own is made when the first worker needs one, and removed with the platform.
///
/// It is not beside the code: the name of a socket, such as `multiprocessing` makes there, has 107 bytes at most.
#[derive(Debug)]
pub(crate) struct Scratch {
    base: PathBuf,
    root: Mutex<Option<TempDir>>,
    next: AtomicU64,
}

impl Scratch {
    pub(crate) fn new(base: Option<&OsStr>) -> Self {
        let base = base.map_or_else(std::env::temp_dir, PathBuf::from);
        Self { base, root: Mutex::default(), next: AtomicU64::new(0) }
    }

    /// Where all of them are.
    pub(crate) fn root(&self) -> io::Result<PathBuf> {
        let mut root = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(root) = &*root {
            return Ok(root.path().to_owned());
        }
        let made = tempfile::Builder::new().prefix("falco-").tempdir_in(&self.base)?;
        Ok(root.insert(made).path().to_owned())
    }

    /// A new directory, for one worker.
    pub(crate) fn directory(&self) -> io::Result<Directory> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.root()?.join(number.to_string());
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Directory(path))
    }
}

/// A worker's directory. Dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A process of the worker's that is about to die may write once more; the platform removes the rest.
        if let Err(error) = tree::remove(&self.0) {
            tracing::debug!(%error, "a worker's temporary directory stays until the platform is dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn directories_are_made_when_they_are_needed_and_go_with_their_owner() {
        let base = tempfile::tempdir().unwrap();
        let count = || fs::read_dir(base.path()).unwrap().count();
        let scratch = Scratch::new(Some(base.path().as_os_str()));
        assert_eq!(count(), 0);
        let (first, second) = (scratch.directory().unwrap(), scratch.directory().unwrap());
        assert_ne!(first.path(), second.path());
        fs::write(first.path().join("file"), "x").unwrap();
        let path = first.path().to_owned();
        drop(first);
        assert!(!path.exists() && second.path().exists());
        drop((second, scratch));
        assert_eq!(count(), 0);
    }
}
