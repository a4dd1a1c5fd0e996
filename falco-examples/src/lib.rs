#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod arguments;
mod launch;
mod output;
pub mod platforms;
pub mod text;

pub use arguments::{Common, Executor, count};
pub use launch::Launch;
pub use output::{exit_code, finish, print, say};

/// The program in the guide to functions in Rust compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/functions-in-rust.md")]
pub mod functions_in_rust {}
