//! How invocations are driven, and how calls reach the platform.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{Args, ValueEnum};
use falco_core::Batch;

use super::escalate::Sizes;
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

    /// Inputs in each call of the platform, or auto for as many as take 100 to 500 ms [default: one]
    #[arg(long, value_name = "N|auto", allow_negative_numbers = true, help_heading = "Execution")]
    pub batch: Option<Batch>,

    /// Leave out retries, congestion control, timeouts and traces.
    #[arg(long, help_heading = "Execution")]
    pub no_layers: bool,

    /// Deployments of each function, which take turns: where a provider limits how fast one function may grow, as
    /// AWS Lambda does, N of them grow N times as fast.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100), conflicts_with = "no_layers", allow_negative_numbers = true, help_heading = "Execution")]
    pub replicas: u32,

    /// Invocations started per second at most.
    #[arg(long, value_name = "RATE", value_parser = positive, allow_negative_numbers = true, help_heading = "Execution")]
    pub max_rate: Option<f64>,

    /// How the rate of calls follows what the platform answers.
    #[arg(long, value_enum, default_value_t = Controller::Adaptive, conflicts_with = "no_layers", help_heading = "Execution")]
    pub controller: Controller,

    /// Calls per second that the platform is to accept: a PID controller steers the rate to it.
    #[arg(long, value_name = "RATE", value_parser = positive, conflicts_with_all = ["controller", "no_layers"], allow_negative_numbers = true, help_heading = "Execution")]
    pub target_rate: Option<f64>,

    /// The effect of the first failure on the rest of its stage [default: stop]
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Execution")]
    pub on_failure: Option<OnFailure>,

    /// Times that an invocation whose function failed is sent again.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true,
        help_heading = "Execution"
    )]
    pub repeat_failed: u32,

    /// Sizes for invocations that run out of memory or time, in ascending order, such as 512,1024,2048 for MiB of memory
    /// and 1m,15m for timeouts; crashes takes a process that died for one that ran out of memory. A larger size is
    /// deployed when it is first needed.
    #[arg(long, value_name = "SIZES", help_heading = "Execution")]
    pub escalate: Option<Sizes>,

    /// How long each stage may take, such as 1h; then it fails, and what is finished stays.
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Execution")]
    pub deadline: Option<Duration>,

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

/// How the rate of calls follows what the platform answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Controller {
    /// Finds the quota's rate and the concurrency, beginning with what the platform reports.
    Adaptive,
    /// Raises the rate step by step, and cuts it when calls are refused.
    Aimd,
    /// Steers the share of refused calls to one in a hundred.
    Pid,
    /// Keeps to what the platform reports, whatever it answers.
    Fixed,
}

/// The effect of the first failure on the rest of its stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnFailure {
    /// Nothing more is sent, and what is in flight is cancelled.
    Stop,
    /// The others go on, and every failure is reported.
    Continue,
}

impl From<OnFailure> for falco_core::OnFailure {
    fn from(on_failure: OnFailure) -> Self {
        match on_failure {
            OnFailure::Stop => Self::Stop,
            OnFailure::Continue => Self::Continue,
        }
    }
}
