//! The integration tests of falco-aws, as one binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod artefact;
mod configuration;
mod conformance;
mod cost;
mod environment;
mod errors;
mod faults;
mod hostile;
mod images;
mod lifecycle;
mod naive;
mod native;
mod partial;
mod regions;
mod requests;
mod reuse;
mod runtimes;
mod secrets;
mod sso;
mod support;
