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

/// Set by platforms that get logs and answers in two streams without a common order.
const MARK_LOGS: &str = "FALCO_MARK_LOGS";

/// The end of the log of the start or of a call, on standard error.
const LOG_MARK: &[u8] = b"\0falco:end\n";

const ACKNOWLEDGEMENT: &[u8] = br#"{"ok":true}"#;
const ACKNOWLEDGEMENT_WITH_MARKS: &[u8] = br#"{"ok":true,"marks_logs":true}"#;

/// Where requests come from and answers go.
pub(super) struct Channel<R, W> {
    requests: R,
    answers: W,
    waits_for_ack: bool,
    /// Where the end of each call's log is marked, if the platform asks for marks.
    marks: Option<Box<dyn Write>>,
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
        let marks = env::var_os(MARK_LOGS).map(|_| Box::new(std::io::stderr()) as Box<dyn Write>);
        Some(Self { requests: BufReader::new(requests), answers, waits_for_ack, marks })
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
                    self.end_log();
                    let _ = self.answer(&failure.to_json());
                }
                return End::NotStarted(failure);
            }
        };
        if self.waits_for_ack {
            self.end_log();
            let marked = self.marks.is_some();
            let line = if marked { ACKNOWLEDGEMENT_WITH_MARKS } else { ACKNOWLEDGEMENT };
            if self.answer(line).is_err() {
                return End::Done;
            }
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
            self.end_log();
            if let Err(error) = self.answer(&answer) {
                return End::Broken(format!("cannot write the answer: {error}"));
            }
        }
    }

    /// Ends the log of what is answered next.
    fn end_log(&mut self) {
        flush_logs();
        if let Some(marks) = &mut self.marks {
            // The function may have closed the stream: its log has ended then, too.
            let _ = marks.write_all(LOG_MARK).and_then(|()| marks.flush());
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
    use std::cell::RefCell;
    use std::rc::Rc;

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
        let channel = Channel { requests, answers: &mut answers, waits_for_ack, marks: None };
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
    fn the_end_of_a_log_is_marked_before_each_answer_where_the_platform_asks_for_it() {
        /// Answers and marks, in the order in which they are written.
        #[derive(Clone, Default)]
        struct Written(Rc<RefCell<Vec<u8>>>);

        impl Write for Written {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.borrow_mut().write(bytes)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }

        let written = Written::default();
        let requests = &b"{\"value\":{\"text\":\"a\"}}\n{\"value\":{\"text\":\"fail\"}}\n"[..];
        let marks: Option<Box<dyn Write>> = Some(Box::new(written.clone()));
        let channel = Channel { requests, answers: written.clone(), waits_for_ack: true, marks };
        channel.serve(functions().start_of("upper"));
        let text = String::from_utf8(written.0.take()).unwrap();
        let parts: Vec<_> = text.split("\0falco:end\n").collect();
        assert_eq!(parts[..3], ["", "{\"ok\":true,\"marks_logs\":true}\n", "{\"text\":\"A\"}\n"]);
        assert!(parts[3].contains("failed as asked"), "{parts:?}");
        assert_eq!(parts.len(), 4);
    }

    #[cfg(feature = "driver")]
    #[test]
    fn the_mark_and_its_variable_are_those_that_platforms_know() {
        assert_eq!(LOG_MARK, falco_package::shim::LOG_MARK);
        assert_eq!(MARK_LOGS, falco_package::native::MARK_LOGS_VARIABLE);
        assert!(
            falco_package::native::acknowledged(ACKNOWLEDGEMENT_WITH_MARKS).unwrap().marks_logs
        );
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
