//! The line by which a shim says how a call ended.

use std::time::Duration;

use bytes::Bytes;
use falco_core::{FunctionError, FunctionErrorKind, Payload};
use serde::Deserialize;

/// How a call ended, as a shim says it: `{"ok":{..},"ms":1.234}` or `{"error":{..},"ms":1.234}`.
///
/// # Examples
///
/// ```
/// use falco_core::FunctionErrorKind;
/// use falco_package::shim::Answer;
///
/// let answer = Answer::from_line(&r#"{"ok":{"sum":3},"ms":0.250}"#.into()).unwrap();
/// assert_eq!(answer.outcome.unwrap().as_str(), r#"{"sum":3}"#);
/// assert_eq!(answer.ran.unwrap().as_micros(), 250);
///
/// let line = r#"{"error":{"kind":"raised","message":"no rows","type":"ValueError"},"ms":0.250}"#;
/// let error = Answer::from_line(&line.into()).unwrap().outcome.unwrap_err();
/// assert_eq!(error.kind, FunctionErrorKind::Raised);
/// assert_eq!(error.error_type.as_deref(), Some("ValueError"));
///
/// assert!(Answer::from_line(&"Segmentation fault".into()).is_none());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The result, or why there is none.
    pub outcome: Result<Payload, FunctionError>,
    /// How long the function ran, by the shim's own clock.
    pub ran: Option<Duration>,
}

impl Answer {
    /// Reads an answer, given without its line break; `None` for a line that a shim has not written.
    pub fn from_line(line: &Bytes) -> Option<Self> {
        let (content, ran) = timed(line)?;
        if let Some(result) = content.strip_prefix(b"{\"ok\":") {
            // Checked here, once: what stands around the result is fixed.
            let result = Payload::from_bytes(line.slice_ref(result)).ok()?;
            return result.is_object().then_some(Self { outcome: Ok(result), ran });
        }
        let error = failure(content.strip_prefix(b"{\"error\":")?)?;
        Some(Self { outcome: Err(error), ran })
    }
}

/// The answer to a request that has a number, as a shim writes it: `17 {"ok":{..},"ms":1.234}`, or `17 printed {"ok":..}`
/// where [`LOG_MARK`](super::LOG_MARK) in both logs ends what the call has printed.
///
/// # Examples
///
/// ```
/// use falco_package::shim::NumberedAnswer;
///
/// let line = NumberedAnswer::from_line(&r#"17 printed {"ok":{},"ms":0.250}"#.into()).unwrap();
/// assert_eq!((line.number, line.has_printed), (17, true));
/// assert_eq!(&line.answer[..], br#"{"ok":{},"ms":0.250}"#);
///
/// assert!(NumberedAnswer::from_line(&r#"{"ok":{},"ms":0.250}"#.into()).is_none());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NumberedAnswer {
    /// The number of the request.
    pub number: u64,
    /// Whether marks in both logs end what the call has printed.
    pub has_printed: bool,
    /// The rest of the line: see [`Answer::from_line`].
    pub answer: Bytes,
}

impl NumberedAnswer {
    /// Reads a line, given without its line break; `None` for one that does not begin with a number.
    pub fn from_line(line: &Bytes) -> Option<Self> {
        let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = std::str::from_utf8(&line[..digits]).ok()?.parse().ok()?;
        let rest = line[digits..].strip_prefix(b" ")?;
        let printed = rest.strip_prefix(b"printed ");
        let answer = line.slice_ref(printed.unwrap_or(rest));
        Some(Self { number, has_printed: printed.is_some(), answer })
    }
}

/// The line without its end, `,"ms":1.234}` or `}`, and the time in that.
fn timed(line: &[u8]) -> Option<(&[u8], Option<Duration>)> {
    const NAME: &[u8] = b",\"ms\":";
    let line = line.strip_suffix(b"}")?;
    let is_digit = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let digits = line.iter().rev().take_while(|byte| is_digit(byte)).count();
    let (before, number) = line.split_at(line.len() - digits);
    let Some(content) = before.strip_suffix(NAME) else { return Some((line, None)) };
    let number: f64 = std::str::from_utf8(number).ok()?.parse().ok()?;
    Some((content, Duration::try_from_secs_f64(number / 1000.0).ok()))
}

/// Reads what a shim's answer holds under `error`; `None` for what a shim has not written.
pub fn failure(json: &[u8]) -> Option<FunctionError> {
    #[derive(Deserialize)]
    struct Failure {
        kind: FunctionErrorKind,
        message: String,
        #[serde(rename = "type")]
        error_type: Option<String>,
        trace: Option<String>,
    }

    let failure: Failure = serde_json::from_slice(json).ok()?;
    let mut error = FunctionError::new(failure.kind, failure.message);
    error.error_type = failure.error_type;
    error.trace = failure.trace;
    Some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &'static str) -> Option<Answer> {
        Answer::from_line(&Bytes::from_static(line.as_bytes()))
    }

    #[test]
    fn a_line_that_a_shim_has_not_written_is_not_an_answer() {
        for line in [
            "",
            "{",
            "}",
            "{}",
            "{\"ok\":}",
            "{\"ok\":{}",
            "{\"ok\":[],\"ms\":1}",
            "{\"ok\":{\"a\":NaN},\"ms\":1}",
            "{\"ok\":{}},\"ms\":1}",
            "{\"ok\":{},\"ms\":1.2.3}",
            "{\"error\":{},\"ms\":1}",
            "{\"error\":{\"kind\":\"raised\"}}",
            "{\"error\":{\"kind\":\"other\",\"message\":\"\"}}",
            "\u{0}",
        ] {
            assert!(read(line).is_none(), "{line:?}");
        }
    }

    #[test]
    fn a_line_without_a_number_of_its_own_answers_no_numbered_request() {
        for line in ["", " {}", "1", "1{}", "-1 {}", "+1 {}", "1.0 {}", "99999999999999999999 {}"] {
            assert!(
                NumberedAnswer::from_line(&Bytes::from_static(line.as_bytes())).is_none(),
                "{line:?}"
            );
        }
    }

    #[test]
    fn a_result_may_look_like_the_end_of_an_answer() {
        for (line, result) in [
            ("{\"ok\":{\"a\":1,\"ms\":2},\"ms\":1}", "{\"a\":1,\"ms\":2}"),
            ("{\"ok\":{\"a\":1,\"ms\":2}}", "{\"a\":1,\"ms\":2}"),
        ] {
            assert_eq!(read(line).unwrap().outcome.unwrap().as_str(), result, "{line}");
        }
    }
}
