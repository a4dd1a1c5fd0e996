//! Refusals of a function's URL: the front end's, and what an instance that fails looks like.

use std::time::Duration;

use falco_core::{Error, ErrorKind, FunctionError, FunctionErrorKind};
use falco_http::Reply;

use super::{kind_of, redacted_excerpt};

/// The side that has failed.
pub(crate) enum Refusal {
    /// The platform: the function has not answered.
    Platform(Error),
    /// The function, as the framework or the front end reports it.
    Function(FunctionError),
}

/// Maps an answer that is not one of Falco's handler. `beginning` is what the handler's begin with.
pub(crate) fn of_call(reply: &Reply, beginning: &[u8], timeout: Duration, secret: &str) -> Refusal {
    let status = reply.status.as_u16();
    let text = redacted_excerpt(&reply.body, &[secret]);
    let failed = |kind, message| Refusal::Function(FunctionError::new(kind, message));
    // The framework's mark: the handler itself raised.
    if status == 500 && reply.headers.contains_key("x-google-status") {
        return failed(FunctionErrorKind::Crashed, text);
    }
    if status == 504 && text.contains("upstream request timeout") {
        let message = format!("it ran longer than {timeout:?}, and may still be running");
        return failed(FunctionErrorKind::Timeout, message);
    }
    let is_from_a_gateway = is_from_a_gateway(reply);
    let refused = |kind, message: &str| {
        let error = Error::new(kind, format!("{message} (HTTP {status}: {text})"))
            .with_unreachable(is_from_a_gateway);
        match reply.retry_after() {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    };
    let no_instance = || refused(ErrorKind::Throttled, "no instance is free");
    Refusal::Platform(match (status, kind_of(status)) {
        // It broke off, or changed on its way: the next one will be whole.
        (200, _) if reply.body.starts_with(beginning) => {
            refused(ErrorKind::Protocol, "the function's answer is damaged").with_retryable(true)
        }
        (411, _) => refused(ErrorKind::Protocol, "the request came without a length")
            .with_may_have_run(false),
        // So Google answers when scaling out fails; the function did not start.
        (500, _) if text.contains("no available instance") => no_instance(),
        (_, ErrorKind::Throttled) => {
            no_instance().with_hint("raise max_instances, or lower the concurrency")
        }
        (_, kind @ ErrorKind::Unauthorized) => refused(kind, "the ID token was refused twice"),
        (_, kind @ ErrorKind::Forbidden) => refused(kind, "the caller is not let in").with_hint(
            "grant it roles/run.invoker on the function's Run service; a grant takes a while to act",
        ),
        (404, kind) => refused(kind, "there is no function at its URL").with_hint(
            "it was deleted, or its ingress settings keep calls from here out",
        ),
        (_, kind @ ErrorKind::PayloadTooLarge) => refused(kind, "the argument is over the limit"),
        (_, kind) if is_from_a_gateway => {
            refused(kind, "a gateway before Google has no answer").with_may_have_run(true)
        }
        (_, kind @ ErrorKind::Timeout) => refused(kind, "no answer in time"),
        (_, kind @ ErrorKind::Unavailable) => {
            refused(kind, "the instance failed: it did not start, ended, or ran out of memory")
                .with_may_have_run(true)
        }
        _ => refused(ErrorKind::Protocol, "unexpected response: the URL is not served by a Falco function")
            .with_hint("what answers there was not deployed by Falco; deploy the function again"),
    })
}

/// Whether something before Google answered that does not reach it: Google's own front end names itself or the trace.
fn is_from_a_gateway(reply: &Reply) -> bool {
    let is_googles = reply.header("x-cloud-trace-context").is_some()
        || reply.header("server").is_some_and(|server| server.contains("Google"));
    !is_googles && matches!(reply.status.as_u16(), 502..=504)
}
