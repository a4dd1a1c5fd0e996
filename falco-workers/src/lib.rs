#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod answer;

mod job;
mod log;
mod submissions;

pub use job::{Job, Reply};
pub use log::{Capture, Captured, Logs};
pub use submissions::{Found, Submissions};
