//! The executors through their public API.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod runner;
mod strategies;
