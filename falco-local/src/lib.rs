#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod abandonment;
mod ahead;
mod config;
mod descriptors;
mod exchange;
mod fork;
mod forked_workers;
mod forking;
mod functions;
mod guardian;
mod interpreter;
mod memory;
mod package;
mod pipe;
mod platform;
mod pool;
mod process;
mod queue;
mod results;
mod scratch;
mod shared;
mod spawn;
mod state;
mod streams;
mod tree;
mod unsent;
mod watch;
mod worker;

pub use config::{LocalConfig, LocalConfigBuilder};
pub use falco_workers::WorkerLimits;
pub use forked_workers::ForkedWorkers;
pub use platform::LocalPlatform;

/// The platform's name in deployments and errors.
pub(crate) const NAME: &str = "local";
