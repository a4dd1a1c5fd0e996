#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod answer;
mod client;
mod config;
mod package;
mod platform;
mod refusal;
mod waits;
mod wire;

pub use config::{OpenFaasConfig, OpenFaasConfigBuilder};
pub use falco_http::ClientConfig;
pub use platform::OpenFaas;
pub use waits::OpenFaasWaits;

/// The platform's name, in deployments and errors.
const NAME: &str = "openfaas";
