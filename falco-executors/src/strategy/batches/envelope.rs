//! The text of a batch: one argument that holds those of its inputs, and one result that holds their answers.
//!
//! Falco's shims are the other side of it: `falco_shim.py`, `falco_shim.cjs` and falco-function.

use std::time::Duration;

use falco_core::{FunctionError, FunctionErrorKind, Invocation, Payload, Result};
use serde::Deserialize;
use serde_json::value::RawValue;

const OPEN: &str = "{\"falco:batch\":[";
/// The most bytes around the arguments.
pub(super) const AROUND: usize = OPEN.len() + 128;

/// The limits that a shim keeps while it works off a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// When this has passed, it begins with no further input.
    pub(super) time: Duration,
    /// The longest result of all, in bytes.
    pub(super) bytes: u64,
}

/// The argument of a batch. Before each input the function's log gets a line with `mark` and the input's index.
pub(super) fn argument(members: &[Invocation], limits: Limits, mark: &str) -> Result<Payload> {
    let length: usize = members.iter().map(|member| member.payload().len() + 1).sum();
    let mut text = String::with_capacity(length + AROUND);
    text.push_str(OPEN);
    for (index, member) in members.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(member.payload().as_str());
    }
    let Limits { time, bytes } = limits;
    let ms = time.as_millis();
    text.push_str(&format!(
        "],\"falco:limits\":{{\"ms\":{ms},\"bytes\":{bytes},\"mark\":\"{mark}\"}}}}"
    ));
    Payload::from_bytes(text)
}

/// The answer of one input.
#[derive(Debug)]
pub(super) enum Answer {
    /// It ran.
    Ran { outcome: Result<Payload, FunctionError>, took: Duration },
    /// It ran, and its answer did not fit beside the others.
    NoRoom,
    /// It did not run: the time was up.
    NotRun,
}

/// Reads the result of a batch of `inputs`; `None` when a function that knows no batches has made it.
pub(super) fn answers(result: &Payload, inputs: usize) -> Option<Vec<Answer>> {
    #[derive(Deserialize)]
    struct Batch<'a> {
        #[serde(rename = "falco:batch", borrow)]
        answers: Vec<&'a RawValue>,
    }

    let Batch { answers } = serde_json::from_str(result.as_str()).ok()?;
    let read: Option<Vec<Answer>> = answers.iter().map(|text| answer(text.get())).collect();
    read.filter(|answers| answers.len() == inputs)
}

/// How many answers the result of a batch holds.
pub(super) fn count(result: &Payload) -> Option<usize> {
    #[derive(Deserialize)]
    struct Batch {
        #[serde(rename = "falco:batch")]
        answers: Vec<serde::de::IgnoredAny>,
    }

    serde_json::from_str::<Batch>(result.as_str()).ok().map(|batch| batch.answers.len())
}

fn answer(text: &str) -> Option<Answer> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        ok: Option<&'a RawValue>,
        error: Option<Failure>,
        #[serde(default)]
        ms: f64,
        #[serde(default)]
        no_room: bool,
    }

    #[derive(Deserialize)]
    struct Failure {
        kind: FunctionErrorKind,
        message: String,
        #[serde(rename = "type")]
        error_type: Option<String>,
        trace: Option<String>,
    }

    if text == "null" {
        return Some(Answer::NotRun);
    }
    let Line { ok, error, ms, no_room } = serde_json::from_str(text).ok()?;
    let took = Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default();
    let outcome = match (ok, error) {
        (Some(result), None) => Ok(Payload::from_bytes(result.get().to_owned()).ok()?),
        (None, Some(Failure { kind, message, error_type, trace })) => {
            let mut error = FunctionError::new(kind, message);
            (error.error_type, error.trace) = (error_type, trace);
            Err(error)
        }
        _ => return no_room.then_some(Answer::NoRoom),
    };
    Some(Answer::Ran { outcome, took })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_holds_its_inputs_as_they_are() {
        let member = |json: &str| {
            Invocation::new("r", "s", "0", Payload::from_bytes(json.to_owned()).unwrap())
        };
        let limits = Limits { time: Duration::from_secs(15), bytes: u64::MAX };
        let members = [member("{\"a\":1.50}"), member("{}")];
        let payload = argument(&members, limits, "12345678").unwrap();
        let arguments: usize = members.iter().map(|member| member.payload().len() + 1).sum();
        assert!(payload.len() <= arguments + AROUND);
        assert_eq!(
            payload.as_str(),
            "{\"falco:batch\":[{\"a\":1.50},{}],\"falco:limits\":{\"ms\":15000,\"bytes\":18446744073709551615,\"mark\":\"12345678\"}}"
        );
    }

    #[test]
    fn answers_are_read_one_by_one_and_what_no_shim_has_written_is_not_an_answer() {
        let read =
            |json: &str, inputs| answers(&Payload::from_bytes(json.to_owned()).unwrap(), inputs);
        let json = r#"{"falco:batch":[{"ok":{"n":1},"ms":0.25},{"error":{"kind":"raised","message":"no","type":"E"},"ms":1},{"no_room":true},null]}"#;
        let answers = read(json, 4).unwrap();
        assert!(matches!(&answers[0], Answer::Ran { outcome: Ok(result), took }
            if result.as_str() == "{\"n\":1}" && *took == Duration::from_micros(250)));
        assert!(matches!(&answers[1], Answer::Ran { outcome: Err(error), .. }
            if error.error_type.as_deref() == Some("E")));
        assert!(matches!(answers[2..], [Answer::NoRoom, Answer::NotRun]));
        for wrong in ["{}", "{\"falco:batch\":1}", "{\"falco:batch\":[{}]}", "{\"falco:batch\":[]}"]
        {
            assert!(read(wrong, 1).is_none(), "{wrong}");
        }
    }
}
