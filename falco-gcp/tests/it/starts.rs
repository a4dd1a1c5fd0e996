//! The start of a function's process, and answers that are not JSON.

use std::time::Duration;

use falco_core::{Activation, Deployable, FunctionErrorKind, Platform, Scaling};
use falco_fakes::gcp::FakeGcp;
use falco_package::Archive;
use serde_json::json;

use crate::support::{connect, invocation, python};

/// Long enough for a shell to start in on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A shell script; with an entry point it is asked for an acknowledgement.
fn native(script: &str, entry_point: Option<&str>) -> Deployable {
    let exec = format!("#!/bin/sh\n{script}\n");
    let zip = Archive::new().with_executable("exec", exec).unwrap().to_zip().unwrap();
    let scaling = Scaling::default().with_timeout(TIMEOUT);
    let function = Deployable::from_archive("starting", "native".parse().unwrap(), zip);
    let function = function.with_scaling(scaling);
    match entry_point {
        Some(entry_point) => function.with_entry_point(entry_point),
        None => function,
    }
}

async fn outcome(function: &Deployable) -> Activation {
    let fake = FakeGcp::start();
    let platform = connect(fake.config()).await;
    let deployment = platform.deploy(function).await.unwrap();
    platform.invoke(&deployment, &invocation(&json!({}))).await.unwrap()
}

#[tokio::test]
async fn a_native_function_with_an_entry_point_acknowledges_its_start_which_is_not_its_run() {
    // It starts for longer than it may run.
    let run_limit = Duration::from_secs(2);
    let slow = "[ \"$__OW_WAIT_FOR_ACK\" = 1 ] || exit 1\nsleep 2.5\necho '{\"ok\":true}' >&3\n\
                while read -r line; do echo \"{\\\"entry\\\":\\\"$FALCO_FUNCTION\\\"}\" >&3; done";
    let function = native(slow, Some("count"));
    let scaling = Scaling::default().with_timeout(run_limit);
    let activation = outcome(&function.with_scaling(scaling)).await;
    assert_eq!(activation.outcome.as_ref().unwrap().as_str(), "{\"entry\":\"count\"}");
    assert!(activation.init.is_some() && activation.cold_start == Some(true), "{activation:?}");
    assert!(activation.execution.unwrap() < run_limit, "{activation:?}");
}

#[tokio::test]
async fn a_native_function_that_cannot_start_fails_in_its_initialization() {
    let refusing =
        "echo '{\"error\":{\"name\":\"NoModel\",\"message\":\"no model here\"}}' >&3\nsleep 5";
    let dying = "echo 'no library here' >&2\nexit 3";
    for (script, words) in [(refusing, "no model here"), (dying, "before it was ready")] {
        let error = outcome(&native(script, Some("count"))).await.outcome.unwrap_err();
        assert_eq!(error.kind, FunctionErrorKind::Initialization, "{error:?}");
        assert!(error.message.contains(words), "{error:?}");
        if script == dying {
            assert_eq!(error.exit_status, Some(3));
            assert!(error.trace.unwrap().contains("no library here"));
        }
    }
    let broken = "import nothing_of_that_name\n";
    let error = outcome(&python("broken", broken)).await.outcome.unwrap_err();
    assert_eq!(error.kind, FunctionErrorKind::Initialization, "{error:?}");
    assert!(error.message.contains("nothing_of_that_name"), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_is_not_json_is_a_bad_result_and_an_error_counts_whatever_it_is() {
    for (answer, kind) in [
        ("{\"x\":NaN}", FunctionErrorKind::BadResult),
        ("nonsense", FunctionErrorKind::BadResult),
        ("[1]", FunctionErrorKind::BadResult),
        ("{\"error\":null}", FunctionErrorKind::Raised),
        ("{\"rows\":0,\"error\":\"cannot read \\ud83d\"}", FunctionErrorKind::Raised),
    ] {
        let script = format!("while read -r line; do\ncat >&3 <<'END'\n{answer}\nEND\ndone");
        let error = outcome(&native(&script, None)).await.outcome.unwrap_err();
        assert_eq!(error.kind, kind, "{answer}: {error:?}");
    }
}

#[tokio::test]
async fn code_that_is_not_loaded_within_the_start_timeout_fails_in_its_initialization() {
    let fake = FakeGcp::start();
    let platform = connect(fake.config().start_timeout(Duration::from_secs(2))).await;
    let slow = "import time\ntime.sleep(60)\ndef main(args):\n    return {}\n";
    let timeout = Duration::from_secs(1);
    let function = python("slow", slow).with_scaling(Scaling::default().with_timeout(timeout));
    let deployment = platform.deploy(&function).await.unwrap();
    let activation = platform.invoke(&deployment, &invocation(&json!({}))).await.unwrap();
    let error = activation.outcome.unwrap_err();
    assert_eq!(error.kind, FunctionErrorKind::Initialization, "{error:?}");
    assert!(error.message.contains("did not start within 2 seconds"), "{error:?}");
    // A platform with another setting still finds the function's own timeout.
    let other = connect(fake.config()).await;
    let found = other.fetch_deployment(&deployment.name).await.unwrap();
    assert_eq!(found.scaling.timeout, Some(timeout));
    let scaled = Scaling::default().with_timeout(Duration::from_secs(7));
    let scaled = other.scale(&found, &scaled).await.unwrap();
    assert_eq!(scaled.scaling.timeout, Some(Duration::from_secs(7)));
}
