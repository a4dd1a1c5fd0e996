//! The facade, as a program uses it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

#[cfg(feature = "local")]
mod examples;
mod readme;
