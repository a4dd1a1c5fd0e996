//! Tests of the testkit through its public interface.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod conformance;
mod fixture;
mod in_memory;
mod laws;
mod mutants;
mod raw_peer;
mod shims;
mod simulation;
mod tcp_proxy;
