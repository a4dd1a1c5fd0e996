//! How functions are deployed.

use std::env::VarError;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use falco_core::{Deployable, Scaling};

use super::PackageFlags;
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

    /// An environment variable of the function; without a value it has that of this process, so that a secret need not
    /// stand on the command line.
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = "Function")]
    pub env: Vec<Variable>,

    /// The image that the function runs in, where the platform runs images (docker, openwhisk, aws), instead of the platform's
    /// own environment.
    #[arg(long, value_name = "REFERENCE", help_heading = "Function")]
    pub image: Option<String>,

    /// Leave the functions on the platform; `falco cleanup` removes them.
    #[arg(long, help_heading = "Function")]
    pub keep: bool,

    /// The third-party packages that travel with functions.
    #[command(flatten)]
    pub packages: PackageFlags,
}

impl FunctionFlags {
    /// A function out of source text, with the sizes that the command line names.
    ///
    /// # Errors
    ///
    /// When `runtime` is not a name of a runtime.
    pub fn deployable(
        &self,
        name: &str,
        runtime: &str,
        source: &str,
    ) -> falco_core::Result<Deployable> {
        Ok(self.set_up(Deployable::from_source(name, runtime.parse()?, source)))
    }

    /// A function with the sizes, the environment and the image that the command line names.
    pub fn set_up(&self, function: Deployable) -> Deployable {
        let mut function = function.with_scaling(self.scaling());
        if let Some(image) = &self.image {
            function = function.with_image(image.as_str());
        }
        self.env
            .iter()
            .fold(function, |function, variable| function.with_env(&variable.name, &variable.value))
    }

    /// The sizes that the command line names.
    pub fn scaling(&self) -> Scaling {
        Scaling::default()
            .with_memory_mib(self.memory.map(NonZeroU32::get))
            .with_timeout(self.timeout)
    }
}

/// An environment variable of a function, as `NAME=VALUE`, or as `NAME` with the value that this process has. `Debug` shows
/// the name only.
#[derive(Clone)]
pub struct Variable {
    name: String,
    value: String,
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Variable({})", self.name)
    }
}

impl FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((name, value)) = text.split_once('=') {
            return Ok(Self { name: name.to_owned(), value: value.to_owned() });
        }
        match std::env::var(text) {
            Ok(value) => Ok(Self { name: text.to_owned(), value }),
            Err(VarError::NotPresent) => {
                Err("this process has no variable of that name; use NAME=VALUE".to_owned())
            }
            Err(VarError::NotUnicode(_)) => {
                Err("the value of this process is not UTF-8".to_owned())
            }
        }
    }
}
