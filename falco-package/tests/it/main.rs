#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod directories;
mod packages;
mod shims;
mod static_executables;
mod zips;
