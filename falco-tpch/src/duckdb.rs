//! The same queries in DuckDB, for comparison.

use std::io::{Error, Result, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::answer::Answer;
use crate::queries::Query;

/// An answer of DuckDB, and what it took.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct OfDuckDb {
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
) -> Result<Vec<OfDuckDb>> {
    let mut child = Command::new(python)
        .args(["-c", include_str!("../functions/duckdb_answers.py")])
        .arg(tables)
        .arg(threads.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let queries: Vec<_> = queries.iter().map(|query| (query.tables(), query.sql())).collect();
    if let Some(mut input) = child.stdin.take() {
        input.write_all(&serde_json::to_vec(&queries)?)?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(Error::other(format!("DuckDB failed with {}", output.status)));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
