//! Running a plan: deploy, execute, remove; and the steps beneath, for drivers with loops of their own.

mod consequences;
mod control;
mod cut;
mod default_layers;
mod deployed;
mod derive;
mod driver_ext;
mod functions;
mod graph;
mod guard;
mod hub;
mod ids;
mod invocations;
mod logs;
mod node;
mod options;
mod outages;
mod outcome;
pub(crate) mod owner;
mod removal;
mod session;
mod stage_run;
mod stage_spec;
mod stop;
mod verdict;

pub use deployed::Deployed;
pub use driver_ext::DriverExt;
pub(crate) use ids::number_of;
pub use options::{KeepResults, RunOptions};
pub use outcome::{Leftover, Partial, RunOutcome};
pub(crate) use session::MANAGEMENT_CALLS;
pub use session::Session;
pub use stage_run::StageRun;
pub use stage_spec::StageSpec;
pub use stop::{StopSignal, stop_signals};
