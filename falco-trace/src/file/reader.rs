//! Reads a trace file, also one that was cut or is still being written.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use falco_core::{Error, ErrorKind, Result};
use flate2::read::MultiGzDecoder;

use crate::record::Record;

/// How a trace file ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileEnd {
    /// Records that were read.
    pub records: u64,
    /// Lines that could not be understood, or are of a kind that this version does not know.
    pub skipped: u64,
    /// Whether the last line was cut, as by a process that was killed.
    pub is_cut: bool,
}

/// Reads the trace at `path` with all its segments, and hands each record to `take` with the offset of its line in its
/// file (before compression).
///
/// # Errors
///
/// `NotFound` when there is no such file, `InvalidInput` when it holds no trace, `Unsupported` when a later version of
/// Falco has written it, and `Other` when it cannot be read.
pub fn read_file(path: impl AsRef<Path>, mut take: impl FnMut(Record<'static>)) -> Result<FileEnd> {
    let path = path.as_ref();
    let mut end = FileEnd::default();
    for number in 0.. {
        let name = segment(path, number);
        let file = match File::open(&name) {
            Ok(file) => file,
            Err(error) if number > 0 && error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(unreadable(&name, &error)),
        };
        let one = match is_compressed(path) {
            true => read(BufReader::new(MultiGzDecoder::new(BufReader::new(file))), &mut take),
            false => read(BufReader::with_capacity(1 << 16, file), &mut take),
        };
        let one = one.map_err(|error| error.context(name.display()))?;
        end = FileEnd {
            records: end.records + one.records,
            skipped: end.skipped + one.skipped,
            is_cut: one.is_cut,
        };
    }
    if end.records == 0 {
        let message = format!("{} holds no trace of Falco", path.display());
        return Err(Error::invalid_input(message));
    }
    Ok(end)
}

/// Reads the lines of a trace, whole ones only.
///
/// # Errors
///
/// `Unsupported` when a later version of Falco has written it, and `Other` when it cannot be read.
pub fn read(mut lines: impl BufRead, mut take: impl FnMut(Record<'static>)) -> Result<FileEnd> {
    let (mut end, mut line) = (FileEnd::default(), Vec::new());
    loop {
        line.clear();
        match lines.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(end),
            Ok(_) => {}
            // A compressed file of a process that was killed ends in the middle of a block.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                end.is_cut = true;
                return Ok(end);
            }
            Err(error) => {
                return Err(
                    Error::new(ErrorKind::Other, "cannot read the trace").with_source(&error)
                );
            }
        }
        if line.last() != Some(&b'\n') {
            end.is_cut = true;
            return Ok(end);
        }
        match Record::parse(&line) {
            Ok(Some(record)) => {
                end.records += 1;
                take(record);
            }
            Ok(None) => end.skipped += 1,
            Err(error) if error.kind() == ErrorKind::Unsupported => return Err(error),
            Err(_) => end.skipped += 1,
        }
    }
}

/// Reads a file that is still being written, again and again. Compressed files are read once, as they are.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    offset: u64,
    rest: Vec<u8>,
    was_read: bool,
}

impl Follower {
    /// Follows the file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), offset: 0, rest: Vec::new(), was_read: false }
    }

    /// Reads what was added since the last call.
    ///
    /// # Errors
    ///
    /// As [`read_file`].
    pub fn read_more(&mut self, mut take: impl FnMut(Record<'static>)) -> Result<FileEnd> {
        if is_compressed(&self.path) || segment(&self.path, 1).exists() {
            if std::mem::replace(&mut self.was_read, true) {
                return Ok(FileEnd::default());
            }
            return read_file(&self.path, take);
        }
        let failed = |error: io::Error| unreadable(&self.path, &error);
        let mut file = File::open(&self.path).map_err(failed)?;
        file.seek(SeekFrom::Start(self.offset)).map_err(failed)?;
        let mut more = BufReader::with_capacity(1 << 16, file);
        let mut end = FileEnd::default();
        loop {
            let got =
                (&mut more).take(1 << 20).read_until(b'\n', &mut self.rest).map_err(failed)?;
            self.offset += got as u64;
            if self.rest.last() != Some(&b'\n') {
                if got == 0 {
                    end.is_cut = !self.rest.is_empty();
                    return Ok(end);
                }
                continue;
            }
            match Record::parse(&self.rest) {
                Ok(Some(record)) => {
                    end.records += 1;
                    take(record);
                }
                Err(error) if error.kind() == ErrorKind::Unsupported => return Err(error),
                _ => end.skipped += 1,
            }
            self.rest.clear();
        }
    }
}

/// The name of a segment: the first one has the name of the file.
pub(super) fn segment(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = match name.strip_suffix(".gz") {
        Some(stem) => format!("{stem}.{number}.gz"),
        None => format!("{name}.{number}"),
    };
    path.with_file_name(name)
}

pub(super) fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Other,
    };
    Error::new(kind, format!("cannot read the trace file {}", path.display())).with_source(error)
}
