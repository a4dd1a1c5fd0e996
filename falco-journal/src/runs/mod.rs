//! The runs that have journals: lists, details, verification, repair, pruning.

mod details;
mod prune;
mod repair;
mod summary;

pub use details::{RunDetails, SentAgainBecause, StageSummary, Unsettled};
pub use prune::{Keeping, Pruned};
pub use repair::Repaired;
pub use summary::{Counted, RunState, RunSummary};
