//! The command line flags that all programs on Falco share: one file for each group.
//!
//! A group is a struct that derives [`clap::Args`], in a file of its own, and a field of [`RunFlags`]. What it does to a run
//! stands in methods of the group, which [`Launch`](crate::Launch) calls: `connect` for whatever has to be refused before
//! anything is deployed and for layers, `options` for monitors and settings of the run, and `finish` for what is said at its end.

mod again;
mod cost;
mod data;
mod escalate;
mod execution;
mod function;
mod journal;
#[cfg(feature = "meter")]
mod observe;
mod output;
mod packages;
mod platform;
mod values;

use clap::Args;

pub use cost::CostFlags;
pub(crate) use cost::paid;
pub use data::{DataFlags, Stores, open_store};
pub use escalate::Sizes;
pub use execution::{Controller, ExecutionFlags, Executor, OnFailure};
pub use function::FunctionFlags;
pub use journal::{JournalFlags, Rerun, WhenStopped, directory as journal_directory};
#[cfg(feature = "meter")]
pub use observe::ObserveFlags;
pub use output::{Log, OutputFlags, ShowFlags};
pub use packages::PackageFlags;
pub use platform::{Inspected, PlatformFlags, PlatformName, SpreadBy};
pub use values::{count, duration, positive};

/// Where a program runs its functions, and how.
#[derive(Debug, Args)]
pub struct RunFlags {
    /// Where to run, and what that platform needs.
    #[command(flatten)]
    pub platform: PlatformFlags,

    /// How invocations are driven.
    #[command(flatten)]
    pub execution: ExecutionFlags,

    /// The budget of the run, and its estimate.
    #[command(flatten)]
    pub cost: CostFlags,

    /// How functions are deployed.
    #[command(flatten)]
    pub function: FunctionFlags,

    /// How the run is recorded, and gone on with.
    #[command(flatten)]
    pub journal: JournalFlags,

    /// The output.
    #[command(flatten)]
    pub output: OutputFlags,

    /// How the run can be looked at.
    #[cfg(feature = "meter")]
    #[command(flatten)]
    pub observe: ObserveFlags,
}
