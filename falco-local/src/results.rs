//! The lines that a worker writes to descriptor 3.

use std::io::{self, Read};

use bytes::Bytes;

use crate::pipe::{ATOMIC, is_temporary};

/// The results of a worker.
#[derive(Debug)]
pub(crate) struct Results {
    pipe: io::PipeReader,
    /// The beginning of a line.
    line: Vec<u8>,
    /// Lines that came together with an earlier one, of which those before `at` were handed out.
    unread: Vec<u8>,
    at: usize,
    /// Whether the rest of a line that was too long is still to come.
    skips_line: bool,
}

/// The outcome of reading a line.
pub(crate) enum Line {
    Complete {
        line: Bytes,
        /// Whether one write has written it: it stands first in a read of at most `ATOMIC` bytes.
        at_once: bool,
    },
    Incomplete,
    TooLong {
        /// The bytes of it that were read.
        begin: Bytes,
    },
    Closed,
}

impl Results {
    pub(crate) fn new(pipe: io::PipeReader) -> Self {
        Self { pipe, line: Vec::new(), unread: Vec::new(), at: 0, skips_line: false }
    }

    /// The pipe to wait for.
    pub(crate) fn pipe(&self) -> &io::PipeReader {
        &self.pipe
    }

    /// Whether more was read than was handed out.
    pub(crate) fn is_at_hand(&self) -> bool {
        self.at < self.unread.len()
    }

    /// Whether there is something that nobody has asked for.
    pub(crate) fn has_more(&self, chunk: &mut [u8]) -> bool {
        self.is_at_hand() || (&self.pipe).read(chunk).is_ok_and(|read| read > 0)
    }

    /// The next line, without its line break. Reads once: what is written after the last look has to wait for the next.
    pub(crate) fn read_line(&mut self, chunk: &mut [u8], limit: usize) -> Line {
        let is_fresh = !self.is_at_hand();
        let read = if is_fresh {
            match (&self.pipe).read(chunk) {
                Ok(0) => return Line::Closed,
                Ok(read) => &chunk[..read],
                Err(error) if is_temporary(&error) => return Line::Incomplete,
                Err(_) => return Line::Closed,
            }
        } else {
            &self.unread[self.at..]
        };
        let Some(end) = read.iter().position(|byte| *byte == b'\n') else {
            if !self.skips_line {
                self.line.extend_from_slice(read);
            }
            self.forget_unread();
            if self.line.len() <= limit {
                return Line::Incomplete;
            }
            self.skips_line = true;
            return Line::TooLong { begin: std::mem::take(&mut self.line).into() };
        };
        let at_once = is_fresh && self.line.is_empty() && read.len() <= ATOMIC;
        let line = if self.line.is_empty() {
            Bytes::copy_from_slice(&read[..end])
        } else {
            self.line.extend_from_slice(&read[..end]);
            std::mem::take(&mut self.line).into()
        };
        if is_fresh {
            self.unread.extend_from_slice(&chunk[end + 1..read.len()]);
        } else {
            self.at += end + 1;
        }
        if !self.is_at_hand() {
            self.forget_unread();
        }
        if std::mem::take(&mut self.skips_line) {
            return Line::Incomplete;
        }
        if line.len() > limit {
            Line::TooLong { begin: line }
        } else {
            Line::Complete { line, at_once }
        }
    }

    fn forget_unread(&mut self) {
        self.unread.clear();
        self.at = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// The lines that are handed out until there is nothing to read, with `-` for each that is too long.
    fn lines(written: &[u8], size: usize, limit: usize) -> Vec<String> {
        let (pipe, mut to) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&pipe, true).unwrap();
        to.write_all(written).unwrap();
        drop(to);
        let mut results = Results::new(pipe);
        let mut chunk = vec![0; size];
        let mut lines = Vec::new();
        loop {
            match results.read_line(&mut chunk, limit) {
                Line::Complete { line, .. } => lines.push(String::from_utf8_lossy(&line).into()),
                Line::TooLong { .. } => lines.push("-".into()),
                Line::Incomplete => {}
                Line::Closed => return lines,
            }
        }
    }

    #[test]
    fn lines_are_handed_out_one_by_one_wherever_the_reads_cut_them() {
        for size in 1..20 {
            assert_eq!(lines(b"one\n\ntwo\nthree\n", size, 10), ["one", "", "two", "three"]);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_left_out_and_the_next_one_is_whole() {
        for size in 1..30 {
            let handed_out = lines(b"one\ntoo long by far\ntwo\n", size, 5);
            assert_eq!(handed_out, ["one", "-", "two"], "read in pieces of {size} bytes");
        }
    }
}
