#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod bundle;
mod config;
mod connection;
mod container;
mod context;
mod events;
mod functions;
mod images;
mod isolation;
mod marks;
mod platform;
mod pool;
mod refusal;
mod sweep;
mod worker;

pub use config::{DockerConfig, DockerConfigBuilder, Pull};
pub use falco_workers::WorkerLimits;
pub use isolation::{Isolation, Mount};
pub use platform::DockerPlatform;

/// The platform's name in deployments, errors and reports.
pub(crate) const NAME: &str = "docker";
