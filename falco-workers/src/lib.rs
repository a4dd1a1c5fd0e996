#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod answer;

mod ids;
mod job;
mod limits;
mod log;
mod pools;
mod submissions;

pub use ids::ActivationIds;
pub use job::{Job, Reply};
pub use limits::{MEMORY_MIB, PoolLimits, TIMEOUT, WorkerLimits, check_bounds};
pub use log::{Capture, Captured, Logs};
pub use pools::{Pool, Pools, removed};
pub use submissions::Submissions;
