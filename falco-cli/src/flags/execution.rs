//! How invocations are driven, and how calls reach the platform.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values::{count, duration, positive};

/// How invocations are driven, and how calls reach the platform.
#[derive(Debug, Args)]
pub struct ExecutionFlags {
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
