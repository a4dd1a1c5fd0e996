//! The one mapping of the daemon's refusals to errors.

use std::error::Error as StdError;
use std::io;

use bollard::errors::Error as DockerError;
use falco_core::{Error, ErrorKind};

/// The meaning of a refusal. `host` is where the daemon was looked for.
pub(crate) fn refusal(host: &str, error: &DockerError) -> Error {
    match error {
        DockerError::DockerResponseServerError { status_code, message } => {
            of_status(*status_code, message)
        }
        DockerError::DockerStreamError { error } => of_status(500, error),
        DockerError::RequestTimeoutError => no_answer(host),
        DockerError::SocketNotFoundError(_) => nobody_there(host),
        DockerError::JsonDataError { message, .. } => {
            Error::new(ErrorKind::Protocol, format!("the daemon's answer is not understood: {message}"))
        }
        other => match io_kind(other) {
            Some(io::ErrorKind::PermissionDenied) => {
                Error::new(ErrorKind::Unauthorized, format!("the daemon at {host} may not be used"))
                    .with_hint("add the user to the group that owns the socket (usually docker), or set DOCKER_HOST")
            }
            Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => nobody_there(host),
            _ => Error::new(ErrorKind::Unavailable, format!("the connection to the daemon at {host} broke"))
                .with_source(other)
                .with_unreachable(true)
                .with_may_have_run(true),
        },
    }
}

/// The error where the daemon at `host` does not answer.
pub(crate) fn no_answer(host: &str) -> Error {
    Error::new(ErrorKind::Timeout, format!("the daemon at {host} did not answer in time"))
        .with_hint("look at the daemon's log, or start it again")
}

/// The error where no daemon listens at `host`.
pub(crate) fn nobody_there(host: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("there is no daemon at {host}"))
        .with_hint("start Docker (systemctl start docker, or Docker Desktop), or set DOCKER_HOST")
        .with_unreachable(true)
        .with_may_have_run(false)
}

/// Words of a daemon that does not reach a registry. An image that cannot be had is as good as one that is not there.
const NO_NETWORK: &[&str] = &[
    "no such host",
    "dial tcp",
    "network is unreachable",
    "server misbehaving",
    "awaiting headers",
];

fn of_status(status: u16, message: &str) -> Error {
    let text = excerpt(message);
    let has = |words: &[&str]| words.iter().any(|word| text.to_lowercase().contains(word));
    if has(&["unauthorized", "denied: requested access", "authentication required"]) {
        return Error::new(ErrorKind::Unauthorized, text)
            .with_hint("log in to the registry with `docker login`");
    }
    if has(NO_NETWORK) {
        return Error::new(ErrorKind::NotFound, text)
            .with_hint("the daemon has no network to the registry");
    }
    if has(&["no space left on device"]) {
        return Error::new(ErrorKind::Unavailable, text)
            .with_hint("make room on the daemon's disk: `docker system prune`");
    }
    let kind = match status {
        400 => ErrorKind::InvalidInput,
        401 => ErrorKind::Unauthorized,
        403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        // An image that a registry does not have, or that cannot be asked for: the daemon says 500 for both.
        500 if has(&["not found", "manifest unknown"]) => ErrorKind::NotFound,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, text)
}

/// One line, of a length that a person reads.
fn excerpt(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect()
}

/// The kind of the system's error beneath, if there is one.
fn io_kind(error: &DockerError) -> Option<io::ErrorKind> {
    // Transparent to its cause, so that a walk along the causes does not meet it.
    if let DockerError::IOError { err } = error {
        return Some(err.kind());
    }
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status_code: u16, message: &str) -> Error {
        let error = DockerError::DockerResponseServerError { status_code, message: message.into() };
        refusal("unix:///x", &error)
    }

    #[test]
    fn each_refusal_has_its_kind() {
        for (status, message, kind) in [
            (404, "No such image: a:1", ErrorKind::NotFound),
            (409, "conflict: unable to delete", ErrorKind::Conflict),
            (500, "manifest for a:1 not found: manifest unknown", ErrorKind::NotFound),
            (500, "Head \"https://r/v2\": unauthorized: log in", ErrorKind::Unauthorized),
            (500, "write /var: no space left on device", ErrorKind::Unavailable),
            (500, "Get \"https://r/v2/\": dial tcp: lookup r: no such host", ErrorKind::NotFound),
            (
                500,
                "pull access denied for a, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
                ErrorKind::Unauthorized,
            ),
            (503, "shutting down", ErrorKind::Unavailable),
        ] {
            assert_eq!(refused(status, message).kind(), kind, "{status} {message}");
        }
        let denied = DockerError::from(io::Error::from(io::ErrorKind::PermissionDenied));
        let denied = refusal("unix:///run/docker.sock", &denied);
        assert_eq!(denied.kind(), ErrorKind::Unauthorized);
        let text = denied.to_string();
        assert!(text.contains("/run/docker.sock") && text.contains("group"), "{text}");
        let full = refused(500, "write /var:\n no space left on device").to_string();
        assert!(full.contains("docker system prune"), "{full}");
    }
}
