//! How functions are deployed.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::Args;
use falco_core::{Deployable, Result, Scaling};

use super::values::{count, duration};

/// How functions are deployed.
#[derive(Debug, Args)]
pub struct FunctionFlags {
    /// Memory of the function, in MiB.
    #[arg(long, value_name = "MIB", value_parser = count::<NonZeroU32>, allow_negative_numbers = true, help_heading = "Function")]
    pub memory: Option<NonZeroU32>,

    /// How long the function may run, such as 30s.
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Function")]
    pub timeout: Option<Duration>,

    /// Leave the functions on the platform; `falco cleanup` removes them.
    #[arg(long, help_heading = "Function")]
    pub keep: bool,
}

impl FunctionFlags {
    /// A function out of source text, with the sizes that the command line names.
    ///
    /// # Errors
    ///
    /// When `runtime` is not a name of a runtime.
    pub fn deployable(&self, name: &str, runtime: &str, source: &str) -> Result<Deployable> {
        Ok(Deployable::from_source(name, runtime.parse()?, source).with_scaling(self.scaling()))
    }

    /// The sizes that the command line names.
    pub fn scaling(&self) -> Scaling {
        Scaling::default()
            .with_memory_mib(self.memory.map(NonZeroU32::get))
            .with_timeout(self.timeout)
    }
}
