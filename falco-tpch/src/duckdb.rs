//! The same queries in DuckDB, for comparison.

use std::io::{Error, Result, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::answer::Answer;
use crate::queries::Query;

/// The package of DuckDB with its version, as pip takes it.
pub const DUCKDB: &str = include_str!("../functions/requirements.txt").trim_ascii();

/// An answer of DuckDB, and what it took.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct DuckDbAnswer {
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
    /// The processor time of the query, in seconds.
    #[serde(rename = "cpu_s")]
    pub cpu: f64,
    /// The time from asking to the last row, in seconds.
    #[serde(rename = "wall_s")]
    pub wall: f64,
}

/// Asks DuckDB, which has to be a package of the interpreter `python`, about the tables in a folder.
///
/// # Errors
///
/// When the interpreter does not start, fails, or prints something else.
pub fn ask_duckdb(
    python: &Path,
    tables: &Path,
    queries: &[Query],
    threads: usize,
) -> Result<Vec<DuckDbAnswer>> {
    let mut child = Command::new(python)
        .args(["-c", include_str!("../functions/duckdb_answers.py")])
        .arg(tables)
        .arg(threads.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let queries: Vec<_> = queries.iter().map(|query| (query.tables(), query.sql())).collect();
    let queries = serde_json::to_vec(&queries)?;
    let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(&queries));
    let output = child.wait_with_output()?;
    // First: an interpreter that ended at once also did not read.
    if !output.status.success() {
        let (python, status) = (python.display(), output.status);
        let needed = "it needs the package duckdb, as in falco-tpch/functions/requirements.txt";
        return Err(Error::other(format!("{python} failed with {status}: {needed}")));
    }
    written?;
    Ok(serde_json::from_slice(&output.stdout)?)
}
