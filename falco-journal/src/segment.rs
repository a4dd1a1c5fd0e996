//! Reads one segment line by line, and finds where it ends.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use falco_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;

use crate::head::kind_of;
use crate::line;
use crate::lines::Lines;
use crate::record::{Header, Synced, VERSION, kind};

/// The segments in the directory of a run, by number.
pub(crate) fn list(directory: &Path) -> Result<Vec<(u32, PathBuf)>> {
    let failed = |error: std::io::Error| {
        let message = format!("the journal {} cannot be read", directory.display());
        Error::new(ErrorKind::Other, message).with_source(&error)
    };
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if let Some(number) = stem.and_then(|stem| stem.parse().ok()) {
            segments.push((number, path));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// The name of a segment.
pub(crate) fn name(number: u32) -> String {
    format!("{number:06}.log")
}

/// The facts that later segments hold about one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    /// So many bytes are valid, exactly; none for the last segment.
    pub(crate) length: Option<u64>,
    /// Damaged ranges that a repair has given up, in order.
    pub(crate) lost: Vec<(u64, u64)>,
}

/// The first damage in a segment: lines that were on disk and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) path: PathBuf,
    pub(crate) number: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Damage {
    pub(crate) fn error(&self) -> Error {
        let Self { path, from, to, .. } = self;
        let message = format!(
            "the journal is damaged: {} cannot be read from byte {from} to {to}, which had been written to disk",
            path.display()
        );
        Error::new(ErrorKind::Other, message).with_hint(
            "repair gives these bytes up: what they may have said of invocations that are not idempotent is unknown then",
        )
    }
}

/// The header of a segment, if it is whole.
pub(crate) fn header(path: &Path) -> Result<Option<Header>> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut line = Vec::new();
    let mut reader = BufReader::new(file.take(1 << 24));
    reader.read_until(b'\n', &mut line).map_err(|error| unreadable(path, &error))?;
    let Some(json) = line.strip_suffix(b"\n").and_then(line::open) else { return Ok(None) };
    if kind_of(json) != Some(kind::HEADER) {
        return Ok(None);
    }
    let header: Header = parse(path, 0, json)?;
    if header.v != VERSION {
        let message = format!(
            "the journal {} has format version {}, and this version of Falco reads {VERSION}",
            path.display(),
            header.v
        );
        return Err(Error::unsupported(message));
    }
    Ok(Some(header))
}

/// Calls `record` with the place and the JSON of each record, and returns the number of valid bytes.
///
/// The segment ends at the first line that is not whole, unless later records say that it was on disk.
pub(crate) fn read(
    number: u32,
    path: &Path,
    claims: &Claims,
    mut record: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<Result<u64, Damage>> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut lines = Lines::of(file);
    let mut lost = claims.lost.iter().copied().peekable();
    let mut at = 0;
    loop {
        if claims.length.is_some_and(|length| at >= length) {
            return Ok(Ok(at));
        }
        if let Some((from, to)) = lost.peek().copied()
            && at >= from
        {
            lost.next();
            let skipped = to.saturating_sub(at);
            lines.skip(skipped).map_err(|error| unreadable(path, &error))?;
            at = at.max(to);
            continue;
        }
        let line = lines.next().map_err(|error| unreadable(path, &error))?;
        let length = line.len();
        match line.strip_suffix(b"\n").and_then(line::open) {
            Some(json) => record(at, json)?,
            None => {
                let valid = match claims.length {
                    Some(length) => Some(length),
                    None => last_synced(path, &mut lines)?.filter(|synced| *synced > at),
                };
                let Some(valid) = valid else { return Ok(Ok(at)) };
                let to = if length == 0 { valid } else { (at + length as u64).min(valid) };
                return Ok(Err(Damage { path: path.to_owned(), number, from: at, to }));
            }
        }
        at += length as u64;
    }
}

/// The highest place that a whole record in the rest says is on disk.
fn last_synced(path: &Path, lines: &mut Lines) -> Result<Option<u64>> {
    let mut last = None;
    loop {
        let line = lines.next().map_err(|error| unreadable(path, &error))?;
        if line.is_empty() {
            return Ok(last);
        }
        let Some(json) = line.strip_suffix(b"\n").and_then(line::open) else { continue };
        if kind_of(json) == Some(kind::SYNCED)
            && let Ok(Synced { n }) = serde_json::from_slice(json)
        {
            last = last.max(Some(n));
        }
    }
}

/// Parses a record whose checksum was right.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, at: u64, json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| {
        let message = format!("the record at byte {at} of {} is not understood", path.display());
        Error::unsupported(message).with_source(&error)
    })
}

pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let message = format!("the journal {} cannot be read", path.display());
    Error::new(ErrorKind::Other, message).with_source(error)
}
