#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod client;
mod config;
mod http;
mod package;
mod platform;
mod price;
mod refusal;
mod token;

pub use config::{
    Access, AuthorizedUser, CloudTasks, Credentials, GcpConfig, GcpConfigBuilder, GcpWaits,
    Service, ServiceAccountKey, Submission,
};
pub use falco_http::ClientConfig;
pub use platform::GcpFunctions;
pub use price::PriceTable;
pub use token::{Token, TokenSource};

/// The platform's name, as [`Platform::name`](falco_core::Platform::name) returns it.
const NAME: &str = "gcp";
