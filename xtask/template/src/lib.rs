#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod client;
mod config;
mod package;
mod platform;

pub use config::{{Name}}Config;
pub use platform::{{Name}};

/// The platform's name, in deployments and errors.
const NAME: &str = "{{name}}";
