#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod action;
mod bundle;
mod calls;
mod config;
mod connection;
mod container;
mod context;
mod driver;
mod events;
mod failed;
mod functions;
mod heard;
mod http;
mod images;
mod isolation;
mod lambda;
mod marks;
mod network;
mod platform;
mod pool;
mod probe;
mod protocol;
mod pull;
mod refusal;
mod sweep;
mod tarball;
mod tls;
mod turns;
mod worker;

pub use config::{DockerConfig, DockerConfigBuilder, Pull};
pub use falco_workers::WorkerLimits;
pub use isolation::{Isolation, Mount};
pub use platform::DockerPlatform;
pub use protocol::Protocol;
pub use tls::Tls;

/// The platform's name in deployments, errors and reports.
pub(crate) const NAME: &str = "docker";
