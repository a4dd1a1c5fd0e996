//! Lists and removes what runs of Falco have left on a platform.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command line tool")]

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Parser;
use falco_core::{Deployment, Platform};
use falco_examples::exit_code;
use falco_examples::platforms::PlatformArguments;

/// Lists and removes the functions that carry Falco's marks.
///
/// Without --run and --older-than it takes those that have expired.
#[derive(Debug, Parser)]
#[command(name = env!("CARGO_BIN_NAME"))]
struct Arguments {
    #[command(flatten)]
    platform: PlatformArguments,

    /// Take what this run made.
    #[arg(long, value_name = "ID", conflicts_with = "older_than")]
    run: Option<String>,

    /// Take what was made by runs that started so long ago, such as 1d.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,

    /// Only list what would be removed.
    #[arg(long)]
    dry_run: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(clean_up(Arguments::parse()).await)
}

/// Whether everything that was to go is gone.
async fn clean_up(arguments: Arguments) -> anyhow::Result<bool> {
    let platform = arguments.platform.connect().await?;
    let now = SystemTime::now();
    let mut all_gone = true;
    for deployment in platform.list_deployments().await? {
        if !arguments.takes(&deployment, now) {
            continue;
        }
        let line = describe(&deployment);
        if arguments.dry_run {
            println!("would remove {line}");
            continue;
        }
        match platform.remove(&deployment).await {
            Ok(()) => println!("removed {line}"),
            Err(error) => {
                eprintln!("could not remove {line}: {error}");
                all_gone = false;
            }
        }
    }
    Ok(all_gone)
}

impl Arguments {
    fn takes(&self, deployment: &Deployment, now: SystemTime) -> bool {
        let Some(ownership) = &deployment.ownership else { return false };
        match (&self.run, self.older_than) {
            (Some(run), _) => ownership.run == *run.as_str(),
            (None, Some(age)) => ownership.run.started_at().is_some_and(|start| start + age <= now),
            (None, None) => ownership.expires_at <= now,
        }
    }
}

fn describe(deployment: &Deployment) -> String {
    match &deployment.ownership {
        Some(ownership) => {
            format!("{} of run {}, owner {}", deployment.name, ownership.run, ownership.owner)
        }
        None => deployment.name.clone(),
    }
}
