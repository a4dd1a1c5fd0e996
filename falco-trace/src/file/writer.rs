//! Writes lines into a file, so that what is there can be read after the process was killed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use falco_core::{Error, ErrorKind, Result};

use super::packer::Packer;
use super::reader::segment;

/// Lines are collected up to this size.
const BUFFER: usize = 64 * 1024;

/// The settings of a trace file. It is created, or emptied, readable by its owner only.
///
/// A name that ends in `.gz` makes it gzipped, by a thread of its own. See [`Recorder::with_file`](crate::Recorder::with_file).
#[derive(Clone, Debug)]
pub struct TraceFile {
    pub(crate) path: PathBuf,
    pub(crate) segment_bytes: Option<u64>,
    pub(crate) is_required: bool,
    pub(crate) has_errors: bool,
}

impl TraceFile {
    /// A trace in the file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), segment_bytes: None, is_required: false, has_errors: true }
    }

    /// Begins another file, `NAME.1`, `NAME.2` and so on, whenever one holds so many bytes before they are compressed.
    #[must_use]
    pub fn with_segments(mut self, bytes: u64) -> Self {
        self.segment_bytes = Some(bytes.max(1));
        self
    }

    /// Stops the run when the trace cannot be written. Without it, the run goes on without a trace and says so once.
    #[must_use]
    pub fn with_required(mut self) -> Self {
        self.is_required = true;
        self
    }

    /// Leaves out the messages of errors, tracebacks and logs, which may hold data of the user's.
    #[must_use]
    pub fn without_errors(mut self) -> Self {
        self.has_errors = false;
        self
    }
}

/// The open file. All methods are called under one lock.
#[derive(Debug)]
pub(crate) struct Writer {
    settings: TraceFile,
    output: Output,
    buffer: Vec<u8>,
    /// The first line of each segment.
    head: Vec<u8>,
    in_segment: u64,
    segments: u32,
    /// Set once writing has failed: the rest of the trace is dropped.
    failed: Option<String>,
    dropped: u64,
}

#[derive(Debug)]
enum Output {
    Plain(File),
    Gzip(Packer),
    Closed,
}

impl Writer {
    pub(crate) fn create(settings: TraceFile) -> Result<Self> {
        let output = Output::create(&settings.path).map_err(|error| {
            let path = settings.path.display();
            Error::new(ErrorKind::Other, format!("cannot write the trace file {path}"))
                .with_source(&error)
        })?;
        Ok(Self {
            settings,
            output,
            buffer: Vec::with_capacity(BUFFER + 4_096),
            head: Vec::new(),
            in_segment: 0,
            segments: 0,
            failed: None,
            dropped: 0,
        })
    }

    /// Appends a whole line. `Err` is returned once, with the reason of the first failure.
    pub(crate) fn line(&mut self, line: &[u8], is_head: bool) -> Result<(), String> {
        if is_head {
            self.head = line.to_vec();
        }
        if self.failed.is_some() {
            self.dropped += 1;
            return Ok(());
        }
        let segment_is_full =
            self.settings.segment_bytes.is_some_and(|limit| self.in_segment >= limit);
        if segment_is_full && !is_head {
            self.flush()?;
            let next = self.next_segment();
            self.noted(next)?;
        }
        self.buffer.extend_from_slice(line);
        self.in_segment += line.len() as u64;
        if self.buffer.len() >= BUFFER { self.write_out() } else { Ok(()) }
    }

    /// Hands everything to the system, whole lines only.
    pub(crate) fn flush(&mut self) -> Result<(), String> {
        self.write_out()?;
        let flushed = self.output.flush();
        self.noted(flushed)
    }

    /// Flushes, and ends a compressed file. What follows makes another member of it.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        self.write_out()?;
        let finished = self.output.finish();
        self.noted(finished)
    }

    pub(crate) fn is_required(&self) -> bool {
        self.settings.is_required
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.settings.has_errors
    }

    /// Lines that were lost, because the file could not be written.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn write_out(&mut self) -> Result<(), String> {
        if self.buffer.is_empty() || self.failed.is_some() {
            return Ok(());
        }
        let written = self.output.write(&mut self.buffer);
        if written.is_err() {
            self.dropped += self.buffer.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        self.buffer.clear();
        self.noted(written)
    }

    fn next_segment(&mut self) -> io::Result<()> {
        self.output.finish()?;
        self.segments += 1;
        self.output = Output::create(&segment(&self.settings.path, self.segments))?;
        self.in_segment = self.head.len() as u64;
        self.buffer.extend_from_slice(&self.head);
        Ok(())
    }

    fn noted(&mut self, outcome: io::Result<()>) -> Result<(), String> {
        outcome.map_err(|error| {
            let message =
                format!("cannot write the trace file {}: {error}", self.settings.path.display());
            self.dropped += self.output.close();
            self.failed = Some(message.clone());
            message
        })
    }
}

impl Output {
    fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.create(true).write(true).truncate(true).mode(0o600).open(path)?;
        match path.extension().is_some_and(|extension| extension == "gz") {
            true => Packer::start(file).map(Self::Gzip),
            false => Ok(Self::Plain(file)),
        }
    }

    /// Writes the buffer, and empties it or not.
    fn write(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.write_all(buffer),
            Self::Gzip(packer) => packer.write(buffer),
            Self::Closed => Ok(()),
        }
    }

    fn flush(&self) -> io::Result<()> {
        match self {
            Self::Gzip(packer) => packer.flush(),
            Self::Plain(_) | Self::Closed => Ok(()),
        }
    }

    fn finish(&self) -> io::Result<()> {
        match self {
            Self::Gzip(packer) => packer.finish(),
            Self::Plain(_) | Self::Closed => Ok(()),
        }
    }

    /// Writes no more, and returns how many lines that were taken are lost.
    fn close(&mut self) -> u64 {
        match std::mem::replace(self, Self::Closed) {
            Self::Gzip(packer) => packer.close(),
            Self::Plain(_) | Self::Closed => 0,
        }
    }
}
