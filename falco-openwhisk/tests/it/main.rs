//! OpenWhisk, as its users see it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod artefact;
mod collect;
mod configuration;
mod conformance;
mod faults;
mod hostile;
mod replies;
mod requests;
mod reuse;
mod secrets;
mod support;
mod transport;
