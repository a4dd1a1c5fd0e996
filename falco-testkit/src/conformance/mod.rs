//! The conformance suite: what every platform has to do, as named cases.
//!
//! A platform crate implements [`Harness`], and [`conformance_tests!`](crate::conformance_tests) makes an ordinary
//! test of each case. Cases follow the platform's `capabilities()`; what a platform cannot do is printed as a named
//! skip, past the test runner's capture, so that nothing is skipped in silence.
//!
//! A case that fails says what the platform did, and prints what the case demands and why.

#![expect(
    clippy::panic,
    reason = "cases are tests: they fail by panicking, as the docs of `Case::run` say"
)]

mod cases;
mod fake;
mod harness;
pub(crate) mod run;
mod secret;
pub(crate) mod skips;
pub(crate) mod subject;

mod configuration;
mod errors;
mod failures;
mod invoke;
mod lifecycle;
mod logs;
mod refusals;
mod submit;

pub use cases::{CASES, Case};
pub use fake::{Fake, Pause};
pub use harness::{Fault, Harness, Skip, Verdict};
pub use run::check;
pub use skips::runtime_for;
