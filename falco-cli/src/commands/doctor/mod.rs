//! `falco doctor`: whether a run could start, and what it would find.

mod checks;

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use clap::Args;
use falco_cli::flags::{PlatformFlags, ShowFlags, count, duration};
use falco_cli::{log, print};
use falco_core::Permission;
use serde::Serialize;
use serde_json::json;

/// Says whether a run could start on a platform: interpreters, credentials and where they were found, region, endpoint, clock,
/// permissions, limits, leftovers, and what a run would cost at most
///
/// The exit code is 0 when a run could start. Values of credentials are never shown.
///
/// For example:
///
///   falco doctor --platform aws --invocations 10000 --duration 800ms --memory 1024
///   falco doctor --platform gcp --deploy --json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct DoctorFlags {
    /// Deploy, call and remove a small function, too: that shows for certain whether a run could start.
    #[arg(long)]
    deploy: bool,

    /// Invocations of the run whose cost is estimated.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = count::<NonZeroU64>)]
    invocations: NonZeroU64,

    /// How long each of them takes, such as 800ms.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    duration: Duration,

    /// Memory of the function, in MiB.
    #[arg(long, value_name = "MIB", default_value = "1024", value_parser = count::<NonZeroU32>)]
    memory: NonZeroU32,

    #[command(flatten)]
    platform: PlatformFlags,

    #[command(flatten)]
    output: ShowFlags,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    /// The finding.
    found: String,
    /// The permissions, one by one, where the check is about them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    permissions: Vec<Permission>,
}

/// The verdict of a check: whether a run could start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// Nothing stands in the way.
    Ok,
    /// A run could start, and something should be looked at.
    Warning,
    /// No run could start.
    Error,
}

/// Looks at everything, and returns whether a run could start.
pub(crate) async fn doctor(flags: DoctorFlags) -> anyhow::Result<bool> {
    log::start(flags.output.log.as_ref())?;
    let checks = checks::all(&flags).await;
    let could_start = checks.iter().all(|check| check.state != State::Error);
    if flags.output.json {
        print(format_args!("{}\n", json!({"could_start": could_start, "checks": checks})))?;
        return Ok(could_start);
    }
    let shown = checks.iter().filter(|check| !flags.output.quiet || check.state != State::Ok);
    for Check { name, state, found, .. } in shown {
        let mark = match state {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Error => "error",
        };
        let lines = found.replace('\n', "\n                       ");
        print(format_args!("{mark:<8} {name:<13} {lines}\n"))?;
    }
    Ok(could_start)
}
