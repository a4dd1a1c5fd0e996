//! A line on its way into a pipe that may take only a part of it.

use std::io::{self, ErrorKind, IoSlice, Write};

/// The rest of a line to write.
pub(crate) struct Unsent<'a> {
    parts: Vec<IoSlice<'a>>,
    done: usize,
}

impl<'a> Unsent<'a> {
    /// The whole of a line made of these parts; nothing where there are none.
    pub(crate) fn new(line: &[&'a [u8]]) -> Self {
        let mut parts: Vec<_> = line.iter().map(|part| IoSlice::new(part)).collect();
        if !parts.is_empty() {
            parts.push(IoSlice::new(b"\n"));
        }
        Self { parts, done: 0 }
    }

    /// The length of what is not written, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.parts[self.done..].iter().map(|part| part.len()).sum()
    }

    /// Whether all of it is written.
    pub(crate) fn is_empty(&self) -> bool {
        self.done == self.parts.len()
    }

    /// Writes what the pipe takes. False when the worker does not read any more.
    pub(crate) fn send(&mut self, mut to: &io::PipeWriter) -> bool {
        let mut left = &mut self.parts[self.done..];
        let total = left.len();
        while !left.is_empty() {
            match to.write_vectored(left) {
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        self.done += total - left.len();
        true
    }
}
