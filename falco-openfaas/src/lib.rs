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

/// The platform's name, in deployments and errors.
const NAME: &str = "openfaas";
