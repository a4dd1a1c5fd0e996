//! The requests that workers are sent, and the errors of those that did not answer, start or fit.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use falco_core::{Error, ErrorKind, FunctionError, FunctionErrorKind, Payload, Result};

use crate::job::Job;
use crate::log::Capture;

/// How much longer than the result the line of a shim may be, in bytes.
pub const AROUND_RESULT: usize = 64;

/// The beginning of a request with a number, up to the number.
pub const NUMBER: &str = "{\"n\":";

/// Longest line that a shim may send while it starts, in bytes: it may hold a traceback.
pub const MAX_START_LINE: usize = 1024 * 1024;

/// Statuses with which a shell says that it cannot start a program.
const NOT_STARTED: [i32; 2] = [126, 127];

/// Whether a process ended with a status by which a shell says that it cannot start a program.
pub fn is_not_started(status: Option<i32>) -> bool {
    status.is_some_and(|status| NOT_STARTED.contains(&status))
}

/// The error of a process that has ended because its executable cannot be started: `crash`, which says how it ended.
pub fn not_started(mut crash: FunctionError) -> FunctionError {
    crash.kind = FunctionErrorKind::Initialization;
    crash.message = "the executable cannot be started".into();
    crash
}

/// The error of a process that has ended while it loaded the function's code: `crash`, which says how it ended.
pub fn while_loading(mut crash: FunctionError) -> FunctionError {
    crash.message = format!("while the code was loaded, {}", crash.message);
    if crash.kind == FunctionErrorKind::Crashed {
        crash.kind = FunctionErrorKind::Initialization;
    }
    crash
}

/// The error of a worker that took longer than `start_timeout` to load the function's code.
pub fn not_loaded(start_timeout: Duration) -> FunctionError {
    FunctionError::new(
        FunctionErrorKind::Initialization,
        format!("the code was not loaded within {start_timeout:?}, the platform's start_timeout"),
    )
}

/// The error of a call that took longer than `timeout`.
pub fn timed_out(timeout: Duration) -> FunctionError {
    FunctionError::new(
        FunctionErrorKind::Timeout,
        format!("it ran longer than {timeout:?}, its timeout"),
    )
}

/// The error of a result longer than `max_result` bytes.
pub fn too_long(max_result: u64) -> FunctionError {
    bad_result(format!("the result is longer than {max_result} bytes, the platform's max_result"))
}

/// The outcome of a shim's answer, whose line may be longer than the result.
///
/// # Errors
///
/// As `outcome`, and [`too_long`] for a result of more than `max_result` bytes.
pub fn within(
    outcome: Result<Payload, FunctionError>,
    max_result: u64,
) -> Result<Payload, FunctionError> {
    let result = outcome?;
    if result.len() as u64 > max_result { Err(too_long(max_result)) } else { Ok(result) }
}

/// The error of a call whose answer is not a shim's: the function itself wrote it.
pub fn stray_line() -> FunctionError {
    bad_result("something else wrote to descriptor 3".into())
}

/// The error of a call that a worker may have begun when the worker was ended because of another call.
pub fn ended_by_another() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "its worker was ended because of an earlier call, and may have begun this one",
    )
    .with_may_have_run(true)
}

/// The error of a call that nobody waits for any more.
pub fn unwanted() -> Error {
    Error::new(ErrorKind::Cancelled, "nobody waits for the activation any more")
}

/// The beginning of a shim's request, up to the arguments. `}` ends it.
pub fn shim_envelope(job: &Job) -> String {
    format!("{{\"env\":{{\"TRACEPARENT\":\"{}\"}},\"value\":", job.trace)
}

/// As [`shim_envelope`], of a request with a number: others may be sent before it is answered.
pub fn numbered_envelope(job: &Job, number: u64) -> String {
    format!("{NUMBER}{number},\"env\":{{\"TRACEPARENT\":\"{}\"}},\"value\":", job.trace)
}

/// The error of a function whose result is unusable.
pub fn bad_result(message: String) -> FunctionError {
    FunctionError::new(FunctionErrorKind::BadResult, message)
}

/// The error of a process that has ended unasked.
pub fn crash(status: Option<i32>, log: &Capture) -> FunctionError {
    let trace = log.stderr_tail();
    // Node.js ends itself when its heap is full.
    let kind = if trace.contains("JavaScript heap out of memory") {
        FunctionErrorKind::OutOfMemory
    } else {
        FunctionErrorKind::Crashed
    };
    let how = match status {
        Some(status) if status < 0 => format!("was ended by signal {}", -status),
        Some(status) => format!("ended with status {status}"),
        None => "ended".to_owned(),
    };
    let mut error = FunctionError::new(kind, format!("its process {how} before it answered"));
    error.exit_status = status;
    error.trace = (!trace.is_empty()).then_some(trace);
    error
}

/// The beginning of an ActionLoop request, up to the arguments (contract 6.4 and 6.6b). `}` ends it.
pub fn envelope(job: &Job, name: &str, deadline: Instant) -> String {
    let left = deadline.saturating_duration_since(Instant::now());
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO) + left;
    // Names and ids hold letters, digits, '-' and '_' only: there is nothing to escape.
    format!(
        "{{\"activation_id\":\"{}\",\"action_name\":\"/_/{name}\",\"namespace\":\"_\",\
         \"deadline\":\"{}\",\"traceparent\":\"{}\",\"value\":",
        job.id,
        deadline.as_millis(),
        job.trace
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crashed() -> FunctionError {
        crash(Some(127), &Capture::new(0))
    }

    #[test]
    fn a_shell_that_cannot_start_a_program_is_distinguished_from_a_crash() {
        assert!(is_not_started(Some(126)) && is_not_started(Some(127)));
        assert!(!is_not_started(Some(1)) && !is_not_started(Some(-9)) && !is_not_started(None));
        let error = not_started(crashed());
        assert_eq!(
            (error.kind, error.exit_status, &*error.message),
            (FunctionErrorKind::Initialization, Some(127), "the executable cannot be started")
        );
    }

    #[test]
    fn a_crash_while_loading_is_a_failed_initialization_and_a_full_heap_stays_one() {
        let error = while_loading(crashed());
        assert_eq!(error.kind, FunctionErrorKind::Initialization);
        assert_eq!(
            error.message,
            "while the code was loaded, its process ended with status 127 before it answered"
        );
        let full = FunctionError::new(FunctionErrorKind::OutOfMemory, "no room");
        assert_eq!(while_loading(full).kind, FunctionErrorKind::OutOfMemory);
    }

    #[test]
    fn a_result_of_exactly_the_longest_length_fits() {
        let result = || Ok(Payload::from_bytes(r#"{"a":12}"#).unwrap());
        assert!(within(result(), 8).is_ok());
        let error = within(result(), 7).unwrap_err();
        assert_eq!(error.kind, FunctionErrorKind::BadResult);
        assert!(error.message.contains("7 bytes, the platform's max_result"), "{error}");
        let failed = within(Err(stray_line()), 7).unwrap_err();
        assert_eq!(failed.message, "something else wrote to descriptor 3");
    }
}
