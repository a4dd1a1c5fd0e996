//! Sorted lines, in memory and on disk.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;

use serde::Serialize;

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
        let written = self.line(key, value);
        if written.is_err() {
            self.text.truncate(before);
        }
        written?;
        self.ends.push(self.text.len());
        Ok((self.text.len() - before + size_of::<usize>() + size_of::<&[u8]>()) as u64)
    }

    fn line<V: Serialize + ?Sized>(&mut self, key: &str, value: &V) -> serde_json::Result<()> {
        self.text.push(b'[');
        serde_json::to_writer(&mut self.text, key)?;
        self.text.push(b',');
        serde_json::to_writer(&mut self.text, value)?;
        self.text.extend_from_slice(b"]\n");
        Ok(())
    }

    /// Writes the lines in order, and forgets them.
    pub(super) fn drain_sorted(&mut self, to: &mut impl Write) -> io::Result<u64> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        let mut lines: Vec<&[u8]> =
            begins.zip(&self.ends).map(|(begin, end)| &self.text[begin..*end]).collect();
        lines.sort_unstable();
        for line in lines {
            to.write_all(line)?;
        }
        let length = self.text.len() as u64;
        self.text.clear();
        self.ends.clear();
        Ok(length)
    }
}

/// A part of a file, which many readers share.
#[derive(Debug)]
pub(super) struct Slice<'a> {
    file: &'a File,
    position: u64,
    end: u64,
}

impl<'a> Slice<'a> {
    pub(super) fn new(file: &'a File, position: u64, end: u64) -> Self {
        Self { file, position, end }
    }
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

/// The lines of sorted sources, in order.
pub(super) fn merged<R: Read>(sources: Vec<R>) -> Merged<R> {
    let sources: Vec<_> =
        sources.into_iter().map(|source| BufReader::with_capacity(1 << 16, source)).collect();
    let waiting = (0..sources.len()).collect();
    Merged { sources, heap: BinaryHeap::new(), waiting }
}

/// See [`merged`].
pub(super) struct Merged<R> {
    sources: Vec<BufReader<R>>,
    heap: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
    /// Sources whose next line is not in the heap.
    waiting: Vec<usize>,
}

impl<R: Read> Iterator for Merged<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(source) = self.waiting.pop() {
            let mut line = Vec::new();
            match self.sources[source].read_until(b'\n', &mut line) {
                Ok(0) => {}
                Ok(_) => self.heap.push(Reverse((line, source))),
                Err(error) => return Some(Err(error)),
            }
        }
        let Reverse((line, source)) = self.heap.pop()?;
        self.waiting.push(source);
        Some(Ok(line))
    }
}
