//! All calls of a trace along the time, in few bytes each.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use falco_core::Result;
use falco_trace::Micros;
use serde::Serialize;

use super::collected::Collected;
use super::columns;
use super::lanes::{self, Lanes};

/// All calls of a trace, each on a line.
#[derive(Debug, Serialize)]
pub(crate) struct Timeline {
    calls: usize,
    lanes: usize,
    /// Whether a line is an instance; else it is the first slot that was free.
    by_instance: bool,
    span: Micros,
    /// Base64 of what `columns` writes.
    columns: String,
}

impl Timeline {
    pub(super) fn of(all: &Collected, lanes: &Lanes) -> Self {
        Self {
            calls: all.calls.len(),
            lanes: lanes.count,
            by_instance: lanes.by_instance,
            span: Micros(all.view.now.0.max(1)),
            columns: STANDARD.encode(columns::write(all, lanes)),
        }
    }
}

/// Reads the timeline of the trace at `path`.
///
/// # Errors
///
/// Those of [`falco_trace::read_file`].
pub(crate) fn read(path: &Path) -> Result<Timeline> {
    let all = Collected::read(path)?;
    Ok(Timeline::of(&all, &lanes::assign(&all)))
}
