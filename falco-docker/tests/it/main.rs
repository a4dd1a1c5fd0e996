//! The platform against a real daemon.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod conformance;
mod crowded;
mod daemon;
mod failures;
mod fake;
mod faults;
mod image;
mod images;
mod own_daemon;
mod restarts;
mod tls;
