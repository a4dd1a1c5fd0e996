#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod arguments;
mod batch;
mod context;
#[cfg(feature = "data")]
pub mod data;
#[cfg(feature = "driver")]
mod driver;
mod failure;
mod functions;
mod output;
mod registered;
mod serve;
mod worker;

pub use context::Context;
#[cfg(feature = "driver")]
pub use driver::{Build, Executable, InProcess};
pub use functions::Functions;
pub use registered::Registered;

/// The environment variable that makes a program a worker: the name of the function to serve.
///
/// A platform sets it in the processes that it starts. They pass it on to their children; a function that starts its
/// own program as a driver removes it with `env_remove(falco_function::FUNCTION)`.
pub const FUNCTION: &str = "FALCO_FUNCTION";
