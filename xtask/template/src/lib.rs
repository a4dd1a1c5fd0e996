#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod client;
mod config;
mod package;
mod platform;

pub use config::{{Name}}Config;
pub use platform::{{Name}};

/// What `Platform::name` says, and what errors are marked with.
const NAME: &str = "{{name}}";
