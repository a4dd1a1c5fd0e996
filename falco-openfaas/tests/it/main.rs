//! Tests of the platform, and of how it speaks to its gateway.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod conformance;
mod escalation;
mod fake;
mod faults;
mod kills;
mod watchdog;
