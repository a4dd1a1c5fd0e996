//! The client against peers that behave and peers that do not.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod client;
mod faults;
