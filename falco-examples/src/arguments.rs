//! The command line that all examples share.

use std::num::{IntErrorKind, NonZeroU32, NonZeroUsize, ParseIntError};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use falco_core::{Deployable, Result, Scaling};

use crate::platforms::PlatformArguments;

/// Where an example runs, and how.
#[derive(Debug, Args)]
pub struct Common {
    /// Where to run, and what that platform needs.
    #[command(flatten)]
    pub platform: PlatformArguments,

    /// How invocations are driven.
    #[arg(long, value_enum, default_value_t = Executor::Parallel, help_heading = "Execution")]
    pub executor: Executor,

    /// Invocations in flight at once [default: the platform's limit, at most 64]
    #[arg(long, value_name = "N", value_parser = count::<NonZeroUsize>, allow_negative_numbers = true, help_heading = "Execution")]
    pub concurrency: Option<NonZeroUsize>,

    /// Leave out retries, congestion control, timeouts and traces.
    #[arg(long, help_heading = "Execution")]
    pub no_layers: bool,

    /// Invocations started per second at most.
    #[arg(long, value_name = "RATE", value_parser = positive, allow_negative_numbers = true, help_heading = "Execution")]
    pub max_rate: Option<f64>,

    /// Times that a call that failed, or an idempotent invocation that was lost, is sent again.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 4,
        allow_negative_numbers = true,
        help_heading = "Execution"
    )]
    pub retries: u32,

    /// Copy an idempotent invocation that is slower than FACTOR times the median; the first answer wins.
    #[arg(long, value_name = "FACTOR", value_parser = positive, allow_negative_numbers = true, help_heading = "Execution")]
    pub speculate: Option<f64>,

    /// How long one attempt may take, such as 30s. Then it counts as lost, and is sent again where that does no harm
    /// [default: the function's own timeout and a margin]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Execution")]
    pub attempt_timeout: Option<Duration>,

    /// How long to wait while nobody answers for the platform, such as 10m; 0s fails as soon as the retries are used up.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "5m", help_heading = "Execution")]
    pub outage_patience: Duration,

    /// Memory of the function, in MiB.
    #[arg(long, value_name = "MIB", value_parser = count::<NonZeroU32>, allow_negative_numbers = true, help_heading = "Function")]
    pub memory: Option<NonZeroU32>,

    /// How long the function may run, such as 30s.
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Function")]
    pub timeout: Option<Duration>,

    /// Leave the functions on the platform; `cleanup` removes them.
    #[arg(long, help_heading = "Function")]
    pub keep: bool,

    /// Print one JSON object with result and report.
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Show neither progress nor report.
    #[arg(long, short, help_heading = "Output")]
    pub quiet: bool,
}

/// How invocations are driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Executor {
    /// One after the other, in order.
    Sequential,
    /// Many at once, each waited for.
    Parallel,
    /// Submitted first, collected in batches.
    Async,
}

impl Common {
    /// A function out of source text, with the sizes that the command line names.
    ///
    /// # Errors
    ///
    /// When `runtime` is not a name of a runtime.
    pub fn function(&self, name: &str, runtime: &str, source: &str) -> Result<Deployable> {
        Ok(Deployable::from_source(name, runtime.parse()?, source).with_scaling(self.scaling()))
    }

    /// The sizes that the command line names.
    pub fn scaling(&self) -> Scaling {
        Scaling::default()
            .with_memory_mib(self.memory.map(NonZeroU32::get))
            .with_timeout(self.timeout)
    }
}

/// Reads how many of something there shall be.
///
/// # Errors
///
/// When it is not a whole number, zero, or more than `T` holds.
pub fn count<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow => "it is too large".to_owned(),
        _ => "it has to be a whole number, 1 or more".to_owned(),
    })
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if number > 0.0 && number.is_finite() {
        Ok(number)
    } else {
        Err(format!("{text} is not greater than zero"))
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("it has to be longer than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}
