//! Google Cloud Functions against a fake of them, which runs real functions.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod artefact;
mod concurrency;
mod conformance;
mod credentials;
mod errors;
mod faults;
mod flaky;
mod hostile;
mod labels;
mod large;
mod logs;
mod requests;
mod reuse;
mod secrets;
mod shims;
mod starts;
mod stopped;
mod submission;
mod support;
mod wire;
