#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod blobs;
mod clock;
mod completed;
mod config;
mod deployments;
mod disk;
mod head;
mod index;
mod intents;
mod journal;
mod keeper;
mod kill;
mod layer;
mod line;
mod lines;
mod lock;
mod log;
mod machine;
mod monitor;
mod plan;
mod ran;
mod reader;
mod recall;
mod recalled;
mod record;
mod releases;
mod replay;
mod reuse;
mod runs;
mod segment;

#[doc(hidden)]
pub use config::Part;
pub use config::{Durability, JournalConfig, ResumeOptions, RunCommand};
pub use journal::RunJournal;
pub use runs::{
    Counted, Keeping, Pruned, Repaired, RunDetails, RunState, RunSummary, SentAgainBecause,
    StageSummary, Unsettled,
};
