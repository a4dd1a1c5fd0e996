//! The request of a native executable, and the errors of a worker that did not answer.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use falco_core::{FunctionError, FunctionErrorKind};

use crate::job::Job;
use crate::log::Capture;

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

/// The beginning of an ActionLoop request, up to the arguments (contract 6.4 and 6.6b).
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
