//! The errors of starts and of containers that end unasked.

use bytes::Bytes;
use falco_core::{Error, ErrorKind, FunctionError, FunctionErrorKind, Payload, Result};
use falco_package::native;
use falco_package::shim::Answer;
use falco_workers::{Capture, answer, removed};

use crate::bundle::Dialogue;
use crate::events::End;

/// How a start failed: by the platform's fault, or by the function's.
pub(crate) enum Failed {
    Platform(Error),
    Function(FunctionError),
}

/// Whether a container takes another call after this outcome. The emulator does not start a runtime again that has crashed.
pub(crate) fn may_go_on(outcome: &Result<Payload, FunctionError>) -> bool {
    use FunctionErrorKind::{Crashed, Initialization, OutOfMemory, Timeout, Unspecified};
    let kind = outcome.as_ref().err().map(|error| error.kind);
    !matches!(kind, Some(Crashed | Initialization | OutOfMemory | Timeout | Unspecified))
}

/// Reads the first line of a container, which reports its start.
pub(crate) fn acknowledged(
    dialogue: Dialogue,
    line: &Bytes,
) -> Result<native::Started, FunctionError> {
    if dialogue == Dialogue::Shim
        && let Some(Answer { outcome: Err(error), .. }) = Answer::from_line(line)
    {
        return Err(error);
    }
    native::acknowledged(line)
}

/// The error of a container that has ended unasked.
pub(crate) fn crash(end: End, log: &Capture) -> FunctionError {
    // As the shell counts: 128 and the number of the signal.
    let status = end.status.map(|status| if status > 128 { 128 - status } else { status });
    let error = answer::crash(status, log);
    if end.out_of_memory { out_of_memory(error) } else { error }
}

pub(crate) fn out_of_memory(mut error: FunctionError) -> FunctionError {
    error.kind = FunctionErrorKind::OutOfMemory;
    error.message = "it used more memory than it was granted, and the kernel ended it".into();
    error
}

pub(crate) fn no_interpreter(end: End, log: &Capture) -> FunctionError {
    let mut error = crash(end, log);
    error.kind = FunctionErrorKind::Initialization;
    error.message =
        "the image has no interpreter for the function's runtime: choose another image".into();
    error
}

/// A container that the daemon does not start: by a missing shell in the image, or by the daemon's fault.
pub(crate) fn not_started(dialogue: Dialogue, error: Error) -> Failed {
    let message = error.message();
    // Podman's init process is a package of its own, and nothing of the image's.
    if message.contains("container-init binary") {
        let error = Error::new(ErrorKind::InvalidInput, message)
            .with_hint("install catatonit, which podman starts as a container's init process");
        return Failed::Platform(error);
    }
    if message.contains("executable file not found") || message.contains("no such file") {
        let needed = match dialogue {
            Dialogue::Shim => "a shell (sh) and the interpreter of the runtime",
            Dialogue::Native | Dialogue::NativeAcknowledged => "a shell (sh)",
            Dialogue::Action { .. } | Dialogue::Lambda { .. } => "the program that it is to start",
        };
        return Failed::Function(FunctionError::new(
            FunctionErrorKind::Initialization,
            format!("the image lacks {needed}: {message}"),
        ));
    }
    let error = if error.kind() == ErrorKind::NotFound { removed() } else { error };
    // Whatever has become of the container, no request was sent to it.
    Failed::Platform(error.context("a container cannot be started").with_may_have_run(false))
}
