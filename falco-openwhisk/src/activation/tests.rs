//! Records as the server writes them.

use super::*;

fn judged(json: &str) -> Result<Activation> {
    to_activation(&serde_json::from_str(json).unwrap())
}

fn failure(status: &str, error: &str, more: &str) -> FunctionError {
    let json = format!(
        r#"{{"activationId":"a","start":1,"end":3,"duration":2,"response":{{"result":{{"error":{error}}},
            "success":false,"status":"{status}"}},"annotations":[{{"key":"waitTime","value":1}}{more}]}}"#
    );
    judged(&json).unwrap().outcome.unwrap_err()
}

#[test]
fn a_cold_start_is_reported_and_times_are_in_milliseconds() {
    let activation = judged(
        r#"{"activationId":"a","version":"0.0.7","start":1700000000123,"end":1700000000183,"duration":60,
            "response":{"result":{"greeting":"hi"},"size":19,"status":"success","success":true},"logs":[],
            "annotations":[{"key":"initTime","value":41},{"key":"waitTime","value":512},
            {"key":"limits","value":{"timeout":60000,"memory":256,"logs":10,"concurrency":1}}]}"#,
    )
    .unwrap();
    let ms = Duration::from_millis;
    assert_eq!(activation.outcome.as_ref().unwrap().as_str(), r#"{"greeting":"hi"}"#);
    assert_eq!(activation.started_at, Some(UNIX_EPOCH + ms(1_700_000_000_123)));
    assert_eq!(activation.ended_at, Some(UNIX_EPOCH + ms(1_700_000_000_183)));
    assert_eq!((activation.wait, activation.init), (Some(ms(512)), Some(ms(41))));
    assert_eq!(activation.execution, Some(ms(19)));
    assert_eq!((activation.cold_start, activation.memory_mib), (Some(true), Some(256)));
    assert_eq!(activation.code_version.as_deref(), Some("0.0.7"));
}

#[test]
fn the_servers_words_say_how_a_function_failed() {
    use FunctionErrorKind::*;
    for (status, error, kind) in [
        ("application error", "\"boom\"", Raised),
        ("application error", "null", Raised),
        (
            "application error",
            "\"The action produced a response that exceeded the allowed length: 9 > 1 bytes.\"",
            BadResult,
        ),
        (
            "action developer error",
            "\"The action exceeded its time limits of 100 milliseconds.\"",
            Timeout,
        ),
        (
            "action developer error",
            "\"The action exceeded its time limits of 100 milliseconds during initialization.\"",
            Timeout,
        ),
        (
            "action developer error",
            "\"The action exhausted its memory and was aborted.\"",
            OutOfMemory,
        ),
        (
            "action developer error",
            "\"The action did not initialize and exited unexpectedly.\"",
            Initialization,
        ),
        (
            "action developer error",
            "\"Cannot start action. Check logs for details.\"",
            Initialization,
        ),
        (
            "action developer error",
            "\"The action did not produce a valid JSON or JSON Array response: null\"",
            BadResult,
        ),
        (
            "action developer error",
            "\"The action did not return a dictionary or array.\"",
            BadResult,
        ),
        ("action developer error", "\"command exited\"", Crashed),
        ("action developer error", "\"An error has occurred: Error: boom\"", Raised),
        ("action developer error", "\"something new\"", Unspecified),
    ] {
        assert_eq!(failure(status, error, "").kind, kind, "{error}");
    }
    assert_eq!(
        failure("action developer error", "\"?\"", r#",{"key":"timeout","value":true}"#).kind,
        Timeout
    );
}

#[test]
fn a_rejected_promise_keeps_class_and_stack() {
    let error =
        failure("application error", r#"{"name":"TypeError","message":"no","stack":"at x"}"#, "");
    assert_eq!(error.error_type.as_deref(), Some("TypeError"));
    assert_eq!((error.message.as_str(), error.trace.as_deref()), ("no", Some("at x")));
}

#[test]
fn an_activation_that_was_refused_after_its_acceptance_is_an_error_and_did_not_run() {
    for (text, kind) in [
        ("Too many concurrent requests in flight.", ErrorKind::Throttled),
        ("Activation processing is not initiated for 60000 ms", ErrorKind::Unavailable),
        ("Action could not be found or may have been deleted.", ErrorKind::NotFound),
    ] {
        let error = judged(&format!(
            r#"{{"activationId":"a","start":1,"end":1,"duration":0,"response":{{"result":{{"error":"{text}"}},
                "success":false,"status":"action developer error"}},"annotations":[]}}"#
        ))
        .unwrap_err();
        let retryable = kind != ErrorKind::NotFound;
        let seen = (error.kind(), error.is_retryable(), error.may_have_run());
        assert_eq!(seen, (kind, retryable, false));
    }
}

#[test]
fn an_array_is_not_a_result() {
    let activation = judged(
        r#"{"activationId":"a","start":1,"response":{"result":[1],"status":"success","success":true}}"#,
    );
    assert_eq!(activation.unwrap().outcome.unwrap_err().kind, FunctionErrorKind::BadResult);
}

#[test]
fn log_lines_keep_stream_and_time_where_they_have_them() {
    let line = log_line("2024-01-01T10:00:00.123456789Z stdout:  two words");
    assert_eq!((line.stream, line.text.as_str()), (Some(LogStream::Stdout), " two words"));
    assert_eq!(line.at, Some(UNIX_EPOCH + Duration::from_nanos(1_704_103_200_123_456_789)));
    let line = log_line("2024-01-01T10:00:00.1Z           stderr: x");
    assert_eq!((line.stream, line.text.as_str()), (Some(LogStream::Stderr), "x"));
    let line = log_line("2024-01-01T10:00:00.1Z without a stream");
    assert_eq!(
        (line.at.is_some(), line.stream, line.text.as_str()),
        (true, None, "without a stream")
    );
    let line = log_line("There was an issue while collecting your logs.");
    assert_eq!(
        (line.at, line.text.as_str()),
        (None, "There was an issue while collecting your logs.")
    );
}

/// A record of a function of this kind, with its status and its result.
fn of_kind(kind: &str, status: &str, result: &str) -> Activation {
    let success = status == "success";
    judged(&format!(
        r#"{{"activationId":"a","start":1,"end":3,"duration":2,"response":{{"result":{result},
            "success":{success},"status":"{status}"}},"annotations":[{{"key":"kind","value":"{kind}"}}]}}"#
    ))
    .unwrap()
}

#[test]
fn the_report_of_a_shim_is_read_where_there_is_a_shim_and_kept_as_the_result_where_there_is_none() {
    let ran = r#"{"c":"machine","boot":1700000000000,"rt":"3.11"}"#;
    let result = format!(r#"{{"falco:ran":{ran},"result":{{"n":1}}}}"#);
    for kind in ["python:3", "nodejs:20", "blackbox"] {
        let activation = of_kind(kind, "success", &result);
        assert_eq!(activation.outcome.as_ref().unwrap().as_str(), r#"{"n":1}"#, "{kind}");
        assert_eq!(activation.container.as_deref(), Some("machine"));
        assert_eq!(activation.attribute("runtime"), Some("3.11"));
        assert_eq!(activation.booted_at, Some(UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
    }
    let activation = of_kind("ruby:2.5", "success", &result);
    assert_eq!(activation.outcome.as_ref().unwrap().as_str(), result);
    assert_eq!((activation.container.as_ref(), activation.booted_at), (None, None));
    let plain = of_kind("python:3", "success", r#"{"n":1}"#);
    assert_eq!(plain.outcome.unwrap().as_str(), r#"{"n":1}"#);
}

#[test]
fn an_error_of_a_function_without_a_shim_is_not_read_as_that_of_a_shim() {
    let result = r#"{"error":{"kind":"out_of_memory","message":"own words"}}"#;
    let kind = |kind| of_kind(kind, "application error", result).outcome.unwrap_err().kind;
    assert_eq!(kind("python:3"), FunctionErrorKind::OutOfMemory);
    assert_eq!(kind("ruby:2.5"), FunctionErrorKind::Raised);
}

#[test]
fn words_of_a_refusal_in_an_activation_that_ran_are_those_of_the_function() {
    let words = "Too many concurrent requests in flight.";
    let outcome = |times: &str, annotations: &str| {
        judged(&format!(
            r#"{{"activationId":"a","start":5,{times},"response":{{"result":{{"error":"{words}"}},
                "success":false,"status":"application error"}},"annotations":[{annotations}]}}"#
        ))
    };
    let waited = r#"{"key":"waitTime","value":1}"#;
    let timed = r#"{"key":"timeout","value":false}"#;
    for (times, annotations, is_refused) in [
        (r#""end":5,"duration":0"#, "", true),
        (r#""end":7,"duration":0"#, "", true),
        (r#""end":5"#, "", true),
        (r#""end":7,"duration":2"#, "", false),
        (r#""end":5,"duration":0"#, waited, false),
        (r#""end":5,"duration":0"#, timed, false),
    ] {
        let refused = outcome(times, annotations).is_err();
        assert_eq!(refused, is_refused, "{times}, {annotations}");
    }
}

#[test]
fn the_servers_note_that_a_log_was_cut_is_recognized() {
    let note = "Logs were truncated because the total bytes size exceeds the limit of 10 bytes.";
    assert!(says_truncated(&log_line(note)));
    assert!(!says_truncated(&log_line("2024-01-01T10:00:00.1Z stdout: text")));
}
