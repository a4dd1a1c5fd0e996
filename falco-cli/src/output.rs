//! What a program prints: the result on stdout, everything else on stderr.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::Context;
use falco_executors::Leftover;
use falco_executors::report::RunReport;
use serde::Serialize;
use serde_json::json;

use crate::flags::OutputFlags;

/// Prints report and result, and says whether everything succeeded. `result` is asked only if every stage did. What
/// could not be removed stands on stderr already, as [`stop_signals`](falco_executors::stop_signals) says it.
///
/// # Errors
///
/// When the results are not of the shape that the program expects, or cannot be written.
pub fn finish<R: Serialize + Display>(
    flags: &OutputFlags,
    report: &RunReport,
    leftovers: &[Leftover],
    result: impl FnOnce() -> falco_core::Result<R>,
) -> anyhow::Result<bool> {
    match &report.error {
        // It ends with the error, if there is one.
        _ if !flags.quiet => say(report),
        Some(error) => say(error),
        None => {}
    }
    let result = if report.error.is_none() { Some(result()?) } else { None };
    match &result {
        _ if flags.json => {
            print(format_args!("{}\n", json!({"result": result, "report": report})))?
        }
        Some(result) => print(result)?,
        None => {}
    }
    if let Some(first) = leftovers.first() {
        let (platform, run) = (&first.deployment.platform, &report.run);
        say(format_args!(
            "remove what is left with: falco cleanup --platform {platform} --run {run}"
        ));
    }
    Ok(report.error.is_none() && leftovers.is_empty())
}

/// Writes a line to stderr.
pub fn say(line: impl Display) {
    // A closed stderr must not end the run.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes to stdout.
///
/// # Errors
///
/// When it cannot be written to. A reader that has gone away has seen enough, and is not an error.
pub fn print(text: impl Display) -> anyhow::Result<()> {
    let mut stdout = BufWriter::new(io::stdout().lock());
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}

/// The exit code of a program that says whether everything succeeded, or why it could not begin.
pub fn exit_code(outcome: anyhow::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
