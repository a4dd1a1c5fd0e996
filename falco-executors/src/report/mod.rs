//! The outcome of a run in numbers: as a typed value, as JSON, and as a table for people.

mod advice;
mod failure;
mod format;
mod latency;
mod millis;
mod price;
mod recorder;
mod size;
mod stage;
mod table;
mod totals;

pub use advice::StageAdvice;
pub use failure::Failure;
pub use falco_layers::{BudgetReport, StageCost};
pub(crate) use format::{duration, number, rate};
pub use latency::Latencies;
pub use price::{PlanPrice, StagePrice};
pub(crate) use recorder::StageRecorder;
pub use size::SizeReport;
pub use stage::{Counts, StageReport, StageState};
pub use totals::RunReport;
