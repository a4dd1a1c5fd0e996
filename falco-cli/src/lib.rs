#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod cleanup;
pub mod flags;
mod launch;
mod output;

pub use flags::RunFlags;
pub use launch::Launch;
pub use output::{exit_code, finish, print, say};
