//! The user's choice of how workers of Python functions start.

use std::fmt;
use std::str::FromStr;

use falco_core::{Error, Result};

/// How the workers of Python functions start: by themselves, or forked out of an interpreter that is there already, which takes
/// a tenth of the time and shares memory.
///
/// Only imports at the very beginning of the function's file happen before the fork, and only where that makes no difference:
/// where one of them starts a thread or a process, opens a file, prints, or makes a generator of random numbers, workers
/// start by themselves, as those of other languages always do. `random` starts anew in each worker. Forked workers
/// of a function have one seed of `hash` in common.
///
/// # Examples
///
/// ```
/// use falco_local::{ForkedWorkers, LocalConfig};
///
/// let config = LocalConfig::builder()
///     .directory("/tmp/falco")
///     .forked_workers(ForkedWorkers::Never)
///     .build()?;
/// assert_eq!("never".parse::<ForkedWorkers>()?, ForkedWorkers::Never);
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForkedWorkers {
    /// From the third worker on, of functions that may have more than four.
    #[default]
    Auto,
    /// Every worker is forked, where that is safe.
    Always,
    /// Every worker starts by itself.
    Never,
}

impl fmt::Display for ForkedWorkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        })
    }
}

impl FromStr for ForkedWorkers {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err(Error::invalid_input(format!(
                "invalid choice of forked workers {text:?}: use auto, always or never"
            ))),
        }
    }
}
