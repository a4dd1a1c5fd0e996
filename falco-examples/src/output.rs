//! What an example prints: the result on stdout, everything else on stderr.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what it is for")]

use std::fmt::Display;
use std::process::ExitCode;

use falco_executors::{Leftover, RunReport};
use serde::Serialize;
use serde_json::json;

use crate::arguments::Common;

/// Prints report and result, and tells whether everything succeeded. `result` is asked only if every stage did.
///
/// # Errors
///
/// When the results are not of the shape that the example expects.
pub fn finish<R: Serialize + Display>(
    common: &Common,
    report: &RunReport,
    leftovers: &[Leftover],
    result: impl FnOnce() -> falco_core::Result<R>,
) -> anyhow::Result<bool> {
    if !common.quiet {
        eprintln!("{report}");
    }
    let result = if report.error.is_none() { Some(result()?) } else { None };
    match &result {
        _ if common.json => println!("{}", json!({"result": result, "report": report})),
        Some(result) => print!("{result}"),
        None => {}
    }
    if let Some(error) = &report.error {
        eprintln!("the run failed: {error}");
    }
    for leftover in leftovers {
        eprintln!("left behind: {leftover}");
    }
    Ok(report.error.is_none() && leftovers.is_empty())
}

/// The exit code of a program that says whether everything succeeded, or why it could not begin.
pub fn exit_code(outcome: anyhow::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
