//! The output of activations: captured line by line, kept for a while.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use falco_core::{ActivationId, ActivationLog, LogLine, LogStream};

/// How much of stderr goes into the error of a process that died, in bytes.
const TAIL: usize = 4096;

/// The log of one activation while it is written. A million short lines are one buffer, not a million strings.
#[derive(Debug)]
pub struct Capture {
    limit: usize,
    text: Vec<u8>,
    lines: Vec<Line>,
    unfinished: [Vec<u8>; 2],
    truncated: bool,
}

#[derive(Debug)]
struct Line {
    at: SystemTime,
    stream: LogStream,
    end: usize,
}

impl Capture {
    /// An empty log that takes up to `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            text: Vec::new(),
            lines: Vec::new(),
            unfinished: [Vec::new(), Vec::new()],
            truncated: false,
        }
    }

    /// Takes in what was read from a stream.
    pub fn push(&mut self, stream: LogStream, bytes: &[u8]) {
        let at = SystemTime::now();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.extend(stream, &rest[..end]);
            self.end_line(stream, at);
            rest = &rest[end + 1..];
        }
        self.extend(stream, rest);
    }

    fn extend(&mut self, stream: LogStream, bytes: &[u8]) {
        let left = self.limit.saturating_sub(self.len());
        self.truncated |= bytes.len() > left;
        self.unfinished[index(stream)].extend_from_slice(&bytes[..bytes.len().min(left)]);
    }

    fn end_line(&mut self, stream: LogStream, at: SystemTime) {
        // Its line break counts, so that empty lines cannot grow without end.
        if self.truncated || self.len() >= self.limit {
            self.truncated = true;
            return;
        }
        self.text.append(&mut self.unfinished[index(stream)]);
        self.lines.push(Line { at, stream, end: self.text.len() });
    }

    fn len(&self) -> usize {
        self.text.len() + self.lines.len() + self.unfinished.iter().map(Vec::len).sum::<usize>()
    }

    /// Ends lines that have no line break; nothing when nothing was printed.
    pub fn finish(mut self) -> Option<Captured> {
        let at = SystemTime::now();
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let unfinished = &mut self.unfinished[index(stream)];
            if !unfinished.is_empty() {
                self.text.append(unfinished);
                self.lines.push(Line { at, stream, end: self.text.len() });
            }
        }
        if self.lines.is_empty() && !self.truncated {
            return None;
        }
        Some(Captured { text: self.text, lines: self.lines, truncated: self.truncated })
    }

    /// The end of what was written to stderr.
    pub fn stderr_tail(&self) -> String {
        let mut tail: Vec<&[u8]> = Vec::new();
        let unfinished = &self.unfinished[index(LogStream::Stderr)];
        let mut length = unfinished.len();
        if !unfinished.is_empty() {
            tail.push(unfinished);
        }
        for (line, range) in ranges(&self.lines).rev() {
            if length > TAIL {
                break;
            }
            if line.stream == LogStream::Stderr {
                length += range.len() + 1;
                tail.push(&self.text[range]);
            }
        }
        tail.reverse();
        let tail = String::from_utf8_lossy(&tail.join(&b'\n')).into_owned();
        tail[tail.ceil_char_boundary(tail.len().saturating_sub(TAIL))..].to_owned()
    }
}

fn index(stream: LogStream) -> usize {
    match stream {
        LogStream::Stdout => 0,
        LogStream::Stderr => 1,
    }
}

/// The lines with the places of their text.
fn ranges(lines: &[Line]) -> impl DoubleEndedIterator<Item = (&Line, Range<usize>)> {
    lines.iter().enumerate().map(|(at, line)| {
        let start = at.checked_sub(1).map_or(0, |previous| lines[previous].end);
        (line, start..line.end)
    })
}

/// The whole log of one activation.
#[derive(Debug)]
pub struct Captured {
    text: Vec<u8>,
    lines: Vec<Line>,
    truncated: bool,
}

impl Captured {
    fn size(&self) -> u64 {
        (self.text.len() + self.lines.len() * size_of::<Line>()) as u64
    }

    fn to_log(&self, id: ActivationId) -> ActivationLog {
        let lines = ranges(&self.lines).map(|(line, range)| {
            LogLine::new(String::from_utf8_lossy(&self.text[range]).into_owned())
                .with_time(Some(line.at))
                .with_stream(Some(line.stream))
        });
        ActivationLog::new(id, lines.collect()).with_truncated(self.truncated)
    }
}

/// The logs of the last activations that printed anything.
#[derive(Debug)]
pub struct Logs {
    limit: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    logs: HashMap<ActivationId, Captured>,
    oldest_first: VecDeque<ActivationId>,
    size: u64,
    dropped_any: bool,
}

impl Logs {
    /// Keeps up to `limit` bytes; the oldest logs go first.
    pub fn new(limit: u64) -> Self {
        Self { limit, kept: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in the log of an activation that has ended.
    pub fn keep(&self, id: ActivationId, log: Captured) {
        let mut kept = self.lock();
        kept.size += log.size();
        kept.oldest_first.push_back(id.clone());
        kept.logs.insert(id, log);
        // The newest stays, however large: somebody may be about to ask for it.
        while kept.size > self.limit && kept.oldest_first.len() > 1 {
            let oldest = kept.oldest_first.pop_front();
            if let Some(log) = oldest.and_then(|id| kept.logs.remove(&id)) {
                kept.size -= log.size();
                kept.dropped_any = true;
            }
        }
    }

    /// The log of an activation that has ended. One without a log printed nothing, unless logs were dropped: then
    /// nobody can say.
    pub fn get(&self, id: &ActivationId) -> Option<ActivationLog> {
        let kept = self.lock();
        match kept.logs.get(id) {
            Some(log) => Some(log.to_log(id.clone())),
            None if kept.dropped_any => None,
            None => Some(ActivationLog::new(id.clone(), Vec::new())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(capture: Capture) -> Vec<(LogStream, String)> {
        let log = capture.finish().unwrap().to_log("a".into());
        log.lines.into_iter().map(|line| (line.stream.unwrap(), line.text)).collect()
    }

    #[test]
    fn a_line_stays_whole_however_it_arrives() {
        let mut capture = Capture::new(100);
        capture.push(LogStream::Stdout, b"on");
        capture.push(LogStream::Stderr, b"other\n");
        capture.push(LogStream::Stdout, b"e\n\ntw");
        capture.push(LogStream::Stdout, b"o");
        let expected = [
            (LogStream::Stderr, "other"),
            (LogStream::Stdout, "one"),
            (LogStream::Stdout, ""),
            (LogStream::Stdout, "two"),
        ];
        assert_eq!(lines(capture), expected.map(|(stream, text)| (stream, text.to_owned())));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn where_a_stream_is_cut_into_pieces_does_not_show(
            text in "[ab\n]{0,60}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            limit in 0_u64..80,
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let (mut whole, mut pieces) = (Capture::new(limit), Capture::new(limit));
            whole.push(LogStream::Stdout, text.as_bytes());
            for piece in cuts.windows(2) {
                pieces.push(LogStream::Stdout, &text.as_bytes()[piece[0]..piece[1]]);
            }
            let log = |capture: Capture| capture.finish().map(|log| {
                let log = log.to_log("a".into());
                let lines: Vec<_> = log.lines.into_iter().map(|line| line.text).collect();
                (lines, log.truncated)
            });
            let (whole, pieces) = (log(whole), log(pieces));
            prop_assert_eq!(&whole, &pieces);
            if let Some((lines, truncated)) = whole {
                let expected: Vec<_> = text.lines().map(str::to_owned).collect();
                prop_assert!(truncated || lines == expected);
            }
        }
    }

    #[test]
    fn what_is_over_the_limit_is_dropped_and_said_so() {
        let mut capture = Capture::new(5);
        capture.push(LogStream::Stdout, b"123\n456\n");
        let log = capture.finish().unwrap().to_log("a".into());
        assert!(log.truncated);
        assert_eq!(log.lines.iter().map(|line| &*line.text).collect::<Vec<_>>(), ["123", "4"]);

        let mut empty_lines = Capture::new(5);
        empty_lines.push(LogStream::Stdout, &[b'\n'; 100]);
        assert_eq!(empty_lines.finish().unwrap().lines.len(), 5);
    }

    #[test]
    fn the_tail_of_stderr_is_its_end_without_stdout() {
        let mut capture = Capture::new(u64::MAX);
        capture.push(LogStream::Stderr, "ä".repeat(TAIL).as_bytes());
        capture.push(LogStream::Stderr, b"\nfirst\n");
        capture.push(LogStream::Stdout, b"no\n");
        capture.push(LogStream::Stderr, b"last");
        let tail = capture.stderr_tail();
        assert!(tail.len() <= TAIL && tail.ends_with("ä\nfirst\nlast"), "{tail}");
    }

    #[test]
    fn the_oldest_logs_go_first() {
        let log = || {
            let mut capture = Capture::new(100);
            capture.push(LogStream::Stdout, b"line\n");
            capture.finish().unwrap()
        };
        let logs = Logs::new(log().size() * 2);
        for id in ["a", "b", "c"] {
            logs.keep(id.into(), log());
        }
        assert!(logs.get(&"a".into()).is_none());
        assert_eq!(logs.get(&"b".into()).unwrap().lines.len(), 1);
    }
}
