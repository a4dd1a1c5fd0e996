#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod conformance;
pub mod fixture;
pub mod machine_image;
pub mod runtimes;
pub mod shims;
pub mod simulation;

mod golden;
mod in_memory;
mod latency;
mod log_capture;
mod outages;
mod raw_peer;
mod tcp_proxy;

pub use golden::assert_golden;
pub use in_memory::{
    Admission, Arrival, Call, Counters, Fate, Fates, FunctionCall, InMemory, Odds, Operation,
    Reply, Settings,
};
pub use latency::Latency;
pub use log_capture::LogCapture;
pub use outages::{Away, Line, Outages};
pub use raw_peer::{RawPeer, Script, Step};
pub use tcp_proxy::TcpProxy;
