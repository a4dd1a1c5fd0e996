#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod archive;
mod directory;
mod native;
mod zipped;

pub use archive::{Archive, File};
pub use native::NATIVE_EXECUTABLE;
pub use zipped::DEFAULT_MAX_UNPACKED;
