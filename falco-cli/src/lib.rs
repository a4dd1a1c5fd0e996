#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod cleanup;
pub mod flags;
mod launch;
pub mod log;
mod objects;
#[cfg(feature = "meter")]
mod observation;
mod output;
pub mod runs;
mod signals;

pub use flags::RunFlags;
pub use launch::Launch;
pub use objects::{check_outputs, clean_scratch, with_objects};
pub use output::{conclude, exit_code, finish, print, say};
pub use signals::interrupted;
