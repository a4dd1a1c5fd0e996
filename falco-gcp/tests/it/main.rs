//! Google Cloud Functions against a fake of them, which runs real functions.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod artefact;
mod conformance;
mod credentials;
mod errors;
mod faults;
mod flaky;
mod hostile;
mod large;
mod requests;
mod secrets;
mod stopped;
mod submission;
mod support;
mod wire;
