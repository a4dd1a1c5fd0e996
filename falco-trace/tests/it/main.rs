//! Traces through the public API, of runs on the platform in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod batches;
mod exports;
mod faults;
mod files;
mod laws;
#[cfg(feature = "otlp")]
mod otlp;
mod support;
