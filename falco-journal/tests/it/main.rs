//! Tests of the journal through its public interface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    missing_docs,
    reason = "tests"
)]

mod budgets;
mod damage;
mod death;
mod deployments;
mod full_disk;
mod kills;
mod mortal;
mod recalls;
mod runs;
mod spreads;
mod support;
mod whole_runs;
