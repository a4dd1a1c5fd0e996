#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod activation;
mod call;
mod client;
mod collect;
mod config;
mod deploying;
mod deployments;
mod invoke;
mod key;
mod limits;
mod name;
mod outstanding;
mod package;
mod platform;
mod refusal;
mod schedule;
mod stored;
mod waits;
mod walk;
mod wire;
mod wskprops;

pub use config::{OpenWhiskConfig, OpenWhiskConfigBuilder};
pub use falco_http::ClientConfig;
pub use falco_package::Machine;
pub use platform::OpenWhisk;
pub use waits::OpenWhiskWaits;

/// The name of this platform in deployments and errors.
const NAME: &str = "openwhisk";
