//! Sorted lines, in memory and on disk.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::os::unix::fs::FileExt;

use flate2::bufread::MultiGzDecoder;
use serde::Serialize;

use super::error::DataError;

/// The lines of one partition that are in memory, one after the other.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Bucket {
    /// Adds `["key",value]`; the bytes that it takes.
    pub(super) fn push<V: Serialize + ?Sized>(
        &mut self,
        key: &str,
        value: &V,
    ) -> serde_json::Result<u64> {
        let before = self.text.len();
        let written = line(&mut self.text, key, value);
        if written.is_err() {
            self.text.truncate(before);
        }
        written?;
        self.ends.push(self.text.len());
        Ok((self.text.len() - before + size_of::<usize>() + size_of::<&[u8]>()) as u64)
    }

    /// Writes the lines in order, and forgets them.
    pub(super) fn drain_sorted(&mut self, to: &mut dyn Write) -> io::Result<()> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        let mut lines: Vec<&[u8]> =
            begins.zip(&self.ends).map(|(begin, end)| &self.text[begin..*end]).collect();
        lines.sort_unstable();
        for line in lines {
            to.write_all(line)?;
        }
        self.text.clear();
        self.ends.clear();
        Ok(())
    }
}

/// The partition of a key.
pub(super) fn partition(key: &str, count: usize) -> Result<usize, DataError> {
    match count {
        0 => Err(DataError::wrong("this object has no partitions: use write")),
        count => Ok(crc32fast::hash(key.as_bytes()) as usize % count),
    }
}

/// Appends the line of a key with a value.
pub(super) fn line<V: Serialize + ?Sized>(
    text: &mut Vec<u8>,
    key: &str,
    value: &V,
) -> serde_json::Result<()> {
    text.push(b'[');
    serde_json::to_writer(&mut *text, key)?;
    text.push(b',');
    serde_json::to_writer(&mut *text, value)?;
    text.extend_from_slice(b"]\n");
    Ok(())
}

/// How much to read at once of each of so many sources, so that all of them keep to the bound.
pub(super) fn step(bound: u64, sources: usize) -> usize {
    let share = usize::try_from(bound).unwrap_or(usize::MAX) / (4 * sources.max(1));
    share.clamp(1 << 10, 1 << 16)
}

/// Some sorted lines: a part of memory, or of a file which many readers share.
pub(super) enum Piece<'a> {
    Memory(Cursor<&'a [u8]>),
    File(BufReader<Slice<'a>>),
}

impl<'a> Piece<'a> {
    pub(super) fn memory(data: &'a [u8]) -> Self {
        Self::Memory(Cursor::new(data))
    }

    /// The bytes of a file from `position` to `end`, read by `step` bytes.
    pub(super) fn file(file: &'a File, position: u64, end: u64, step: usize) -> Self {
        Self::File(BufReader::with_capacity(step, Slice { file, position, end }))
    }

    /// Its bytes, decompressed where it is `gzip`.
    pub(super) fn reader(self, gzip: bool) -> Box<dyn BufRead + 'a> {
        match self {
            // An empty piece has no member.
            Self::Memory(data) if gzip => Box::new(BufReader::new(MultiGzDecoder::new(data))),
            Self::Memory(data) => Box::new(data),
            Self::File(file) if gzip => {
                let step = file.capacity();
                Box::new(BufReader::with_capacity(step, MultiGzDecoder::new(file)))
            }
            Self::File(file) => Box::new(file),
        }
    }
}

/// A part of a file.
#[derive(Debug)]
pub(super) struct Slice<'a> {
    file: &'a File,
    position: u64,
    end: u64,
}

impl Read for Slice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let count = self.file.read_at(&mut buffer[..length], self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// The lines of sorted pieces, in order; each piece is decompressed where it is `gzip`.
pub(super) fn merged(pieces: Vec<Piece<'_>>, gzip: bool) -> Merged<'_> {
    let sources: Vec<_> = pieces.into_iter().map(|piece| piece.reader(gzip)).collect();
    Merged { sources, heap: None }
}

/// The next line of each source, the least on top.
type Heap = BinaryHeap<Reverse<(Vec<u8>, usize)>>;

/// See [`merged`].
pub(super) struct Merged<'a> {
    sources: Vec<Box<dyn BufRead + 'a>>,
    /// The line on top is the one that was given out last; none before the first.
    heap: Option<Heap>,
}

impl Merged<'_> {
    /// The next line, with its end.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        match &mut self.heap {
            None => {
                let mut lines = Vec::with_capacity(self.sources.len());
                for (at, source) in self.sources.iter_mut().enumerate() {
                    let mut line = Vec::new();
                    if source.read_until(b'\n', &mut line)? > 0 {
                        lines.push(Reverse((line, at)));
                    }
                }
                self.heap = Some(lines.into());
            }
            Some(heap) => {
                if let Some(mut top) = heap.peek_mut() {
                    let Reverse((line, source)) = &mut *top;
                    line.clear();
                    if self.sources[*source].read_until(b'\n', line)? == 0 {
                        PeekMut::pop(top);
                    }
                }
            }
        }
        let top = self.heap.as_ref().and_then(BinaryHeap::peek);
        Ok(top.map(|Reverse((line, _))| &**line))
    }
}
