//! A set of files on their way to a platform, kept sorted and safe to unpack.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use bytes::Bytes;
use falco_core::{Code, Error, ErrorKind, Result};

/// The files of a function, by path.
///
/// Paths are relative, separated by `/`, and never lead out of the archive: that is checked when a file enters,
/// so everything that an `Archive` does later is safe. Nothing is replaced silently: a shim whose name the user's
/// code has taken already is an error.
///
/// # Examples
///
/// ```
/// use falco_core::Code;
/// use falco_package::Archive;
///
/// let source = Code::Source("def main(args):\n    return args\n".into());
/// let archive = Archive::from_code(&source, "function.py")?
///     .with_file("shim.py", "from function import main\n")?;
/// assert_eq!(archive.paths().collect::<Vec<_>>(), ["function.py", "shim.py"]);
///
/// let zip = archive.to_zip()?;
/// assert_eq!(Archive::from_zip(&zip)?, archive);
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Archive {
    files: BTreeMap<String, File>,
}

/// One file of an [`Archive`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct File {
    /// Its content.
    pub content: Bytes,
    /// Whether it can be started; no other permission is kept.
    pub executable: bool,
}

impl File {
    /// A file with this content; `executable` says whether it may be run.
    pub fn new(content: impl Into<Bytes>, executable: bool) -> Self {
        Self { content: content.into(), executable }
    }
}

impl Archive {
    /// An archive without files.
    pub fn new() -> Self {
        Self::default()
    }

    /// The files of `code`: an archive's own, or source text under the name `main`.
    ///
    /// Source text that begins with `#!` becomes an executable file.
    ///
    /// # Errors
    ///
    /// As [`from_zip`](Self::from_zip), and `InvalidInput` when `main` is not a path for an archive.
    pub fn from_code(code: &Code, main: &str) -> Result<Self> {
        match code {
            Code::Source(source) => {
                let content = Bytes::copy_from_slice(source.as_bytes());
                let executable = content.starts_with(b"#!");
                Self::new().with(main, File { content, executable })
            }
            Code::Archive(zip) => Self::from_zip(zip),
            Code::Image(image) => Err(Error::unsupported(format!(
                "the function is the image {image}, and has no files of its own"
            ))),
            _ => Err(Error::unsupported("this form of code is unknown to falco-package")),
        }
    }

    /// Adds a file.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    pub fn with_file(self, path: impl Into<String>, content: impl Into<Bytes>) -> Result<Self> {
        self.with(path, File { content: content.into(), executable: false })
    }

    /// Adds a file that can be started.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    pub fn with_executable(
        self,
        path: impl Into<String>,
        content: impl Into<Bytes>,
    ) -> Result<Self> {
        self.with(path, File { content: content.into(), executable: true })
    }

    fn with(mut self, path: impl Into<String>, file: File) -> Result<Self> {
        self.insert(path, file)?;
        Ok(self)
    }

    /// Adds a file.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a path that is absolute, leads out of the archive, or cannot be unpacked everywhere;
    /// `Conflict` when something else has the path, or a part of it, already. The error names the path.
    pub fn insert(&mut self, path: impl Into<String>, file: File) -> Result<()> {
        let path = path.into();
        check_path(&path)?;
        if let Some(taken) = self.in_the_way_of(&path) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the archive holds {taken:?} already, so {path:?} cannot be added"),
            )
            .with_hint("rename the file in the function's code"));
        }
        self.files.insert(path, file);
        Ok(())
    }

    /// The file that has `path` already, or that is a directory or a file where `path` needs the other.
    fn in_the_way_of(&self, path: &str) -> Option<&str> {
        let parents = path.match_indices('/').map(|(end, _)| &path[..end]);
        for taken in parents.chain([path]) {
            if let Some((taken, _)) = self.files.get_key_value(taken) {
                return Some(taken);
            }
        }
        let inside = format!("{path}/");
        let mut after =
            self.files.range::<str, _>((Bound::Included(inside.as_str()), Bound::Unbounded));
        after.next().map(|(next, _)| next.as_str()).filter(|next| next.starts_with(&inside))
    }

    /// Moves a file to another path.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is no file `from`; as [`insert`](Self::insert) for `to`. The archive is unchanged then.
    pub fn rename(&mut self, from: &str, to: impl Into<String>) -> Result<()> {
        let file = self.remove(from).ok_or_else(|| self.missing(from))?;
        let result = self.insert(to, file.clone());
        if result.is_err() {
            self.files.insert(from.to_owned(), file);
        }
        result
    }

    /// Takes a file out.
    pub fn remove(&mut self, path: &str) -> Option<File> {
        self.files.remove(path)
    }

    /// The file at `path`.
    pub fn get(&self, path: &str) -> Option<&File> {
        self.files.get(path)
    }

    /// Whether there is a file at `path`.
    pub fn contains(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// The file at `path`, for callers who cannot do without.
    ///
    /// # Errors
    ///
    /// `NotFound` with the names of the files that are there.
    pub fn require(&self, path: &str) -> Result<&File> {
        self.get(path).ok_or_else(|| self.missing(path))
    }

    fn missing(&self, path: &str) -> Error {
        const SHOWN: usize = 10;
        let mut there: Vec<&str> = self.paths().take(SHOWN).collect();
        if self.len() > SHOWN {
            there.push("…");
        }
        let there = if there.is_empty() { "nothing".to_owned() } else { there.join(", ") };
        Error::new(
            ErrorKind::NotFound,
            format!("the archive has no file {path:?}; it holds {there}"),
        )
    }

    /// The paths, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The files with their paths, sorted by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &File)> {
        self.files.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are no files.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The sizes of all files together, in bytes.
    pub fn unpacked_len(&self) -> u64 {
        self.files.values().map(|file| file.content.len() as u64).sum()
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.files).finish()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.executable { "executable" } else { "file" };
        write!(f, "{kind} of {} bytes", self.content.len())
    }
}

/// Refuses every path that some system would unpack to a place outside of the archive's directory.
fn check_path(path: &str) -> Result<()> {
    let odd = |why: &str| {
        Err(Error::invalid_input(format!("{path:?} cannot be a file of an archive: {why}")))
    };
    if path.is_empty() {
        return odd("it is empty");
    }
    if path.starts_with('/') {
        return odd("it is absolute");
    }
    if path.contains(['\\', '\0', ':']) {
        return odd("it contains a backslash, a colon or a zero byte");
    }
    for part in path.split('/') {
        match part {
            "" => return odd("it contains an empty name"),
            "." | ".." => return odd("it contains . or .."),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_out_are_refused_by_name() {
        for path in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "c:x", "a\\b"] {
            let error = Archive::new().with_file(path, "x").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path}");
            assert!(error.to_string().contains(&format!("{path:?}")), "{error}");
        }
    }

    #[test]
    fn a_path_that_is_taken_is_never_replaced() {
        let archive = Archive::new().with_file("a/b", "x").unwrap();
        for path in ["a", "a/b", "a/b/c"] {
            let error = archive.clone().with_file(path, "y").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict, "{path}");
        }
        archive.with_file("a/c", "y").unwrap().with_file("a-b", "z").unwrap();
    }

    #[test]
    fn a_failed_rename_changes_nothing() {
        let before = Archive::new().with_file("a", "1").unwrap().with_file("b", "2").unwrap();
        let mut archive = before.clone();
        assert_eq!(archive.rename("a", "b").unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(archive.rename("c", "d").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(archive, before);
        archive.rename("a", "c/a").unwrap();
        assert_eq!(archive.paths().collect::<Vec<_>>(), ["b", "c/a"]);
    }

    #[test]
    fn debug_shows_names_and_sizes_only() {
        let archive = Archive::new().with_executable("exec", "top secret").unwrap();
        assert_eq!(format!("{archive:?}"), r#"{"exec": executable of 10 bytes}"#);
    }
}
