//! OpenWhisk's ActionLoop: a JSON line in on standard input, a JSON line out on descriptor 3.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, IsTerminal, Write};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{End, flush_logs};
use crate::context::Context;
use crate::failure::Failure;
use crate::worker::{Start, Worker};

/// Set by proxies that wait for a line before the first request.
const WAIT_FOR_ACK: &str = "__OW_WAIT_FOR_ACK";

const ACKNOWLEDGEMENT: &[u8] = br#"{"ok":true}"#;

/// Where requests come from and answers go.
pub(super) struct Channel<R, W> {
    requests: R,
    answers: W,
    waits_for_ack: bool,
}

impl Channel<BufReader<File>, File> {
    /// The channel that a platform has opened; `None` if there is none.
    pub(super) fn open() -> Option<Self> {
        if std::io::stdin().is_terminal() {
            return None;
        }
        // To append, should it be a file. Owning descriptor 3 itself would take unsafe code.
        let answers = OpenOptions::new().append(true).open("/dev/fd/3").ok()?;
        let requests = File::open("/dev/fd/0").ok()?;
        // A function that reads its standard input finds it empty, and takes no request away.
        let nothing = File::open("/dev/null").ok()?;
        rustix::stdio::dup2_stdin(nothing).ok()?;
        let waits_for_ack = env::var_os(WAIT_FOR_ACK).is_some();
        Some(Self { requests: BufReader::new(requests), answers, waits_for_ack })
    }
}

impl<R: BufRead, W: Write> Channel<R, W> {
    /// Starts the function and answers requests until there are no more.
    pub(super) fn serve(mut self, start: Result<Start, Failure>) -> End {
        let mut worker = match start.and_then(Worker::start) {
            Ok(worker) => worker,
            Err(failure) => {
                if self.waits_for_ack {
                    // The process ends in any case.
                    let _ = self.answer(&failure.to_json());
                }
                return End::NotStarted(failure);
            }
        };
        if self.waits_for_ack && self.answer(ACKNOWLEDGEMENT).is_err() {
            return End::Done;
        }
        let mut line = Vec::new();
        loop {
            line.clear();
            match self.requests.read_until(b'\n', &mut line) {
                Ok(0) => return End::Done,
                Ok(_) => {}
                Err(error) => return End::Broken(format!("cannot read requests: {error}")),
            }
            let answer = match opened(&line) {
                Ok((argument, context)) => {
                    worker.call(argument, context).unwrap_or_else(|failure| failure.to_json())
                }
                Err(failure) => failure.to_json(),
            };
            flush_logs();
            if let Err(error) = self.answer(&answer) {
                return End::Broken(format!("cannot write the answer: {error}"));
            }
        }
    }

    fn answer(&mut self, json: &[u8]) -> std::io::Result<()> {
        // In one piece, so that nothing comes in between.
        let line = [json, b"\n"].concat();
        self.answers.write_all(&line)?;
        self.answers.flush()
    }
}

/// The argument in a request's envelope, and what else that says of the call.
fn opened(line: &[u8]) -> Result<(&[u8], Context), Failure> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        value: Option<&'a RawValue>,
        activation_id: Option<String>,
        traceparent: Option<String>,
        /// Where OpenWhisk passes the trace context on, if nobody on the way has replaced it.
        transaction_id: Option<String>,
        deadline: Option<String>,
    }
    let envelope: Envelope<'_> = serde_json::from_slice(line).map_err(|error| {
        Failure::new("BadRequest", format!("the request is not valid: {error}"))
    })?;
    let deadline = envelope.deadline.and_then(|text| text.parse().ok());
    let trace = envelope.traceparent.or(envelope.transaction_id);
    let argument = envelope.value.map_or(&b"{}"[..], |value| value.get().as_bytes());
    Ok((argument, Context::new(envelope.activation_id, trace, deadline)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Functions;

    #[derive(serde::Serialize, Deserialize)]
    struct Text {
        text: String,
    }

    fn functions() -> Functions {
        let mut functions = Functions::new();
        functions.add("upper", |Text { text }| {
            if text == "panic" {
                panic!("as asked");
            }
            match text.as_str() {
                "fail" => Err("failed as asked".to_owned()),
                _ => Ok(Text { text: text.to_uppercase() }),
            }
        });
        functions.add_with(
            "broken",
            || Err("no model".to_owned()),
            |(): &mut (), text: Text| Ok(text),
        );
        functions
    }

    fn answers(name: &str, requests: &[u8], waits_for_ack: bool) -> (Vec<String>, End) {
        crate::worker::record_panics();
        let mut answers = Vec::new();
        let channel = Channel { requests, answers: &mut answers, waits_for_ack };
        let end = channel.serve(functions().start_of(name));
        let text = String::from_utf8(answers).unwrap();
        (text.lines().map(str::to_owned).collect(), end)
    }

    #[test]
    fn each_request_has_one_answer() {
        let requests = "{\"value\":{\"text\":\"a\u{2028}b\"},\"activation_id\":\"1\"}\n{\"value\":{\"text\":\"fail\"}}\n\
                        {\"value\":{\"text\":\"panic\"}}\n{\"value\":{}}\n{\"value\":\nnonsense\n{\"value\":{\"text\":\"z\"}}";
        let (answers, end) = answers("upper", requests.as_bytes(), true);
        assert!(matches!(end, End::Done));
        assert_eq!(answers[0], r#"{"ok":true}"#);
        assert_eq!(answers[1], "{\"text\":\"A\u{2028}B\"}");
        assert_eq!(answers[2], r#"{"error":{"name":"String","message":"failed as asked"}}"#);
        assert!(answers[3].starts_with(r#"{"error":{"name":"panic","message":"as asked (at "#));
        assert!(answers[4].contains("missing field `text`"), "{}", answers[4]);
        assert!(answers[5].contains("BadRequest") && answers[6].contains("BadRequest"));
        assert_eq!(answers[7], r#"{"text":"Z"}"#);
        assert_eq!(answers.len(), 8);
    }

    #[test]
    fn a_function_that_does_not_start_says_why_instead_of_its_acknowledgement() {
        let (answers, end) = answers("broken", b"", true);
        assert!(answers[0].contains("no model"), "{}", answers[0]);
        assert!(matches!(end, End::NotStarted(failure) if failure.message == "String: no model"));
    }

    #[test]
    fn an_unknown_name_lists_the_names_that_are_there() {
        let (answers, _) = answers("lower", b"", true);
        assert!(answers[0].contains(r#"no function \"lower\""#), "{}", answers[0]);
        assert!(answers[0].contains(r#"\"broken\", \"upper\""#), "{}", answers[0]);
    }

    proptest! {
        #[test]
        fn a_hostile_line_gets_one_answer_and_ends_nothing(line in "[^\n]{0,80}") {
            let requests = format!("{line}\n{{\"value\":{{\"text\":\"ok\"}}}}\n");
            let (answers, _) = answers("upper", requests.as_bytes(), false);
            prop_assert_eq!(answers.len(), 2);
            prop_assert_eq!(&answers[1], r#"{"text":"OK"}"#);
        }
    }
}
