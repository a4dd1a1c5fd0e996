//! An argument that holds those of several inputs: the function is called for each, and each has its own answer.
//!
//! falco-executors has the other side of it, and Falco's shims for other languages do the same.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use memchr::memmem;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::failure::{BAD_RESULT, Failure};

const BATCH: &str = "falco:batch";
const LIMITS: &str = "falco:limits";

/// The arguments of several inputs, and the limits of their batch.
pub(crate) struct Batch<'a> {
    inputs: Vec<&'a RawValue>,
    limits: Limits,
    /// Fields that a platform has put beside the inputs: they belong to each of them.
    shared: BTreeMap<String, &'a RawValue>,
}

#[derive(Deserialize)]
struct Limits {
    /// When this has passed, no further input begins.
    ms: u64,
    /// The longest result of all.
    bytes: u64,
    mark: String,
}

#[derive(Serialize)]
struct Failed<'a> {
    kind: &'a str,
    message: &'a str,
    #[serde(rename = "type")]
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
}

impl<'a> Batch<'a> {
    /// Reads an argument; `None` when it is that of one input.
    pub(crate) fn of(argument: &'a [u8]) -> Option<Self> {
        memmem::find(argument, b"\"falco:limits\"")?;
        let mut fields: BTreeMap<String, &RawValue> = serde_json::from_slice(argument).ok()?;
        let inputs = serde_json::from_str(fields.remove(BATCH)?.get()).ok()?;
        let limits = serde_json::from_str(fields.remove(LIMITS)?.get()).ok()?;
        fields.retain(|name, _| !name.starts_with("falco:"));
        Some(Self { inputs, limits, shared: fields })
    }

    /// Calls the function for each input until the time or the room is used up.
    pub(crate) fn answer(
        &self,
        mut call: impl FnMut(&[u8]) -> Result<Vec<u8>, Failure>,
    ) -> Vec<u8> {
        let until = Instant::now() + Duration::from_millis(self.limits.ms);
        let room = usize::try_from(self.limits.bytes).unwrap_or(usize::MAX);
        let mut result = format!("{{\"{BATCH}\":[").into_bytes();
        let opened = result.len();
        let mut answered = 0;
        for (index, input) in self.inputs.iter().enumerate() {
            let used = result.len() - opened;
            // A result of up to half of the room always fits.
            if index > 0 && (Instant::now() > until || used > room / 2) {
                break;
            }
            self.mark(index);
            let began = Instant::now();
            let outcome = call(&self.argument(input));
            let mut line = line(outcome, began.elapsed());
            if used + line.len() > room {
                if index > 0 {
                    push(&mut result, index, b"{\"no_room\":true}");
                    answered = index + 1;
                    break;
                }
                let message =
                    format!("the result has {} bytes, and {room} are allowed", line.len());
                line = self::line(Err(Failure::new(BAD_RESULT, message)), began.elapsed());
            }
            push(&mut result, index, &line);
            answered = index + 1;
        }
        for index in answered..self.inputs.len() {
            push(&mut result, index, b"null");
        }
        result.extend_from_slice(b"]}");
        result
    }

    fn argument(&self, input: &'a RawValue) -> Cow<'a, [u8]> {
        let text = input.get();
        if self.shared.is_empty() {
            return Cow::Borrowed(text.as_bytes());
        }
        let Ok(own) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) else {
            return Cow::Borrowed(text.as_bytes());
        };
        let mut all = self.shared.clone();
        all.extend(own);
        serde_json::to_vec(&all).map_or(Cow::Borrowed(text.as_bytes()), Cow::Owned)
    }

    /// Says in both logs where the output of an input begins.
    fn mark(&self, index: usize) {
        let line = format!("falco:input {} {index}\n", self.limits.mark);
        // The function may have closed them.
        let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        let _ = err.write_all(line.as_bytes());
    }
}

fn push(result: &mut Vec<u8>, index: usize, answer: &[u8]) {
    if index > 0 {
        result.push(b',');
    }
    result.extend_from_slice(answer);
}

/// The answer for one input, in the form of the shims for other languages.
fn line(outcome: Result<Vec<u8>, Failure>, took: Duration) -> Vec<u8> {
    let (name, content) = match outcome {
        Ok(result) => ("ok", result),
        Err(Failure { name, message, stack }) => {
            let kind = if name == BAD_RESULT { "bad_result" } else { "raised" };
            let failed = Failed { kind, message: &message, name: &name, trace: stack.as_deref() };
            // Texts always have a JSON form.
            ("error", serde_json::to_vec(&failed).unwrap_or_default())
        }
    };
    let ms = took.as_secs_f64() * 1000.0;
    let mut line = format!("{{\"{name}\":").into_bytes();
    line.extend_from_slice(&content);
    line.extend_from_slice(format!(",\"ms\":{ms:.3}}}").as_bytes());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(argument: &str) -> Vec<serde_json::Value> {
        let batch = Batch::of(argument.as_bytes()).unwrap();
        let result = batch.answer(|input| match std::str::from_utf8(input).unwrap() {
            "{\"fail\":1}" => Err(Failure::new("E", "as asked")),
            text => Ok(text.as_bytes().to_vec()),
        });
        let mut result: serde_json::Value = serde_json::from_slice(&result).unwrap();
        result[BATCH].as_array_mut().unwrap().drain(..).collect()
    }

    #[test]
    fn each_input_has_its_own_answer() {
        let argument = r#"{"falco:batch":[{"a":1},{"fail":1},{"a":2}],"falco:limits":{"ms":9000,"bytes":9000,"mark":"00000000"}}"#;
        let answers = answers(argument);
        assert_eq!(answers[0]["ok"]["a"], 1);
        assert_eq!(
            (&answers[1]["error"]["type"], &answers[1]["error"]["kind"]),
            (&"E".into(), &"raised".into())
        );
        assert_eq!(answers[2]["ok"]["a"], 2);
    }

    #[test]
    fn what_stands_beside_the_inputs_belongs_to_each_and_the_input_wins() {
        let argument = r#"{"falco:batch":[{"a":1},{}],"falco:limits":{"ms":9000,"bytes":9000,"mark":"00000000"},"a":7,"b":8}"#;
        let answers = answers(argument);
        assert_eq!((&answers[0]["ok"]["a"], &answers[0]["ok"]["b"]), (&1.into(), &8.into()));
        assert_eq!(answers[1]["ok"]["a"], 7);
    }

    #[test]
    fn it_ends_early_when_time_or_room_is_used_up_but_not_before_the_first_input() {
        let late = r#"{"falco:batch":[{"a":1},{"a":2}],"falco:limits":{"ms":0,"bytes":9000,"mark":"00000000"}}"#;
        let answered = answers(late);
        assert!(answered[0]["ok"].is_object() && answered[1].is_null());
        let small = r#"{"falco:batch":[{"a":1},{"a":"0123456789012345678901234567890123456789"},{"a":3}],"falco:limits":{"ms":9000,"bytes":60,"mark":"00000000"}}"#;
        let answered = answers(small);
        assert_eq!(answered[1]["no_room"], true);
        assert!(answered[2].is_null());
        let tiny =
            r#"{"falco:batch":[{"a":1}],"falco:limits":{"ms":9000,"bytes":5,"mark":"00000000"}}"#;
        assert_eq!(answers(tiny)[0]["error"]["kind"], "bad_result");
    }

    #[test]
    fn an_argument_that_only_mentions_batches_is_that_of_one_input() {
        for argument in
            ["{}", r#"{"falco:batch":1}"#, r#"{"a":"\"falco:limits\""}"#, r#"{"falco:limits":{}}"#]
        {
            assert!(Batch::of(argument.as_bytes()).is_none(), "{argument}");
        }
    }
}
