#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod cleanup;
mod derivation;
mod panics;
mod progress;
mod report;
mod run;
mod strategy;
mod typed;

pub use cleanup::{Cleaned, Which, cleanup};
pub use derivation::{Chunks, FanIn, FanOut, Merge, OneToOne, Shuffle};
pub use falco_core::{OnFailure, Repeats, StagePolicy};
pub use progress::Progress;
pub use report::{Counts, Failure, Latencies, RunReport, StageReport, StageState};
pub use run::{
    Deployed, DriverExt, KeepResults, Leftover, Partial, RunOptions, RunOutcome, Session, StageRun,
    StageSpec, StopSignal, stop_signals,
};
pub use strategy::{
    AsyncExecutor, ExecutionOptions, ParallelExecutor, Patience, RepeatPolicy, SequentialExecutor,
    Speculation,
};
pub use typed::{Both, Function, List, Output, Pairs, Partition, Pipeline, Run};
