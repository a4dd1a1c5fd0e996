//! Tests of {{Name}}, and of how it speaks to its provider.
#![allow(clippy::unwrap_used, reason = "tests")]

mod conformance;
mod fake;
mod faults;
