#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod objects;
pub mod text;

/// The program in the guide to functions in Rust compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/functions-in-rust.md")]
pub mod functions_in_rust {}
