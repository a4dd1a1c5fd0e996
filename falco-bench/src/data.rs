//! Pipelines over objects: a word count beside Python's process pool, GNU sort and DuckDB on the same text, the layer by
//! itself, planning, and the driver's memory.

mod driver;
mod layer;
mod native;
mod peers;
mod process;
mod words;

use std::path::{Path, PathBuf};

pub(crate) use self::peers::duckdb;
pub(crate) use self::process::{children, own_without_store};
use crate::figure::Figure;

/// Measures processor time where processes are compared: machines are shared.
pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let folder = folder();
    std::fs::create_dir_all(&folder)?;
    // URLs take no `..`.
    let folder = folder.canonicalize()?;
    let mut figures = driver::run(&folder)?;
    figures.extend(words::run(&folder)?);
    figures.extend(peers::run(&folder)?);
    figures.extend(layer::run(&folder)?);
    Ok(figures)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench/data")
}
