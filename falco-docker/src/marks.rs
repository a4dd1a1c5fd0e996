//! The end of a call's log, which is marked in the streams that carry it.

use falco_package::shim::LOG_MARK;

/// The line that OpenWhisk's runtimes print on both streams when an activation has ended.
const ACTIVATION_END: &[u8] = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n";

/// The lines that Lambda's emulator prints around the log of a call: the second is its end.
const REPORTS: [&[u8]; 3] = [b"START RequestId: ", b"END RequestId: ", b"REPORT RequestId: "];
const REPORT_END: usize = 1;

/// How the end of a call's log is marked in one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marking {
    /// By Falco's shim.
    Shim,
    /// By a runtime of OpenWhisk's.
    Activation,
    /// By Lambda's emulator, in lines of its own.
    Reports,
}

/// Takes the marks out of a stream that arrives in pieces.
#[derive(Debug)]
pub(crate) struct Marks {
    marking: Marking,
    /// Bytes that may be the beginning of a mark.
    held: Vec<u8>,
    /// Whether `held` continues a line, which no report does.
    is_within_line: bool,
}

impl Marks {
    pub(crate) fn new(marking: Marking) -> Self {
        Self { marking, held: Vec::new(), is_within_line: false }
    }

    /// The text of a piece without marks, and how many marks it completed.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> (Vec<u8>, usize) {
        self.held.extend_from_slice(piece);
        match self.marking {
            Marking::Shim => self.without(LOG_MARK),
            Marking::Activation => self.without(ACTIVATION_END),
            Marking::Reports => self.without_reports(),
        }
    }

    /// The bytes that were held back as the beginning of a mark.
    pub(crate) fn into_rest(self) -> Vec<u8> {
        self.held
    }

    fn without(&mut self, mark: &[u8]) -> (Vec<u8>, usize) {
        let (mut text, mut marks) = (Vec::with_capacity(self.held.len()), 0);
        let mut rest = &self.held[..];
        while let Some(at) = memchr::memmem::find(rest, mark) {
            text.extend_from_slice(&rest[..at]);
            rest = &rest[at + mark.len()..];
            marks += 1;
        }
        let longest = rest.len().min(mark.len() - 1);
        let kept = (0..=longest).rev().find(|&n| mark.starts_with(&rest[rest.len() - n..]));
        let (done, kept) = rest.split_at(rest.len() - kept.unwrap_or(0));
        text.extend_from_slice(done);
        self.held = kept.to_vec();
        (text, marks)
    }

    fn without_reports(&mut self) -> (Vec<u8>, usize) {
        let (mut text, mut marks) = (Vec::with_capacity(self.held.len()), 0);
        let mut rest = &self.held[..];
        loop {
            let end = memchr::memchr(b'\n', rest).map(|at| at + 1);
            let line = &rest[..end.unwrap_or(rest.len())];
            let report = REPORTS.iter().position(|start| line.starts_with(start));
            match (report.filter(|_| !self.is_within_line), end) {
                (Some(report), Some(_)) => marks += usize::from(report == REPORT_END),
                // A report, or what may become one, is looked at when more of it is there.
                (Some(_), None) => break,
                (None, None) if !self.is_within_line && may_be_report(line) => break,
                (None, _) => {
                    text.extend_from_slice(line);
                    self.is_within_line =
                        end.is_none() && (self.is_within_line || !line.is_empty());
                }
            }
            rest = &rest[line.len()..];
            if end.is_none() {
                break;
            }
        }
        self.held = rest.to_vec();
        (text, marks)
    }
}

/// Whether a line that has no end yet may become a report.
fn may_be_report(line: &[u8]) -> bool {
    REPORTS.iter().any(|start| start.starts_with(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(marking: Marking, stream: &[u8], text: &[u8], marks: usize) {
        for cut in 0..=stream.len() {
            let mut found = Marks::new(marking);
            let (mut seen, mut count) = found.feed(&stream[..cut]);
            let (more, others) = found.feed(&stream[cut..]);
            seen.extend(more);
            count += others;
            assert_eq!((&*seen, count), (text, marks), "{marking:?} cut at {cut}");
        }
    }

    #[test]
    fn a_mark_is_found_wherever_the_stream_is_cut() {
        let stream = [b"one\n", LOG_MARK, b"two\0falco", LOG_MARK].concat();
        check(Marking::Shim, &stream, b"one\ntwo\0falco", 2);
        let stream = [b"one\nXXX_THE", ACTIVATION_END, ACTIVATION_END, b"two"].concat();
        check(Marking::Activation, &stream, b"one\nXXX_THEtwo", 2);
    }

    #[test]
    fn reports_of_the_emulator_are_lines_and_nothing_else() {
        let stream = b"START RequestId: 1 Version: $LATEST\nSTART\nsays END RequestId: x\nEND RequestId: 1\n\
            REPORT RequestId: 1\tDuration: 3 ms\nREPO";
        let text = b"START\nsays END RequestId: x\n";
        check(Marking::Reports, stream, text, 1);
        check(Marking::Reports, b"no line break", b"no line break", 0);
    }
}
