#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod answer;
mod client;
mod config;
mod package;
mod platform;
mod wire;

pub use config::OpenFaasConfig;
pub use platform::OpenFaas;

/// What `Platform::name` says, and what errors are marked with.
const NAME: &str = "openfaas";
