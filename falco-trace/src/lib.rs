#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod call;
mod file;
mod record;
mod recorder;
mod sink;
mod units;
mod view;

pub use call::{Call, CallError, CallOutcome, Why};
pub use file::{FileEnd, Follower, TraceFile, read, read_file};
pub use record::{
    EndRecord, FunctionRecord, GateRecord, LogRecord, LogText, NoteRecord, PlannedStage, Record,
    RunRecord, SettledRecord, StageRecord,
};
pub use recorder::{Allowed, Recorder};
pub use sink::Sink;
pub use units::{Micros, Picodollars};
pub use view::{
    Class, Counts, Distribution, FailedCall, HEAT_COLUMNS, HEAT_ROWS, HeatMap, Percentiles,
    RecentCall, RunView, SERIES_POINTS, Series, StageState, StageView,
};
