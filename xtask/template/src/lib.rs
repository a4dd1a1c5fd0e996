#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![allow(dead_code, reason = "the methods that are to be written call the rest; remove this line with the last hole")]

mod answer;
mod client;
mod config;
mod package;
mod platform;
mod refusal;
mod wire;

pub use config::{{{Name}}Config, {{Name}}ConfigBuilder, {{Name}}Waits};
pub use falco_http::ClientConfig;
pub use platform::{{Name}};

/// The platform's name, in deployments and errors.
const NAME: &str = "{{name}}";
