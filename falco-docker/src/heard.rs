//! The output of a container, as it arrives: answers, and the log with its marks.

use bollard::container::LogOutput;
use bytes::{Bytes, BytesMut};
use falco_core::LogStream;
use falco_workers::Capture;

use crate::bundle::Dialogue;
use crate::marks::{Marking, Marks};
use crate::protocol::Protocol;

/// The output of a container: its log, and answers where stdout carries them.
#[derive(Debug)]
pub(crate) struct Heard {
    /// Text from stdout that is not a whole line yet.
    pub(crate) answer: BytesMut,
    /// Whether stdout carries answers, and not a log.
    stdout_answers: bool,
    /// Finds the end of a call's log in each stream, where it is marked: stdout and stderr.
    marks: [Option<Marks>; 2],
    /// Whether a call's log is complete only with its mark, in each stream. An executable may mark nothing.
    awaits: [bool; 2],
    /// Marks that this call's log still lacks, in each stream.
    missing: [bool; 2],
    /// Whether a mark has ever come, in each stream. An image may mark nothing.
    has_marked: [bool; 2],
}

impl Heard {
    pub(crate) fn new(dialogue: Dialogue) -> Self {
        let marks = match dialogue {
            Dialogue::Shim => [None, Some(Marking::Shim)],
            Dialogue::Native => [None, None],
            // Until it says that it marks nothing.
            Dialogue::NativeAcknowledged => [None, Some(Marking::Shim)],
            Dialogue::Action { .. } => [Some(Marking::Activation); 2],
            Dialogue::Lambda { .. } => [Some(Marking::Reports), None],
        };
        let is_known = dialogue != Dialogue::NativeAcknowledged;
        let mut heard = Self {
            answer: BytesMut::new(),
            stdout_answers: dialogue.protocol() == Protocol::Pipe,
            marks: marks.map(|marking| marking.map(Marks::new)),
            awaits: marks.map(|marking| is_known && marking.is_some()),
            missing: [false; 2],
            has_marked: [false; 2],
        };
        heard.begin_log();
        heard
    }

    /// Begins the log of the next call.
    pub(crate) fn begin_log(&mut self) {
        self.missing = self.awaits;
    }

    /// Waits from now on for marks where they are looked for, and for one of the log that has begun unless it has come.
    pub(crate) fn expect_marks(&mut self) {
        self.awaits = self.marks.each_ref().map(Option::is_some);
        self.missing = [0, 1].map(|index| self.awaits[index] && !self.has_marked[index]);
    }

    /// Waits no more for marks in a stream that has never had one, where what looked like the beginning of one is text.
    pub(crate) fn expect_no_marks(&mut self, log: &mut Capture) {
        for (index, stream) in [LogStream::Stdout, LogStream::Stderr].into_iter().enumerate() {
            if self.has_marked[index] {
                continue;
            }
            if let Some(marks) = self.marks[index].take() {
                log.push(stream, &marks.into_rest());
            }
            self.awaits[index] = false;
        }
    }

    pub(crate) fn log_has_ended(&self) -> bool {
        self.missing == [false; 2]
    }

    pub(crate) fn take(&mut self, output: LogOutput, log: &mut Capture) {
        let (stream, index, message) = match output {
            LogOutput::StdErr { message } => (LogStream::Stderr, 1, message),
            LogOutput::StdOut { message } | LogOutput::Console { message } => {
                if self.stdout_answers {
                    self.answer.extend_from_slice(&message);
                    return;
                }
                (LogStream::Stdout, 0, message)
            }
            LogOutput::StdIn { .. } => return,
        };
        match &mut self.marks[index] {
            Some(marks) => {
                let (text, ended) = marks.feed(&message);
                log.push(stream, &text);
                self.missing[index] &= ended == 0;
                self.has_marked[index] |= ended > 0;
            }
            None => log.push(stream, &message),
        }
    }

    /// A whole line of an answer, if one has come.
    pub(crate) fn line(&mut self) -> Option<Bytes> {
        let end = memchr::memchr(b'\n', &self.answer)?;
        let mut line = self.answer.split_to(end + 1);
        line.truncate(end);
        Some(line.freeze())
    }
}
