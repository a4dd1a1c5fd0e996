//! The output of a program: the result on stdout, everything else on stderr.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::Context;
use falco_executors::Leftover;
use falco_executors::report::RunReport;
use serde::Serialize;
use serde_json::json;

use crate::flags::OutputFlags;
use crate::signals;

/// Prints report and result, and says whether everything succeeded. `result` is asked only if every stage did. What
/// could not be removed is on stderr already, as [`stop_signals`](falco_executors::stop_signals) says it.
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
    say_report(flags, report, &report.to_string());
    if report.error.is_some() {
        say_what_there_is(flags, report, None);
    }
    let result = if report.error.is_none() { Some(result()?) } else { None };
    match &result {
        // Lines of results and the result of all would be mixed.
        _ if flags.results_to_stdout() => {}
        _ if flags.json => {
            print(format_args!("{}\n", json!({"result": result, "report": report})))?
        }
        Some(result) => print(result)?,
        None => {}
    }
    Ok(report.error.is_none() && leftovers.is_empty())
}

/// Says how a run ended whose results are written already, and whether everything succeeded. `went` says where the results
/// are. With `--json` the report is a line of JSON on stderr.
pub fn conclude(
    flags: &OutputFlags,
    report: &RunReport,
    leftovers: &[Leftover],
    went: &str,
) -> bool {
    let shown = if flags.json { json!(report).to_string() } else { report.to_string() };
    say_report(flags, report, &shown);
    if report.error.is_some() {
        say_what_there_is(flags, report, Some(went));
    }
    report.error.is_none() && leftovers.is_empty()
}

fn say_report(flags: &OutputFlags, report: &RunReport, shown: &str) {
    match &report.error {
        // It ends with the error, if there is one.
        _ if !flags.quiet => say(shown),
        Some(error) => say(error),
        None => {}
    }
}

/// Says how many results there are after a run that did not come to its end, and where.
fn say_what_there_is(flags: &OutputFlags, report: &RunReport, went: Option<&str>) {
    let succeeded = report.invocations.succeeded;
    let results = if succeeded == 1 { "result" } else { "results" };
    let place = match &flags.results {
        Some(_) if flags.results_to_stdout() => "went to stdout".to_owned(),
        Some(path) => format!("in {}", path.display()),
        None => match went {
            Some(went) => went.to_owned(),
            None => "written nowhere; --results FILE keeps them".to_owned(),
        },
    };
    say(format_args!("the run is incomplete: {succeeded} {results} {place}"));
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

/// The exit code of a program that says whether everything succeeded, or why it could not begin. After SIGINT, SIGTERM or
/// SIGHUP it is 128 and the number of the signal, as a shell has it.
pub fn exit_code(outcome: anyhow::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => match signals::received() {
            Some(signal) => ExitCode::from(128 + signal),
            None => ExitCode::FAILURE,
        },
        Err(error) => {
            say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
