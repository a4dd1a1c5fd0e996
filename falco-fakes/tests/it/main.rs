//! What every fake does, whatever its provider.
#![allow(clippy::unwrap_used, reason = "tests")]

mod http;
