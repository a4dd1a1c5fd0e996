//! The emulator in AWS's images, which runs a function as Lambda does.

use bytes::Bytes;
use falco_core::{FunctionError, FunctionErrorKind, Payload};
use falco_package::lambda::exit_status;
use falco_package::native;
use falco_workers::Job;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The one path that the emulator has.
pub(crate) const INVOCATIONS: &str = "/2015-03-31/functions/function/invocations";

/// A path that the emulator does not have: to be answered at all shows that it listens.
pub(crate) const READY: &str = "/falco/ready";

/// The folder of a function's files.
pub(crate) const TASK_ROOT: &str = "/var/task";

/// The event of a call. Falco's handlers take the trace context off it.
pub(crate) fn event(job: &Job, has_handler: bool) -> Bytes {
    let payload = job.payload.as_str();
    if !has_handler {
        return Bytes::copy_from_slice(payload.as_bytes());
    }
    format!("{{\"falco:tp\":\"{}\",\"falco:args\":{payload}}}", job.trace).into()
}

/// The outcome of an answer. The emulator says by no status that a function failed; some versions do by a header.
pub(crate) fn outcome(
    status: StatusCode,
    has_failed: bool,
    body: Bytes,
    has_handler: bool,
) -> Result<Payload, FunctionError> {
    if let Ok(Measured { result, .. }) = serde_json::from_slice(&body) {
        return native::outcome(body.slice_ref(result.get().as_bytes()));
    }
    // What an executable has written may not be JSON.
    if has_handler && body.starts_with(BEFORE_MEASURED) {
        return native::outcome(body);
    }
    let error = serde_json::from_slice::<Value>(&body).ok().filter(|value| {
        // Falco's handlers never answer with anything else; other functions may, but not with these two.
        has_failed
            || has_handler
            || (value["errorMessage"].is_string() && value["errorType"].is_string())
    });
    if let Some(error) = error.filter(Value::is_object) {
        return Err(failure(&error));
    }
    if status != StatusCode::OK || has_failed || has_handler {
        let text: String = String::from_utf8_lossy(&body).chars().take(300).collect();
        return Err(failure_of_words(text));
    }
    native::outcome(body)
}

/// The start of an answer with a result, as the bootstrap for executables writes it.
const BEFORE_MEASURED: &[u8] = b"{\"falco:ran\":";

/// A result as Falco's handlers wrap it.
#[derive(Deserialize)]
struct Measured<'a> {
    #[serde(rename = "falco:ran", borrow)]
    _ran: &'a RawValue,
    #[serde(borrow)]
    result: &'a RawValue,
}

/// The end of an error's message by which Falco's handlers say of what kind it is.
const MARK: &str = " [falco:ran ";

/// The types that Falco's handlers give to errors that have none.
const OWN_TYPES: [&str; 4] =
    ["FalcoInitialization", "FalcoRaised", "FalcoBadResult", "FalcoUnspecified"];

fn failure(error: &Value) -> FunctionError {
    #[derive(Deserialize)]
    struct Ran {
        kind: FunctionErrorKind,
    }
    let text = |name: &str| error[name].as_str().unwrap_or_default();
    let (error_type, whole) = (text("errorType"), text("errorMessage"));
    let split = whole.strip_suffix(']').and_then(|rest| rest.rsplit_once(MARK));
    let said = split.and_then(|(own, ran)| Some((own, serde_json::from_str::<Ran>(ran).ok()?)));
    let mut failure = match said {
        Some((own, ran)) => FunctionError::new(ran.kind, own),
        None if error_type == OWN_TYPES[0] && whole.starts_with('{') => {
            // The bootstrap passes on the line with which an executable refuses to start.
            match native::acknowledged(whole.as_bytes()) {
                Err(refusal) => return refusal,
                Ok(_) => FunctionError::new(FunctionErrorKind::Initialization, whole),
            }
        }
        None => {
            let kind = kind_of(error_type, whole);
            FunctionError::new(kind, whole)
        }
    };
    if failure.kind == FunctionErrorKind::Crashed {
        failure.exit_status = exit_status(whole);
    }
    if !error_type.is_empty() && !OWN_TYPES.contains(&error_type) {
        failure.error_type = Some(error_type.to_owned());
    }
    // Python's runtime calls it `stackTrace`, Node's `trace`.
    let trace = ["stackTrace", "trace"].into_iter().find_map(|name| error[name].as_array());
    let lines: Vec<&str> = trace.into_iter().flatten().filter_map(Value::as_str).collect();
    if !lines.is_empty() {
        let end = if lines.iter().all(|line| line.ends_with('\n')) { "" } else { "\n" };
        failure.trace = Some(lines.join(end));
    }
    failure
}

fn kind_of(error_type: &str, message: &str) -> FunctionErrorKind {
    use FunctionErrorKind as Kind;
    match error_type {
        "FalcoInitialization" => Kind::Initialization,
        "FalcoRaised" => Kind::Raised,
        "FalcoBadResult" | "Runtime.MarshalError" | "Function.ResponseSizeTooLarge" => {
            Kind::BadResult
        }
        "Runtime.ImportModuleError"
        | "Runtime.UserCodeSyntaxError"
        | "Runtime.HandlerNotFound"
        | "Runtime.MalformedHandlerName"
        | "Runtime.InvalidEntrypoint" => Kind::Initialization,
        _ if message.contains("Task timed out after") => Kind::Timeout,
        "Runtime.ExitError" => Kind::Crashed,
        _ if error_type.starts_with("Runtime.") => Kind::Crashed,
        "" => Kind::Unspecified,
        _ => Kind::Raised,
    }
}

fn failure_of_words(text: String) -> FunctionError {
    let kind = if text.contains("Task timed out after") {
        FunctionErrorKind::Timeout
    } else {
        FunctionErrorKind::Unspecified
    };
    FunctionError::new(kind, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: &str, has_handler: bool) -> Result<Payload, FunctionError> {
        outcome(StatusCode::OK, false, body.to_owned().into(), has_handler)
    }

    #[test]
    fn the_result_of_a_handler_comes_out_of_what_stands_around_it() {
        let body = r#"{"falco:ran": {"ms": 1}, "result": {"errorMessage": "x", "errorType": "y"}}"#;
        let result = said(body, true).unwrap();
        assert_eq!(result.as_str(), r#"{"errorMessage": "x", "errorType": "y"}"#);
        let broken =
            said(r#"{"falco:ran":{"ms":1},"result":Segmentation fault}"#, true).unwrap_err();
        assert!(broken.kind == FunctionErrorKind::BadResult && broken.message.contains("JSON"));
        assert_eq!(said(r#"{"n":1}"#, false).unwrap().as_str(), r#"{"n":1}"#);
        let message = r#"{"errorMessage":"only a message"}"#;
        assert_eq!(said(message, false).unwrap().as_str(), message);
    }

    #[test]
    fn each_way_of_failing_is_distinguished() {
        use FunctionErrorKind as Kind;
        let marked = r#"m [falco:ran {\"ms\": 1, \"kind\": \"bad_result\"}]"#;
        for (error_type, message, kind, shown) in [
            ("FalcoBadResult", marked, Kind::BadResult, "m"),
            ("ValueError", "boom", Kind::Raised, "boom"),
            ("Runtime.ExitError", "exit status 3", Kind::Crashed, "exit status 3"),
            ("Runtime.ImportModuleError", "no", Kind::Initialization, "no"),
        ] {
            let body = format!(r#"{{"errorType":"{error_type}","errorMessage":"{message}"}}"#);
            let error = said(&body, false).unwrap_err();
            assert_eq!((error.kind, &*error.message), (kind, shown), "{body}");
        }
        let exited = r#"{"errorType":"Runtime.ExitError","errorMessage":"error: exit status 3"}"#;
        assert_eq!(said(exited, true).unwrap_err().exit_status, Some(3));
        assert_eq!(
            said("Task timed out after 3.00 seconds", true).unwrap_err().kind,
            Kind::Timeout
        );
        let trace = r#"{"errorType":"E","errorMessage":"m","stackTrace":["a\n","b\n"]}"#;
        assert_eq!(said(trace, false).unwrap_err().trace.as_deref(), Some("a\nb\n"));
    }
}
