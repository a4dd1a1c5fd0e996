#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod client;
mod config;
#[cfg(feature = "fake")]
pub mod fake;
mod package;
mod platform;
mod price;

pub use config::{Architecture, AwsConfig, AwsConfigBuilder, Limits, Service, Waits};
pub use platform::AwsLambda;
pub use price::PriceTable;

/// The name of the platform in deployments, errors and reports.
pub(crate) const PLATFORM: &str = "aws";
