//! OpenWhisk's action interface: `POST /init` with the code, then `POST /run` for each activation.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use falco_core::{Deployable, FunctionError, FunctionErrorKind, Payload};
use falco_package::{Archive, native, openwhisk, shim};
use falco_workers::Job;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

/// The path that takes the code.
pub(crate) const INIT: &str = "/init";

/// The path that takes an activation.
pub(crate) const RUN: &str = "/run";

/// The folder into which the runtimes of OpenWhisk unpack the code; it has to be writable.
pub(crate) const FOLDER: &str = "/action";

/// The body of `/init`: the code, if there is any beside the image, and the function's variables, which its process gets.
pub(crate) fn init(function: &Deployable, code: Option<&Archive>) -> falco_core::Result<Vec<u8>> {
    let main = match (function.runtime.family(), code) {
        ("python" | "nodejs", Some(_)) => openwhisk::MAIN,
        _ => function.entry_point_or_main(),
    };
    let (code, binary) = match code {
        Some(archive) => (BASE64.encode(archive.to_zip()?), true),
        None => (String::new(), false),
    };
    let env: serde_json::Map<_, _> =
        function.env.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let value = json!({
        "name": function.name, "main": main, "code": code, "binary": binary, "env": env,
    });
    Ok(json!({"value": value}).to_string().into_bytes())
}

/// The body of `/run`.
pub(crate) fn run(job: &Job, name: &str, left: Duration) -> Bytes {
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + left;
    // Names, ids and trace contexts hold letters, digits, '-' and '_' only: there is nothing to escape. The transport reads
    // the trace context out of the transaction's id, as on OpenWhisk.
    let head = format!(
        "{{\"namespace\":\"_\",\"action_name\":\"/_/{name}\",\"api_host\":\"\",\"api_key\":\"\",\
         \"activation_id\":\"{}\",\"transaction_id\":\"{}\",\"deadline\":\"{}\",\"value\":",
        job.id,
        job.trace,
        deadline.as_millis()
    );
    [head.as_bytes(), job.payload.as_str().as_bytes(), b"}"].concat().into()
}

/// The error of an answer to `/init`; none where the code was taken.
pub(crate) fn refused(status: StatusCode, body: &Bytes) -> Option<FunctionError> {
    if status == StatusCode::OK {
        return None;
    }
    let mut error = failure_of(body);
    error.kind = FunctionErrorKind::Initialization;
    Some(error)
}

/// The outcome of an answer to `/run`.
pub(crate) fn outcome(
    status: StatusCode,
    body: Bytes,
    has_shim: bool,
) -> Result<Payload, FunctionError> {
    if status != StatusCode::OK {
        return Err(failure_of(&body));
    }
    if has_shim {
        if let Ok(Wrapped { result, .. }) = serde_json::from_slice(&body) {
            return native::outcome(body.slice_ref(result.get().as_bytes()));
        }
        if let Ok(Failed { error }) = serde_json::from_slice(&body)
            && let Some(error) = shim::failure(error.get().as_bytes())
        {
            return Err(error);
        }
    }
    native::outcome(body)
}

/// A result as Falco's transport wraps it, unless it is long.
#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(rename = "falco:ran", borrow)]
    _ran: &'a RawValue,
    #[serde(borrow)]
    result: &'a RawValue,
}

#[derive(Deserialize)]
struct Failed<'a> {
    #[serde(borrow)]
    error: &'a RawValue,
}

/// The words of a runtime about a function that did not answer as it should.
fn failure_of(body: &Bytes) -> FunctionError {
    use FunctionErrorKind::{BadResult, Crashed, Initialization, Raised, Unspecified};
    let said = serde_json::from_slice::<Failed<'_>>(body)
        .ok()
        .and_then(|failed| serde_json::from_str::<String>(failed.error.get()).ok());
    let text = said.unwrap_or_else(|| String::from_utf8_lossy(body).chars().take(300).collect());
    // Node's runtime says so of what the function threw.
    if let Some(thrown) = text.strip_prefix("An error has occurred: ") {
        return FunctionError::new(Raised, thrown);
    }
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let kind = match () {
        () if says(&["Cannot start action", "generate or locate a binary", "nitialization"]) => {
            Initialization
        }
        () if says(&["valid JSON", "did not return a dictionary"]) => BadResult,
        () if says(&["exited unexpectedly", "command exited"]) => Crashed,
        () => Unspecified,
    };
    let text =
        if kind == BadResult { format!("the result is not a JSON object: {text}") } else { text };
    FunctionError::new(kind, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str, has_shim: bool) -> Result<Payload, FunctionError> {
        outcome(StatusCode::from_u16(status).unwrap(), body.to_owned().into(), has_shim)
    }

    #[test]
    fn the_result_of_a_shim_comes_out_of_what_stands_around_it() {
        let wrapped = r#"{"falco:ran":{"boot":1},"result":{"n": 1.50}}"#;
        assert_eq!(said(200, wrapped, true).unwrap().as_str(), r#"{"n": 1.50}"#);
        // A long one is not wrapped, and an image of the user's may use the same words.
        assert_eq!(said(200, r#"{"n":1}"#, true).unwrap().as_str(), r#"{"n":1}"#);
        assert_eq!(said(200, wrapped, false).unwrap().as_str(), wrapped);
        let failed = r#"{"error":{"kind":"bad_result","message":"m","type":"T","ran":{}}}"#;
        let error = said(200, failed, true).unwrap_err();
        assert_eq!((error.kind, &*error.message), (FunctionErrorKind::BadResult, "m"));
    }

    #[test]
    fn words_of_a_runtime_say_how_a_function_failed() {
        use FunctionErrorKind as Kind;
        for (text, kind) in [
            ("The action did not produce a valid JSON or JSON Array response: x", Kind::BadResult),
            ("The action did not return a dictionary or array.", Kind::BadResult),
            ("command exited", Kind::Crashed),
            ("An error has occurred: Error: boom", Kind::Raised),
            ("something else", Kind::Unspecified),
        ] {
            let error = said(502, &json!({"error": text}).to_string(), true).unwrap_err();
            assert_eq!(error.kind, kind, "{text}");
        }
        assert_eq!(said(502, "no json", true).unwrap_err().message, "no json");
        let error =
            refused(StatusCode::BAD_GATEWAY, &r#"{"error":"Cannot start"}"#.into()).unwrap();
        assert_eq!(error.kind, Kind::Initialization);
        assert!(refused(StatusCode::OK, &"{}".into()).is_none());
    }
}
