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
mod sweep;
mod worker;

/// The platform's name in deployments, errors and reports.
pub(crate) const NAME: &str = "docker";

pub use config::{DockerConfig, Pull};
pub use isolation::{Isolation, Mount};
pub use platform::DockerPlatform;
