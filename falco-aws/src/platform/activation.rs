//! From what Lambda reports of an invocation to an activation.

use std::time::Duration;

use bytes::Bytes;
use falco_core::{
    Activation, Deployment, FunctionError, FunctionErrorKind, Payload, Prices, Scaling, UsDollars,
};
use falco_package::lambda::exit_status;
use falco_package::native;
use serde_json::Value;

use super::AwsLambda;
use super::describe;
use super::measured::{self, Measured};
use super::report::Report;
use super::settings;

/// The function's result, or how it failed.
pub(super) type Outcome = Result<Payload, FunctionError>;

/// The outcome of an invocation that was answered with `body`, and what its shim has measured.
///
/// The status of a failed function is 200; only `failed`, from a header, says so.
pub(super) fn outcome(
    deployment: &Deployment,
    body: &Bytes,
    failed: bool,
) -> (Outcome, Option<Measured>) {
    let is_native = deployment.runtime.family() == "native";
    if failed {
        let (error, measured) = function_error(body, is_native);
        return (Err(error), measured);
    }
    let (result, measured) = Measured::split_result(body);
    // The handlers for Python and Node.js have judged already; the bootstrap passes on what the executable writes.
    let outcome = if is_native { native::outcome(result) } else { checked(result) };
    (outcome, measured)
}

/// A result, unless Falco's convention does not allow it.
fn checked(body: Bytes) -> Outcome {
    let bad = |message: String| Err(FunctionError::new(FunctionErrorKind::BadResult, message));
    let Ok(result) = Payload::from_bytes(body) else {
        return bad("the result is not JSON".into());
    };
    if !result.is_object() {
        return bad(format!("the result has to be an object, and it is {result:?}"));
    }
    Ok(result)
}

/// The error object of a failed function, none of whose keys can be relied on.
fn function_error(body: &[u8], is_native: bool) -> (FunctionError, Option<Measured>) {
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        let message = falco_http::excerpt(body);
        return (FunctionError::new(FunctionErrorKind::Unspecified, message), None);
    };
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let error_type = text("errorType").unwrap_or_default();
    let (message, measured) = Measured::split_message(text("errorMessage").unwrap_or_default());
    let reported = measured.as_ref().and_then(|measured| measured.kind);
    let mut error =
        FunctionError::new(reported.unwrap_or_else(|| kind(error_type, message)), message);
    // The bootstrap passes on the line with which an executable refuses to start.
    if is_native
        && error_type == INITIALIZATION
        && message.starts_with('{')
        && let Err(refusal) = native::acknowledged(message.as_bytes())
    {
        return (refusal, measured);
    }
    if !error_type.is_empty() && !OWN_TYPES.contains(&error_type) {
        error = error.with_error_type(error_type);
    }
    if let Some(status) = exit_status(message) {
        error = error.with_exit_status(status);
    }
    // Python's runtime calls it `stackTrace`, Node's `trace`.
    let trace = ["stackTrace", "trace"].into_iter().find_map(|name| fields.get(name)?.as_array());
    let lines: Vec<&str> = trace.into_iter().flatten().filter_map(Value::as_str).collect();
    if lines.is_empty() {
        return (error, measured);
    }
    let end = if lines.iter().all(|line| line.ends_with('\n')) { "" } else { "\n" };
    (error.with_trace(lines.join(end)), measured)
}

const INITIALIZATION: &str = "FalcoInitialization";

/// The types that Falco's handlers give to errors that have none.
const OWN_TYPES: [&str; 4] = [INITIALIZATION, "FalcoRaised", "FalcoBadResult", "FalcoUnspecified"];

fn kind(error_type: &str, message: &str) -> FunctionErrorKind {
    use FunctionErrorKind as Kind;
    match error_type {
        "Sandbox.Timedout" => Kind::Timeout,
        "Runtime.OutOfMemory" => Kind::OutOfMemory,
        "FalcoRaised" => Kind::Raised,
        "FalcoBadResult" | "Runtime.MarshalError" | "Function.ResponseSizeTooLarge" => {
            Kind::BadResult
        }
        INITIALIZATION
        | "Runtime.ImportModuleError"
        | "Runtime.UserCodeSyntaxError"
        | "Runtime.HandlerNotFound"
        | "Runtime.MalformedHandlerName"
        | "Runtime.InvalidEntrypoint" => Kind::Initialization,
        _ if error_type.starts_with("Extension.") => Kind::Initialization,
        // Older environments report a timeout in words only.
        _ if message.contains("Task timed out after") => Kind::Timeout,
        _ if message.contains("signal: killed") => Kind::OutOfMemory,
        _ if error_type.starts_with("Runtime.") => Kind::Crashed,
        _ if message.contains("Runtime exited") || message.contains("Process exited") => {
            Kind::Crashed
        }
        "" => Kind::Unspecified,
        _ => Kind::Raised,
    }
}

/// Makes the times of a shim as wide as those of the report, which also counts what Lambda does before and after the shim.
fn widen(activation: &mut Activation, report: &Report) {
    let Some(started) = activation.started_at else { return };
    let measured = activation.init.unwrap_or_default();
    let ran = started.checked_add(measured);
    let before = report.init.unwrap_or_default().saturating_sub(measured);
    activation.started_at = started.checked_sub(before);
    activation.booted_at = activation.booted_at.map(|booted| match activation.started_at {
        Some(started) if report.init.is_some() => booted.min(started),
        _ => booted,
    });
    let ended = ran.and_then(|ran| ran.checked_add(report.duration.unwrap_or_default()));
    activation.ended_at = activation.ended_at.max(ended);
}

impl AwsLambda {
    /// Adds what the report says, and what that costs.
    pub(super) fn add_report(
        &self,
        activation: &mut Activation,
        report: &Report,
        deployment: &Deployment,
    ) {
        widen(activation, report);
        activation.execution = report.duration;
        activation.billed = report.billed;
        activation.init = report.init;
        activation.cold_start = Some(report.init.is_some());
        activation.memory_mib = report.memory_mib;
        activation.memory_used_bytes =
            report.memory_used_mib.map(|mib| mib.saturating_mul(1 << 20));
        if let Some(billed) = report.billed {
            activation.cost = self.cost(billed, report.memory_mib, deployment);
            measured::is_reported(activation);
        }
        // Lambda says "exited" of a process that was killed for its memory, and only the report says so.
        let is_full = match (report.memory_used_mib, report.memory_mib) {
            (Some(used), Some(size)) => used >= u64::from(size),
            _ => false,
        };
        if let Err(error) = &mut activation.outcome
            && error.kind == FunctionErrorKind::Crashed
            && is_full
        {
            error.kind = FunctionErrorKind::OutOfMemory;
        }
    }

    /// The prices of the functions that this platform deploys.
    pub(super) fn prices(&self) -> Prices {
        let config = &self.config;
        let defaults = Scaling::default()
            .with_memory_mib(settings::DEFAULT_MEMORY_MIB)
            .with_timeout(settings::DEFAULT_TIMEOUT);
        let storage = config.ephemeral_storage_mib.unwrap_or_default();
        config.prices.prices(config.architecture, storage).with_defaults(defaults)
    }

    /// The cost of a run of a deployment that is charged for `billed`, once its memory is known.
    pub(super) fn cost(
        &self,
        billed: Duration,
        memory_mib: Option<u32>,
        deployment: &Deployment,
    ) -> Option<UsDollars> {
        let architecture = describe::architecture(deployment);
        let storage = describe::storage_mib(deployment);
        Some(self.config.prices.cost(architecture, billed, memory_mib?, storage))
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    fn outcome(deployment: &Deployment, body: &[u8], failed: bool) -> Outcome {
        super::outcome(deployment, &Bytes::copy_from_slice(body), failed).0
    }

    fn deployment(runtime: &str) -> Deployment {
        Deployment::new("f", runtime.parse().unwrap())
    }

    #[test]
    fn an_error_object_without_the_header_is_a_result() {
        let result = outcome(&deployment("python:3"), br#"{"errorMessage":"x"}"#, false).unwrap();
        assert_eq!(result.as_str(), r#"{"errorMessage":"x"}"#);
    }

    #[test]
    fn each_way_of_failing_is_distinguished() {
        use FunctionErrorKind as Kind;
        for (error_type, message, expected) in [
            (
                "Sandbox.Timedout",
                "RequestId: a Error: Task timed out after 3.00 seconds",
                Kind::Timeout,
            ),
            ("", "2026-01-01 a Task timed out after 3.00 seconds", Kind::Timeout),
            (
                "Runtime.ExitError",
                "RequestId: a Error: Runtime exited with error: exit status 1",
                Kind::Crashed,
            ),
            (
                "Runtime.ExitError",
                "RequestId: a Error: Runtime exited with error: signal: killed",
                Kind::OutOfMemory,
            ),
            ("Runtime.OutOfMemory", "", Kind::OutOfMemory),
            ("Runtime.InvalidEntrypoint", "exec format error", Kind::Initialization),
            ("Runtime.ImportModuleError", "no module", Kind::Initialization),
            ("FalcoInitialization", "SyntaxError: x", Kind::Initialization),
            ("Function.ResponseSizeTooLarge", "6291556", Kind::BadResult),
            ("ValueError", "boom", Kind::Raised),
            ("", "", Kind::Unspecified),
        ] {
            let body = serde_json::json!({"errorType": error_type, "errorMessage": message});
            let error =
                outcome(&deployment("python:3"), body.to_string().as_bytes(), true).unwrap_err();
            assert_eq!(error.kind, expected, "{error_type} {message}");
        }
    }

    #[test]
    fn a_crash_carries_its_status_and_a_raise_its_trace() {
        let body = br#"{"errorType":"Runtime.ExitError","errorMessage":"exited with error: exit status 7"}"#;
        assert_eq!(outcome(&deployment("native"), body, true).unwrap_err().exit_status, Some(7));
        let body = br#"{"errorType":"E","errorMessage":"m","stackTrace":["  a\n","  b\n"]}"#;
        let error = outcome(&deployment("python:3"), body, true).unwrap_err();
        assert_eq!(error.trace.as_deref(), Some("  a\n  b\n"));
    }

    #[test]
    fn an_executables_own_error_is_a_raise() {
        for (body, message) in [
            (r#"{"error":"boom"}"#, "boom"),
            (r#"{"error":null}"#, "null"),
            (r#"{"error":"half a pair: \ud83d"}"#, "half a pair: \u{fffd}"),
            (r#"{"falco:ran":{"ms":1},"result":{"error":null}}"#, "null"),
        ] {
            let error = outcome(&deployment("native"), body.as_bytes(), false).unwrap_err();
            assert_eq!((error.kind, error.message.as_str()), (FunctionErrorKind::Raised, message));
        }
    }

    #[test]
    fn a_result_that_is_not_an_object_is_a_bad_result() {
        for body in ["null", "42", "NaN", "", "<html>"] {
            let error = outcome(&deployment("python:3"), body.as_bytes(), false).unwrap_err();
            assert_eq!(error.kind, FunctionErrorKind::BadResult, "{body}");
        }
    }

    #[test]
    fn times_are_as_wide_as_the_report_says() {
        let at = |ms| UNIX_EPOCH + Duration::from_millis(ms);
        let mut activation = Activation::new("a", Ok(Payload::empty()));
        activation.init = Some(Duration::from_millis(100));
        activation.booted_at = Some(at(1_000));
        activation.started_at = Some(at(1_000));
        activation.ended_at = Some(at(1_110));
        let report = Report {
            init: Some(Duration::from_millis(130)),
            duration: Some(Duration::from_millis(15)),
            ..Report::default()
        };
        widen(&mut activation, &report);
        assert_eq!(activation.booted_at, Some(at(970)));
        assert_eq!(activation.started_at, Some(at(970)));
        assert_eq!(activation.ended_at, Some(at(1_115)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn arbitrary_bodies_cause_no_panic(body in proptest::collection::vec(any::<u8>(), 0..200), failed in any::<bool>()) {
            let _ = outcome(&deployment("native"), &body, failed);
        }
    }
}
