//! Tests of the behaviour that all fakes share.
#![allow(clippy::unwrap_used, reason = "tests")]

mod http;
