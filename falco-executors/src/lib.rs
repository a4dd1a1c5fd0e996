#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod cleanup;
mod derivation;
mod panics;
mod progress;
pub mod report;
mod results;
mod run;
pub mod session;
mod strategy;
pub mod typed;

pub use cleanup::{Cleaned, Which, cleanup};
pub use derivation::{Chunks, FanIn, FanOut, Merge, OneToOne, Shuffle};
pub use falco_core::{OnFailure, Repeats, StagePolicy};
pub use progress::Progress;
pub use results::ResultsSink;
pub use run::owner::user_and_host as owner;
pub use run::{
    DriverExt, KeepResults, Leftover, LogPolicy, OnStop, Partial, RunOptions, RunOutcome,
    StopSignal, is_hangup_ignored, stop_signals,
};
pub use strategy::{
    AsyncExecutor, ExecutionOptions, ParallelExecutor, Patience, RepeatPolicy, SequentialExecutor,
    Speculation,
};
pub use typed::Run;
