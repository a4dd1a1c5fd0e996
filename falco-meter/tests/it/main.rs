//! The meter as a user sees it: over HTTP, in files, and in a browser.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod browser;
mod pages;
mod report;
mod sample;
mod server;
