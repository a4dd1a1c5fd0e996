//! Lists and removes what runs have left on a platform.

use std::time::Duration;

use clap::Args;
use falco_core::{Deployment, Platform};
use falco_executors::{Which, cleanup};

use crate::flags::PlatformFlags;
use crate::{print, say};

/// Lists and removes the functions that carry Falco's marks.
///
/// Without --run, --owner and --older-than it takes those that have expired, and those of processes of this machine
/// that have ended.
#[derive(Debug, Args)]
pub struct CleanupFlags {
    /// Take what this run made.
    #[arg(long, value_name = "ID", conflicts_with_all = ["owner", "older_than"])]
    run: Option<String>,

    /// Take what this owner made, such as ada@workstation.
    #[arg(long, value_name = "OWNER", conflicts_with = "older_than")]
    owner: Option<String>,

    /// Take what was made by runs that started so long ago, such as 1d.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,

    /// Only list what would be removed.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    platform: PlatformFlags,
}

/// Lists or removes what the flags name, and returns whether all of it is gone.
///
/// # Errors
///
/// When the platform does not answer, or stdout cannot be written to.
pub async fn clean_up(flags: &CleanupFlags) -> anyhow::Result<bool> {
    let platform = flags.platform.connect().await?;
    let which = flags.which();
    let all = platform.list_deployments().await?;
    let taken: Vec<_> = all.iter().filter(|deployment| which.takes(deployment)).collect();
    if taken.is_empty() && !all.is_empty() {
        let count = all.len();
        say(format_args!(
            "nothing to remove; {count} deployed, which --run, --owner or --older-than may take"
        ));
    }
    if flags.dry_run {
        for deployment in taken {
            print(format_args!("would remove {}\n", describe(deployment)))?;
        }
        return Ok(true);
    }
    let cleaned = cleanup(&*platform, &which).await?;
    for deployment in &cleaned.removed {
        print(format_args!("removed {}\n", describe(deployment)))?;
    }
    for leftover in &cleaned.leftovers {
        let line = describe(&leftover.deployment);
        say(format_args!("could not remove {line}: {}", leftover.error));
    }
    Ok(cleaned.leftovers.is_empty())
}

impl CleanupFlags {
    fn which(&self) -> Which {
        match (&self.run, &self.owner, self.older_than) {
            (Some(run), _, _) => Which::Run(run.as_str().into()),
            (None, Some(owner), _) => Which::Owner(owner.clone()),
            (None, None, Some(age)) => Which::OlderThan(age),
            (None, None, None) => Which::Orphaned,
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
