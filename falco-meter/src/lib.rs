#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod metrics;
mod page;
mod plots;
mod report;
mod server;
mod source;
mod state;

#[cfg(feature = "cli")]
pub mod cli;

pub use plots::write_plots;
pub use report::{CriticalPath, PathStep, critical_path, report, write_report};
pub use server::{MeterServer, MeterSettings};
