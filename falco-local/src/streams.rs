//! The output of a worker: two pipes, read into the log of the call that runs.

use std::io::{self, Read};

use falco_core::LogStream;
use falco_package::shim::LOG_MARK;
use falco_workers::Capture;

use crate::pipe::is_temporary;

/// Reads of one look at most: a child that never stops printing does not keep the driver there.
const ENOUGH: usize = 64;

/// Standard output and standard error of a worker.
#[derive(Debug)]
pub(crate) struct Streams([Stream; 2]);

#[derive(Debug)]
struct Stream {
    name: LogStream,
    /// Nothing once the worker has closed its end.
    pipe: Option<io::PipeReader>,
    /// Read, and not yet in a log: what stands behind a mark, and what may be the beginning of one.
    rest: Vec<u8>,
    /// Whether the call may end its output with a mark.
    has_marks: bool,
    /// Whether that was read.
    is_marked: bool,
}

impl Streams {
    pub(crate) fn new(stdout: io::PipeReader, stderr: io::PipeReader) -> Self {
        let named = [(LogStream::Stdout, stdout), (LogStream::Stderr, stderr)];
        Self(named.map(|(name, pipe)| Stream {
            name,
            pipe: Some(pipe),
            rest: Vec::new(),
            has_marks: false,
            is_marked: false,
        }))
    }

    /// The pipes to wait for. What stands behind a mark is for the next call to read.
    pub(crate) fn pipes(&self) -> [Option<&io::PipeReader>; 2] {
        self.0.each_ref().map(|stream| stream.pipe.as_ref().filter(|_| !stream.is_marked))
    }

    /// Whether both are open.
    pub(crate) fn are_open(&self) -> bool {
        self.0.iter().all(|stream| stream.pipe.is_some())
    }

    /// Begins the output of the next call, which may end with a mark.
    pub(crate) fn begin(&mut self, has_marks: bool) {
        for stream in &mut self.0 {
            stream.has_marks = has_marks;
            stream.is_marked = false;
        }
    }

    /// Reads a chunk of each, up to the mark where there is one.
    pub(crate) fn read(&mut self, chunk: &mut [u8], log: &mut Capture) {
        for stream in &mut self.0 {
            stream.read(chunk, log);
        }
    }

    /// Reads what the call has printed so far.
    pub(crate) fn drain(&mut self, chunk: &mut [u8], log: &mut Capture) {
        for stream in &mut self.0 {
            for _ in 0..ENOUGH {
                if stream.is_marked || !stream.read(chunk, log) {
                    break;
                }
            }
        }
        self.release(log);
    }

    /// Ends the output of a call without reading: what was read is its own, and what looks like the beginning of a mark is not one.
    /// A call that has ended without marks has left nothing unread, so no later one had printed when this was read.
    pub(crate) fn release(&mut self, log: &mut Capture) {
        for stream in self.0.iter_mut().filter(|stream| !stream.rest.is_empty()) {
            stream.sort(log);
            if !stream.is_marked {
                log.push(stream.name, &std::mem::take(&mut stream.rest));
            }
        }
    }
}

impl Stream {
    fn read(&mut self, chunk: &mut [u8], log: &mut Capture) -> bool {
        if !self.rest.is_empty() {
            self.sort(log);
        }
        if self.is_marked {
            return false;
        }
        let Some(mut open) = self.pipe.as_ref() else { return false };
        match open.read(chunk) {
            Ok(read) if read > 0 => {
                let read = &chunk[..read];
                if self.rest.is_empty() && !(self.has_marks && read.contains(&LOG_MARK[0])) {
                    log.push(self.name, read);
                } else {
                    self.rest.extend_from_slice(read);
                    self.sort(log);
                }
                return true;
            }
            Err(error) if is_temporary(&error) => {}
            _ => self.pipe = None,
        }
        false
    }

    /// Moves what stands before the mark into the log.
    fn sort(&mut self, log: &mut Capture) {
        if self.is_marked {
            return;
        }
        if !self.has_marks {
            return log.push(self.name, &std::mem::take(&mut self.rest));
        }
        let mark = self.rest.windows(LOG_MARK.len()).position(|bytes| bytes == LOG_MARK);
        let end = mark.unwrap_or_else(|| {
            let begun = (1..LOG_MARK.len()).rev().find(|n| self.rest.ends_with(&LOG_MARK[..*n]));
            self.rest.len() - begun.unwrap_or_default()
        });
        log.push(self.name, &self.rest[..end]);
        self.rest.drain(..end + mark.map_or(0, |_| LOG_MARK.len()));
        self.is_marked = mark.is_some();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use falco_workers::Logs;

    use super::*;

    fn texts(log: Capture) -> Vec<String> {
        let logs = Logs::new(1 << 20);
        if let Some(log) = log.finish() {
            logs.keep("a".into(), log);
        }
        let log = logs.get(&"a".into()).unwrap();
        log.lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn the_output_of_each_call_ends_at_its_mark_wherever_the_reads_cut_it() {
        let written = [b"one\ntwo", LOG_MARK, b"three\n\0falco", LOG_MARK, b"four\n\0fal"].concat();
        for size in 1..written.len() {
            let (stdout, mut to) = io::pipe().unwrap();
            let (stderr, _open) = io::pipe().unwrap();
            for pipe in [&stdout, &stderr] {
                rustix::io::ioctl_fionbio(pipe, true).unwrap();
            }
            to.write_all(&written).unwrap();
            let mut streams = Streams::new(stdout, stderr);
            let mut chunk = vec![0; size];
            let expected = [&["one", "two"][..], &["three", "\0falco"], &["four", "\0fal"]];
            for lines in expected {
                let mut log = Capture::new(1 << 20);
                streams.begin(true);
                streams.read(&mut chunk, &mut log);
                streams.drain(&mut chunk, &mut log);
                assert_eq!(texts(log), lines, "read in pieces of {size} bytes");
            }
        }
    }
}
