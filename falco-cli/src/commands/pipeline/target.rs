//! The file that a stage writes its results to.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::anyhow;

/// A file that keeps what it holds until the run begins: a mistake in the plan, the account or the budget must not cost the
/// results of another run.
#[derive(Debug)]
pub(super) struct Target {
    path: PathBuf,
    file: File,
    /// There was no such file before.
    is_new: bool,
    /// How emptying it ended, once the run has begun.
    begun: OnceLock<Result<(), String>>,
}

impl Target {
    /// Opens the file, and makes it if there is none. The second one is for writing to it after [`begin`](Self::begin).
    ///
    /// # Errors
    ///
    /// When it cannot be written to.
    pub(super) fn open(path: &Path) -> io::Result<(Self, File)> {
        let (file, is_new) = match File::options().write(true).create_new(true).open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                (File::options().write(true).open(path)?, false)
            }
            made => (made?, true),
        };
        let target = Self { path: path.to_owned(), file, is_new, begun: OnceLock::new() };
        let writer = target.file.try_clone()?;
        Ok((target, writer))
    }

    /// Empties the file, the first time it is called, and returns whether that has succeeded.
    pub(super) fn begin(&self) -> bool {
        self.begun.get_or_init(|| self.empty().map_err(|error| error.to_string())).is_ok()
    }

    fn empty(&self) -> io::Result<()> {
        // Devices and pipes hold nothing that could be emptied.
        if self.file.metadata()?.is_file() { self.file.set_len(0) } else { Ok(()) }
    }

    /// Says why the file could not be emptied.
    ///
    /// # Errors
    ///
    /// When the run has begun and the file could not be emptied.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        match self.begun.get() {
            Some(Err(error)) => Err(anyhow!("cannot empty {}: {error}", self.path.display())),
            _ => Ok(()),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.is_new && self.begun.get().is_none() {
            // The run never began. An empty file that stays is the least of its troubles.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_keeps_what_it_holds_until_the_run_begins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        fs::write(&path, "yesterday\nand before\n").unwrap();
        drop(Target::open(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "yesterday\nand before\n");

        let (target, mut file) = Target::open(&path).unwrap();
        assert!(target.begin());
        file.write_all(b"today\n").unwrap();
        assert!(target.begin(), "once is enough");
        target.check().unwrap();
        drop(target);
        assert_eq!(fs::read_to_string(&path).unwrap(), "today\n");
    }

    #[test]
    fn a_file_that_was_made_for_a_run_that_never_began_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        let (target, _file) = Target::open(&path).unwrap();
        assert!(path.exists());
        drop(target);
        assert!(!path.exists());

        let (target, _file) = Target::open(&path).unwrap();
        target.begin();
        drop(target);
        assert!(path.exists(), "a run without results has an empty file");
    }

    #[test]
    fn a_device_is_written_to_as_it_is() {
        let (target, mut file) = Target::open(Path::new("/dev/null")).unwrap();
        assert!(target.begin());
        file.write_all(b"nothing").unwrap();
    }
}
