#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod architecture;
mod client;
mod config;
mod package;
mod platform;
mod price;
mod refusal;

pub use architecture::Architecture;
pub use config::{AwsConfig, AwsConfigBuilder, AwsWaits, Limits, Service};
pub use falco_http::ClientConfig;
pub use platform::AwsLambda;
pub use price::PriceTable;

/// The name of the platform in deployments, errors and reports.
pub(crate) const NAME: &str = "aws";
