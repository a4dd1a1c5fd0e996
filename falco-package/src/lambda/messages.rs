//! The words in which Lambda's runtimes speak of functions: in its logs, and in the errors of the emulator.

use falco_core::LogStream;

/// The shape of a time in a log of Node's runtime; a zero stands for any digit.
const TIME: &str = "0000-00-00T00:00:00.000Z";

/// A line of the log without the prefix of Node's runtime, `TIME\tREQUEST\tLEVEL\t`, and the stream that the level stands for.
///
/// # Examples
///
/// ```
/// use falco_core::LogStream;
/// use falco_package::lambda;
///
/// let line = "2026-01-02T03:04:05.000Z\tabc\tERROR\toops";
/// assert_eq!(lambda::without_prefix(line), (Some(LogStream::Stderr), "oops"));
/// assert_eq!(lambda::without_prefix("plain"), (None, "plain"));
/// ```
pub fn without_prefix(line: &str) -> (Option<LogStream>, &str) {
    let mut parts = line.splitn(4, '\t');
    let (Some(time), Some(_), Some(level), Some(text)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return (None, line);
    };
    let is_time = time.len() == TIME.len()
        && time.bytes().zip(TIME.bytes()).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            other => byte == other,
        });
    match level {
        "INFO" | "DEBUG" | "TRACE" if is_time => (Some(LogStream::Stdout), text),
        "ERROR" | "WARN" | "FATAL" if is_time => (Some(LogStream::Stderr), text),
        _ => (None, line),
    }
}

/// The status in `Runtime exited with error: exit status 3`, or the number of a signal, negative.
///
/// # Examples
///
/// ```
/// use falco_package::lambda;
///
/// assert_eq!(lambda::exit_status("Runtime exited with error: exit status 3"), Some(3));
/// assert_eq!(lambda::exit_status("Runtime exited with error: signal: killed"), Some(-9));
/// assert_eq!(lambda::exit_status("oops"), None);
/// ```
pub fn exit_status(message: &str) -> Option<i32> {
    if let Some((_, status)) = message.split_once("exit status ") {
        let digits: String = status.chars().take_while(char::is_ascii_digit).collect();
        return digits.parse().ok();
    }
    message.contains("signal: killed").then_some(-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_of_nodes_lines_is_the_stream_and_not_the_text() {
        let line = "2026-01-02T03:04:05.000Z\tabc\tERROR\toops\tagain";
        assert_eq!(without_prefix(line), (Some(LogStream::Stderr), "oops\tagain"));
        for line in ["a\tb\tERROR\tc", "2026-01-02T03:04:05.000Z\tabc\tSAID\toops", "plain"] {
            assert_eq!(without_prefix(line), (None, line));
        }
    }
}
