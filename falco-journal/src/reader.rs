//! Records by their positions.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use falco_core::{Error, ErrorKind, Result};

use crate::index::Position;
use crate::line;
use crate::replay::{Replay, Segment};
use crate::segment::unreadable;

/// The bytes that are read for a record by itself; longer records take another read.
const SHORT: usize = 2048;
/// The bytes that are read where the records asked for are near each other: a run asks for them about in the order in which
/// it has written them.
const LONG: usize = 512 * 1024;
/// The parts of the log that are held: stages that run at the same time are in different ones.
const HELD: usize = 4;

/// Reads records by their positions.
#[derive(Debug)]
pub(crate) struct Reader {
    segments: Vec<Segment>,
    blocks: Mutex<Blocks>,
}

/// The parts of the log that were read last.
#[derive(Debug, Default)]
struct Blocks {
    files: Vec<Option<File>>,
    held: Vec<Block>,
    /// The block that is given up next.
    oldest: usize,
}

#[derive(Debug)]
struct Block {
    segment: u16,
    from: u64,
    bytes: Vec<u8>,
}

impl Reader {
    pub(crate) fn new(replay: &Replay) -> Self {
        Self { segments: replay.segments.clone(), blocks: Mutex::default() }
    }

    /// The times in the records of a segment count from here, in microseconds since the Unix epoch.
    pub(crate) fn base(&self, at: Position) -> u64 {
        self.segments[usize::from(at.segment)].base
    }

    /// Calls `read` with the path and the JSON of the record at `at`.
    pub(crate) fn with<T>(
        &self,
        at: Position,
        read: impl FnOnce(&Path, u64, &[u8]) -> Result<T>,
    ) -> Result<T> {
        let byte = u64::from(at.byte);
        let path = self.segments[usize::from(at.segment)].path.as_path();
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let line = blocks.line(path, at).map_err(|error| unreadable(path, &error))?;
        let json = line.strip_suffix(b"\n").and_then(line::open).ok_or_else(|| {
            let message = format!(
                "the record at byte {byte} of {} has changed since it was read",
                path.display()
            );
            Error::new(ErrorKind::Other, message)
        })?;
        read(path, byte, json)
    }
}

impl Blocks {
    /// The line at a position, with its line break if it has one.
    fn line(&mut self, path: &Path, at: Position) -> io::Result<&[u8]> {
        let byte = u64::from(at.byte);
        let place = match self.held.iter().position(|block| block.line(at).is_some()) {
            Some(place) => place,
            None => {
                let near = self.held.iter().position(|block| block.is_near(at));
                let place = near.unwrap_or(self.oldest);
                // Those before it may be asked for soon, too: results come in about the order of their inputs.
                let (from, length) = match near {
                    Some(_) => (byte.saturating_sub(LONG as u64 / 4), LONG),
                    None => (byte, SHORT),
                };
                let block = self.read(path, at, from, length)?;
                if near.is_none() {
                    self.oldest = (self.oldest + 1) % HELD;
                }
                match self.held.get_mut(place) {
                    Some(held) => *held = block,
                    None => self.held.push(block),
                }
                place.min(self.held.len() - 1)
            }
        };
        Ok(self.held[place].line(at).unwrap_or_default())
    }

    /// Reads a block that holds the whole line at a position.
    fn read(&mut self, path: &Path, at: Position, from: u64, length: usize) -> io::Result<Block> {
        let segment = usize::from(at.segment);
        if self.files.len() <= segment {
            self.files.resize_with(segment + 1, || None);
        }
        let file = match &mut self.files[segment] {
            Some(file) => file,
            none => none.insert(File::open(path)?),
        };
        file.seek(SeekFrom::Start(from))?;
        let mut block = Block { segment: at.segment, from, bytes: Vec::new() };
        let mut wanted = length;
        loop {
            let read = Read::by_ref(file).take(wanted as u64).read_to_end(&mut block.bytes)?;
            if block.line(at).is_some() {
                return Ok(block);
            }
            if read == 0 {
                // The file has become shorter: the part of a line that is there has no valid checksum.
                block.bytes.push(b'\n');
                return Ok(block);
            }
            wanted = block.bytes.len();
        }
    }
}

impl Block {
    /// The line at a position, if the block holds all of it.
    fn line(&self, at: Position) -> Option<&[u8]> {
        if self.segment != at.segment {
            return None;
        }
        let start = u64::from(at.byte).checked_sub(self.from)?;
        let rest = self.bytes.get(usize::try_from(start).ok()?..)?;
        let end = memchr::memchr(b'\n', rest)?;
        Some(&rest[..=end])
    }

    /// Whether a position is in the neighbourhood.
    fn is_near(&self, at: Position) -> bool {
        let distance = u64::from(at.byte).abs_diff(self.from + self.bytes.len() as u64);
        self.segment == at.segment && distance < LONG as u64
    }
}
