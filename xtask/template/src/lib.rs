#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod client;
mod config;
mod package;
mod platform;
mod refusal;

pub use config::{{{Name}}Config, {{Name}}ConfigBuilder};
pub use falco_http::ClientConfig;
pub use platform::{{Name}};

/// The platform's name, in deployments and errors.
const NAME: &str = "{{name}}";
