//! The lines by which a shim divides the log of a batch, one before each input: `falco:input MARK INDEX`.

use falco_core::{ActivationId, ActivationLog, LogLine, LogStream};

const WORD: &str = "falco:input ";
const MARK_DIGITS: usize = 8;

/// A mark in a line: the text before it, the mark and the index of the input that begins there.
fn find(line: &str) -> Option<(&str, &str, usize)> {
    let at = line.rfind(WORD)?;
    let (mark, index) = line[at + WORD.len()..].trim_end().split_once(' ')?;
    let is_mark = mark.len() == MARK_DIGITS && mark.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_mark.then(|| Some((&line[..at], mark, index.parse().ok()?)))?
}

/// The input that was running when a batch with this mark ended: the last one that a log announces.
pub(super) fn last_input<'a>(lines: impl Iterator<Item = &'a str>, mark: &str) -> Option<usize> {
    lines.filter_map(find).filter(|(_, found, _)| *found == mark).map(|(.., index)| index).max()
}

/// The end of a log that belongs to the last input.
pub(super) fn after_last(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.iter().rposition(|line| find(line).is_some()).map_or(0, |at| at + 1);
    lines[from..].join("\n")
}

/// The part of a batch's log that belongs to one input, under the input's own id.
pub(super) fn of_input(log: &ActivationLog, index: usize) -> ActivationLog {
    let mut current: [Option<usize>; 3] = [None; 3];
    let mut lines = Vec::new();
    for line in &log.lines {
        let place = match line.stream {
            None => 0,
            Some(LogStream::Stdout) => 1,
            Some(LogStream::Stderr) => 2,
        };
        let (text, next) = match find(&line.text) {
            Some((before, _, next)) => (before, Some(next)),
            None => (line.text.as_str(), None),
        };
        // Without a stream, the mark of the other stream comes again.
        let is_whole = next.is_none();
        if current[place] == Some(index) && (is_whole || !text.is_empty()) {
            lines.push(LogLine::new(text).with_time(line.at).with_stream(line.stream));
        }
        current[place] = next.or(current[place]);
    }
    ActivationLog::new(log.id.of_member(index), lines).with_truncated(log.truncated)
}

/// The activations that are to be asked for in order to get the logs of `wanted`, each once.
pub(super) fn holders(wanted: &[ActivationId]) -> Vec<ActivationId> {
    let mut holders: Vec<ActivationId> = wanted
        .iter()
        .map(|id| id.member().map_or_else(|| id.clone(), |(batch, _)| batch))
        .collect();
    holders.sort();
    holders.dedup();
    holders
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[(Option<LogStream>, &str)]) -> ActivationLog {
        let line = |(stream, text): &(_, &str)| LogLine::new(*text).with_stream(*stream);
        ActivationLog::new("a", lines.iter().map(line).collect())
    }

    fn texts(log: &ActivationLog, index: usize) -> Vec<String> {
        of_input(log, index).lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn each_input_gets_its_lines_of_both_streams() {
        let (out, err) = (Some(LogStream::Stdout), Some(LogStream::Stderr));
        let log = log(&[
            (err, "loading"),
            (out, "falco:input 0a1b2c3d 0"),
            (out, "zero"),
            (out, "openfalco:input 0a1b2c3d 1"),
            (err, "falco:input 0a1b2c3d 0"),
            (err, "falco:input 0a1b2c3d 1"),
            (err, "one"),
        ]);
        assert_eq!(texts(&log, 0), ["zero", "open"]);
        assert_eq!(texts(&log, 1), ["one"]);
        assert_eq!(of_input(&log, 1).id, "a#1");
    }

    #[test]
    fn the_input_that_ran_is_the_last_one_with_the_right_mark() {
        let text = "falco:input 0a1b2c3d 0\nx\nfalco:input 0a1b2c3d 1\nfalco:input ffffffff 9\nend";
        assert_eq!(last_input(text.lines(), "0a1b2c3d"), Some(1));
        assert_eq!(last_input(text.lines(), "00000000"), None);
        assert_eq!(after_last(text), "end");
        for not_one in [
            "falco:input",
            "falco:input x 1",
            "falco:input 0a1b 1",
            "falco:input 0a1b2c3x 1",
            "falco:input 0a1b2c3d x",
        ] {
            assert!(find(not_one).is_none(), "{not_one}");
        }
    }

    #[test]
    fn one_request_asks_for_the_logs_of_a_batch() {
        let wanted = ["a#1", "b", "a#0"].map(ActivationId::from);
        assert_eq!(holders(&wanted), ["a", "b"]);
    }
}
