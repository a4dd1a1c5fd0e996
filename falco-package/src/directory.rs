//! Archives from directories and back.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use falco_core::{Error, ErrorKind, Result};

use crate::archive::{Archive, File};
use crate::executable::NewFile;

/// Made by tools, different on each machine, and of no use on a platform.
const LEFT_OUT: [&str; 2] = ["__pycache__", ".git"];

impl Archive {
    /// Every file of a directory and of the directories in it, vendored dependencies included.
    ///
    /// Symbolic links are followed. `__pycache__` and `.git` are left out: they would make the same code give
    /// different bytes.
    ///
    /// # Errors
    ///
    /// As [`with_directory`](Self::with_directory).
    pub fn from_directory(directory: impl AsRef<Path>) -> Result<Self> {
        Self::new().with_directory(directory)
    }

    /// Adds every file of a directory, as [`from_directory`](Self::from_directory) does.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for what cannot be read, is neither file nor directory, has a name that is not UTF-8, or is a
    /// link that leads into a circle; as [`insert`](Self::insert) for what is in the archive already. The error names
    /// the file.
    pub fn with_directory(mut self, directory: impl AsRef<Path>) -> Result<Self> {
        let root = directory.as_ref();
        let start = fs::canonicalize(root).map_err(|e| unreadable(root, &e))?;
        self.add(root, "", &mut vec![start])?;
        Ok(self)
    }

    /// `above` holds the real paths of the directories that lead here, so that a circle is seen.
    fn add(&mut self, directory: &Path, prefix: &str, above: &mut Vec<PathBuf>) -> Result<()> {
        for entry in fs::read_dir(directory).map_err(|e| unreadable(directory, &e))? {
            let entry = entry.map_err(|e| unreadable(directory, &e))?;
            let at = entry.path();
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| {
                Error::invalid_input(format!("the name of {} is not UTF-8", at.display()))
            })?;
            if LEFT_OUT.contains(&name) {
                continue;
            }
            let path = format!("{prefix}{name}");
            let kind = fs::metadata(&at).map_err(|e| unreadable(&at, &e))?;
            if kind.is_dir() {
                let real = fs::canonicalize(&at).map_err(|e| unreadable(&at, &e))?;
                if above.contains(&real) {
                    return Err(Error::invalid_input(format!(
                        "{} is a link to a directory that it lies in",
                        at.display()
                    )));
                }
                above.push(real);
                self.add(&at, &format!("{path}/"), above)?;
                above.pop();
            } else if kind.is_file() {
                let content = fs::read(&at).map_err(|e| unreadable(&at, &e))?;
                let executable = kind.permissions().mode() & 0o111 != 0;
                self.insert(path, File { content: content.into(), executable })?;
            } else {
                return Err(Error::invalid_input(format!(
                    "{} is neither a file nor a directory",
                    at.display()
                )));
            }
        }
        Ok(())
    }

    /// Writes the files into `directory`, which is made when it is not there.
    ///
    /// Files that are in the directory already are left as they are, and never written through. Executables are written by a
    /// process of their own: they can be started at once, whatever other threads start meanwhile.
    ///
    /// # Errors
    ///
    /// `Conflict` for a file that is there already; `Other` for what cannot be written. The error names the file.
    pub fn unpack_to(&self, directory: impl AsRef<Path>) -> Result<()> {
        let root = directory.as_ref();
        fs::create_dir_all(root).map_err(|e| unwritable(root, &e))?;
        for (path, file) in self.files() {
            let at = root.join(path);
            if let Some(parent) = at.parent() {
                fs::create_dir_all(parent).map_err(|e| unwritable(parent, &e))?;
            }
            NewFile::create_new(&at, file.executable)
                .and_then(|mut to| to.write_all(&file.content).and_then(|()| to.finish()))
                .map_err(|e| unwritable(&at, &e))?;
        }
        Ok(())
    }
}

pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::invalid_input(format!("{} cannot be read", path.display())).with_source(error)
}

pub(crate) fn unwritable(path: &Path, error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::AlreadyExists => ErrorKind::Conflict,
        _ => ErrorKind::Other,
    };
    Error::new(kind, format!("{} cannot be written", path.display())).with_source(error)
}
