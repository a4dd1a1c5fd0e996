//! Data in folders and on real servers of object stores, by the public API.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod azure;
mod broken_lists;
mod commit;
mod exchange;
mod faults;
mod functions;
mod gcs;
mod local;
mod long_lines;
mod parquet;
mod refusals;
mod resumed;
mod s3;
mod scan;
mod server;
mod splits;
mod stores;
mod sweep;
mod typed;
