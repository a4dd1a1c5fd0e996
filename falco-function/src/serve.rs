//! The process of a worker: finds out what it has to speak, and speaks it to the end.

mod action_loop;
mod runtime_api;

use std::io::Write;
use std::process::exit;

use crate::failure::Failure;
use crate::worker::{Start, record_panics};

/// The status of a program that is used wrongly, by `sysexits.h`.
const USAGE: i32 = 64;

/// How the process ends.
enum End {
    /// Nobody will ask any more.
    Done,
    /// It cannot go on: the reason.
    Broken(String),
    /// The function did not start; the platform knows.
    NotStarted(Failure),
}

/// Serves the function `name`, which `start` starts, and ends the process.
pub(crate) fn run(start: Result<Start, Failure>, name: &str) -> ! {
    record_panics();
    // A thread of its own, since `main` may be a tokio runtime, in which no other can be started.
    let worker = std::thread::Builder::new().name("falco-worker".into());
    let end = worker.spawn(move || serve(start)).map(|thread| thread.join());
    let status = match end {
        Ok(Ok(Ok(End::Done))) => 0,
        Ok(Ok(Ok(End::Broken(reason)))) => fail(&reason, 1),
        Ok(Ok(Ok(End::NotStarted(failure)))) => {
            fail(&format!("{}: {}", failure.name, failure.message), 1)
        }
        Ok(Ok(Err(NoProtocol))) => fail(
            &format!(
                "{function} is set to {name:?}, so that this program should be a worker, but it was not started by a \
                 platform: unset {function} to run it as a driver",
                function = crate::FUNCTION
            ),
            USAGE,
        ),
        // The panic has printed itself.
        Ok(Err(_)) => 1,
        Err(error) => fail(&format!("cannot start a thread: {error}"), 1),
    };
    exit(status)
}

/// Neither of the two protocols is there.
struct NoProtocol;

fn serve(start: Result<Start, Failure>) -> Result<End, NoProtocol> {
    match std::env::var("AWS_LAMBDA_RUNTIME_API") {
        Ok(address) => Ok(runtime_api::serve(&address, start)),
        Err(_) => {
            action_loop::Channel::open().map(|channel| channel.serve(start)).ok_or(NoProtocol)
        }
    }
}

/// Says in the log why the process ends.
fn fail(reason: &str, status: i32) -> i32 {
    // Without standard error there is nobody to say it to.
    let _ = writeln!(std::io::stderr(), "falco-function: {reason}");
    status
}

/// Writes out what the function has printed, before its answer ends the call.
fn flush_logs() {
    // The function may have closed them.
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
}
