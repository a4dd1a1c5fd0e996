#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod call;
mod fact;
mod file;
mod line;
#[cfg(feature = "otlp")]
mod otlp;
mod outbox;
mod perfetto;
mod proto;
mod record;
mod recorder;
mod sink;
mod units;
mod view;

pub use call::{Call, CallError, CallOutcome, Why};
pub use fact::{FactCollector, FactConsole, FactCsv};
pub use file::{CallIndex, CallQuery, FileEnd, Follower, TraceFile, read, read_file};
#[cfg(feature = "otlp")]
pub use otlp::OtlpExporter;
pub use perfetto::Perfetto;
pub use record::{
    EndRecord, FunctionRecord, GateRecord, LogRecord, LogText, NoteRecord, PlannedStage, Record,
    RunRecord, SettledRecord, StageRecord,
};
pub use recorder::Recorder;
pub use sink::Sink;
pub use units::{Micros, Picodollars};
pub use view::{
    Class, Costs, Counts, Distribution, FailedCall, GateView, HEAT_COLUMNS, HEAT_ROWS, HeatMap,
    Percentiles, RecentCall, RunView, SERIES_POINTS, Series, StageState, StageView,
};
