//! What {{Name}} has to do, and how it speaks to its gateway.
#![allow(clippy::unwrap_used, reason = "tests")]

mod conformance;
mod fake;
