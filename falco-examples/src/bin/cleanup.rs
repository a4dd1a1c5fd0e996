//! Lists and removes what runs of Falco have left on a platform.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::anyhow;
use clap::Parser;
use falco_core::{Deployment, Platform};
use falco_examples::platforms::PlatformArguments;
use falco_examples::{exit_code, print, say};

/// Lists and removes the functions that carry Falco's marks.
///
/// Without --run and --older-than it takes those that have expired.
#[derive(Debug, Parser)]
#[command(name = env!("CARGO_BIN_NAME"))]
struct Arguments {
    /// Take what this run made.
    #[arg(long, value_name = "ID", conflicts_with = "older_than")]
    run: Option<String>,

    /// Take what was made by runs that started so long ago, such as 1d.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,

    /// Only list what would be removed.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    platform: PlatformArguments,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(clean_up(Arguments::parse()).await)
}

/// Whether everything that was to go is gone, and told.
async fn clean_up(arguments: Arguments) -> anyhow::Result<bool> {
    let platform = arguments.platform.connect().await?;
    let now = SystemTime::now();
    let all = platform.list_deployments().await?;
    let (taken, others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|deployment| arguments.takes(deployment, now));
    if taken.is_empty() && !others.is_empty() {
        let count = others.len();
        say(format_args!(
            "nothing to remove; {count} deployed, which --run or --older-than may take"
        ));
    }
    let mut all_well = true;
    for deployment in taken {
        let line = describe(&deployment);
        let told = if arguments.dry_run {
            print(format_args!("would remove {line}\n"))
        } else {
            match platform.remove(&deployment).await {
                Ok(()) => print(format_args!("removed {line}\n")),
                Err(error) => Err(anyhow!("could not remove {line}: {error}")),
            }
        };
        // The others are removed all the same.
        if let Err(error) = told {
            say(format_args!("{error:#}"));
            all_well = false;
        }
    }
    Ok(all_well)
}

impl Arguments {
    fn takes(&self, deployment: &Deployment, now: SystemTime) -> bool {
        let Some(ownership) = &deployment.ownership else { return false };
        match (&self.run, self.older_than) {
            (Some(run), _) => ownership.run == *run.as_str(),
            (None, Some(age)) => {
                let started_at = ownership.run.started_at();
                started_at.and_then(|start| start.checked_add(age)).is_some_and(|old| old <= now)
            }
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
