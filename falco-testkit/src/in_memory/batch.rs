//! The work of a shim on a batch of inputs, in memory.

use std::time::Duration;

use falco_core::{FunctionErrorKind, Invocation, LogLine, LogStream, Payload};
use serde_json::{Value, json};

use super::function::Reply;

/// Runs an invocation by `call`, and a batch by calls for each of its inputs.
pub(super) fn run(
    invocation: &Invocation,
    timeout: Option<Duration>,
    call: impl Fn(&Invocation) -> Reply,
) -> Reply {
    let members = invocation.members();
    if members.is_empty() {
        return call(invocation);
    }
    let argument: Value = invocation.payload().parse().unwrap_or_default();
    let (inputs, limits) = (&argument["falco:batch"], &argument["falco:limits"]);
    let until = Duration::from_millis(limits["ms"].as_u64().unwrap_or_default());
    let room = limits["bytes"].as_u64().unwrap_or_default();
    let mark = limits["mark"].as_str().unwrap_or_default();
    let mut whole = Reply::succeeded(Payload::empty());
    let mut answers: Vec<Value> = Vec::new();
    let mut length = 0;
    for (index, member) in members.iter().enumerate() {
        if index > 0 && (whole.execution > until || length > room / 2) {
            break;
        }
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let mark = LogLine::new(format!("falco:input {mark} {index}"));
            whole.log.push(mark.with_stream(stream));
        }
        // As it came through, which a layer may have changed.
        let input = Payload::json(&inputs[index]).unwrap_or_default();
        let reply = call(&member.clone().with_payload(input));
        whole.execution += reply.execution;
        whole.log.extend(reply.log);
        if timeout.is_some_and(|timeout| whole.execution > timeout) {
            return whole;
        }
        let ms = reply.execution.as_secs_f64() * 1000.0;
        let answer = match reply.outcome {
            Ok(result) => json!({ "ok": result, "ms": ms }),
            Err(error) if ends_the_process(error.kind) => {
                whole.outcome = Err(error);
                return whole;
            }
            Err(error) => {
                let (message, kind) = (error.message, error.kind);
                let failed = json!({ "kind": kind, "message": message, "type": error.error_type });
                json!({ "error": failed, "ms": ms })
            }
        };
        let size = answer.to_string().len() as u64;
        if index > 0 && length + size > room {
            answers.push(json!({ "no_room": true }));
            break;
        }
        length += size + 1;
        answers.push(answer);
    }
    answers.resize(members.len(), Value::Null);
    let result = Payload::json(&json!({ "falco:batch": answers }));
    whole.outcome = Ok(result.unwrap_or_default());
    whole
}

fn ends_the_process(kind: FunctionErrorKind) -> bool {
    use FunctionErrorKind::{Crashed, OutOfMemory, Timeout, Unspecified};
    matches!(kind, Crashed | OutOfMemory | Timeout | Unspecified)
}
