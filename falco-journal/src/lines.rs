//! The lines of a file, one after the other, in a buffer that they are not copied out of.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

const BUFFER: usize = 1 << 20;

/// The lines of a file from its beginning.
#[derive(Debug)]
pub(crate) struct Lines<F = File> {
    file: F,
    buffer: Vec<u8>,
    /// The part of the buffer that was read and not taken yet.
    from: usize,
    to: usize,
    /// Where the file ended.
    is_at_end: bool,
}

impl<F: Read + Seek> Lines<F> {
    pub(crate) fn of(file: F) -> Self {
        Self { file, buffer: vec![0; BUFFER], from: 0, to: 0, is_at_end: false }
    }

    /// The next line with its line break, which the last one may lack; empty at the end.
    pub(crate) fn next(&mut self) -> io::Result<&[u8]> {
        let mut searched = 0;
        loop {
            let left = &self.buffer[self.from + searched..self.to];
            if let Some(end) = memchr::memchr(b'\n', left) {
                return Ok(self.take(searched + end + 1));
            }
            searched = self.to - self.from;
            if self.is_at_end {
                return Ok(self.take(searched));
            }
            self.fill()?;
        }
    }

    /// Goes on after `bytes` more.
    pub(crate) fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let buffered = (self.to - self.from) as u64;
        if bytes <= buffered {
            self.from += bytes as usize;
            return Ok(());
        }
        self.from = self.to;
        let beyond = i64::try_from(bytes - buffered).unwrap_or(i64::MAX);
        self.file.seek(SeekFrom::Current(beyond)).map(drop)
    }

    fn take(&mut self, length: usize) -> &[u8] {
        let from = self.from;
        self.from += length;
        &self.buffer[from..self.from]
    }

    /// Reads on, after what is left.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.from..self.to, 0);
        (self.from, self.to) = (0, self.to - self.from);
        if self.to == self.buffer.len() {
            // A line that is longer than the buffer.
            self.buffer.resize(2 * self.to, 0);
        }
        let read = loop {
            match self.file.read(&mut self.buffer[self.to..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.to += read;
        self.is_at_end = read == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn lines_of_any_length_come_whole_and_skipped_bytes_do_not_come() {
        let lines = ["a".to_owned(), String::new(), "b".repeat(3 * BUFFER), "c".to_owned()];
        let text = lines.join("\n");
        let mut read = Lines::of(Cursor::new(&text));
        for (index, line) in lines.iter().enumerate() {
            let last = if index == 3 { "" } else { "\n" };
            assert!(read.next().unwrap() == format!("{line}{last}").as_bytes(), "line {index}");
        }
        assert_eq!(read.next().unwrap(), b"");
        for skipped in [0, 2, 3, 4, 2 * BUFFER, 3 * BUFFER + 2, 3 * BUFFER + 3] {
            let mut read = Lines::of(Cursor::new(&text));
            assert_eq!(read.next().unwrap(), b"a\n");
            read.skip(skipped as u64).unwrap();
            let rest = &text[2 + skipped..];
            let end = rest.find('\n').map_or(rest.len(), |end| end + 1);
            assert!(read.next().unwrap() == &rest.as_bytes()[..end], "after {skipped}");
        }
    }
}
