//! Errors as they are built, printed and stored.

use super::*;

#[test]
fn an_error_is_one_pointer_wide() {
    assert_eq!(size_of::<Error>(), size_of::<usize>());
}

#[test]
fn an_error_reads_as_one_line_with_all_that_is_known_and_nothing_twice() {
    let error = Error::new(ErrorKind::Unavailable, "connection reset")
        .with_operation("deploy")
        .with_source(&std::io::Error::other("connection reset"))
        .with_source(&std::io::Error::other("by peer"))
        .with_request_id("r-1")
        .with_hint("try later");
    assert_eq!(
        error.to_string(),
        "deploy: unavailable: connection reset: by peer [request r-1] (try later)",
    );
}

#[test]
fn debug_is_what_a_main_prints_the_line_and_the_traceback_below_it() {
    let error = Error::new(ErrorKind::Unavailable, "down").with_trace("Traceback:\n  line 1\n");
    assert_eq!(format!("{error:?}"), "unavailable: down\nTraceback:\n  line 1");
    assert_eq!(format!("{error}"), "unavailable: down");
    assert!(format!("{error:#?}").contains("may_have_run: false"));
}

#[test]
fn context_keeps_everything_but_the_message() {
    let error = Error::new(ErrorKind::Throttled, "slow down")
        .at(Operation::new("aws", "invoke").on("f"))
        .with_retry_after(Duration::from_secs(3))
        .with_hint("ask for more")
        .with_request_id("r-1")
        .with_may_have_run(true)
        .with_source(&std::io::Error::other("429"));
    let with_context = error.clone().context("input 7");
    let expected = format!("{error:#?}").replace("slow down", "input 7: slow down");
    assert_eq!(format!("{with_context:#?}"), expected);
}

#[test]
fn an_exhausted_error_is_no_longer_retryable() {
    let error = Error::new(ErrorKind::Unavailable, "down");
    assert!(error.is_retryable());
    assert!(!error.into_exhausted().is_retryable());
}

#[test]
fn an_error_survives_serialisation_with_its_causes() {
    let cause = std::io::Error::other("connection reset");
    let error = Error::new(ErrorKind::Timeout, "no answer")
        .with_source(&cause)
        .with_unreachable(true)
        .with_retry_after(Duration::from_millis(1500));
    let json = serde_json::to_string(&error).unwrap();
    let back: Error = serde_json::from_str(&json).unwrap();
    assert_eq!(format!("{back:#?}"), format!("{error:#?}"));
    assert_eq!(back.to_string(), "timeout: no answer: connection reset");
}
