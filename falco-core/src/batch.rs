//! How many inputs travel in one invocation.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// How many inputs of a stage travel to the function in one call of the platform. The function stays as it is: Falco's shim
/// calls it once for each input.
///
/// Each input keeps its own outcome. Only inputs that failed are sent again. Retries, deadlines, copies of stragglers,
/// progress, results and journals count inputs, as they do without batches.
///
/// # Examples
///
/// ```
/// use falco_core::Batch;
///
/// assert_eq!("100".parse::<Batch>()?, Batch::of(100));
/// assert_eq!("auto".parse::<Batch>()?, Batch::auto());
/// assert!("0".parse::<Batch>().is_err() && Batch::of(0).validate().is_err());
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch(BatchSize);

/// The rule behind a [`Batch`], for strategies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchSize {
    /// So many inputs.
    Inputs(usize),
    /// As many inputs as so many bytes of arguments hold, and one at least.
    Bytes(u64),
    /// As many inputs as the function works off in 100 to 500 milliseconds, by the times that it has measured.
    Auto,
}

impl Batch {
    /// `inputs` in each call, and fewer where no more are there or fit.
    pub fn of(inputs: usize) -> Self {
        Self(BatchSize::Inputs(inputs))
    }

    /// As many inputs in each call as `bytes` of arguments hold, and one at least.
    pub fn bytes(bytes: u64) -> Self {
        Self(BatchSize::Bytes(bytes))
    }

    /// As many inputs in each call as make it last 100 to 500 milliseconds, by measured times. Towards the end of a stage
    /// batches shrink, so that no worker is idle.
    pub fn auto() -> Self {
        Self(BatchSize::Auto)
    }

    /// The rule.
    pub fn size(self) -> BatchSize {
        self.0
    }

    /// Checks the number. [`ExecutionPlan::new`](crate::ExecutionPlan::new) does it for each stage.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a batch of zero inputs or bytes.
    pub fn validate(self) -> Result<()> {
        match self.0 {
            BatchSize::Inputs(0) => {
                Err(Error::invalid_input("invalid batch of 0 inputs: use 1 or more"))
            }
            BatchSize::Bytes(0) => {
                Err(Error::invalid_input("invalid batch of 0 bytes: use 1 or more"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            BatchSize::Inputs(inputs) => write!(f, "{inputs}"),
            BatchSize::Bytes(bytes) => write!(f, "{bytes} bytes"),
            BatchSize::Auto => f.write_str("auto"),
        }
    }
}

impl FromStr for Batch {
    type Err = Error;

    /// Reads a number of inputs, or `auto`.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::auto()),
            number => match number.parse() {
                Ok(inputs) if inputs > 0 => Ok(Self::of(inputs)),
                _ => Err(Error::invalid_input(format!(
                    "invalid batch {number:?}: use a number of inputs from 1, or auto"
                ))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_reads_as_it_is_shown() {
        for batch in [Batch::of(7), Batch::auto()] {
            assert_eq!(batch.to_string().parse::<Batch>().unwrap(), batch);
        }
        for wrong in ["", "0", "-1", "many", "1.5"] {
            let error = wrong.parse::<Batch>().unwrap_err();
            assert!(error.to_string().contains("auto"), "{error}");
        }
        assert!(Batch::bytes(0).validate().is_err() && Batch::bytes(1).validate().is_ok());
    }
}
