//! The functions in Python, which run DuckDB.

use falco_core::{Deployable, Result};

/// The function in Python with a name such as `q1-scan`. The package `duckdb` has to be on its path.
///
/// # Errors
///
/// None that a user could mend.
pub fn python(name: &str) -> Result<Deployable> {
    let source = include_str!("../functions/tpch.py");
    let function = Deployable::from_source(name, "python:3".parse()?, source);
    Ok(function.with_entry_point(name.replace('-', "_")))
}
