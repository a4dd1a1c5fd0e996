#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod in_memory;
mod latency;

pub use in_memory::{
    Call, Counters, Fate, Fates, FunctionCall, InMemory, Odds, Operation, Reply, Settings,
};
pub use latency::Latency;
