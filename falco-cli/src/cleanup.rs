//! Lists and removes what runs have left on a platform.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use falco_core::{Deployment, ErrorKind, Platform, RunId};
use falco_data::{Store, clean, expired};
use falco_executors::{Which, cleanup};
use falco_journal::RunJournal;
use serde::Serialize;
use serde_json::json;

use crate::flags::{PlatformFlags, ShowFlags, journal_directory, open_store};
use crate::{log, print, say};

/// Lists and removes the functions that carry Falco's marks.
///
/// Without --run, --owner and --older-than it takes those that have expired, and those of processes of this machine
/// that have ended.
///
/// For example: falco cleanup --older-than 1d --dry-run
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

    /// Also delete what runs have left in this scratch store, a folder or a URL: those past their expiry, or the one of --run.
    #[arg(long, value_name = "URL")]
    store: Option<String>,

    /// Where the journal of --run is [default: $XDG_STATE_HOME/falco/runs, else ~/.local/state/falco/runs]
    #[arg(long, value_name = "DIR", requires = "run")]
    journal: Option<PathBuf>,

    /// Only list what would be removed.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    platform: PlatformFlags,

    #[command(flatten)]
    output: ShowFlags,
}

/// Lists or removes what the flags name, and returns whether all of it is gone.
///
/// # Errors
///
/// When the platform does not answer, or stdout cannot be written to.
pub async fn clean_up(flags: &CleanupFlags) -> anyhow::Result<bool> {
    log::start(flags.output.log.as_ref())?;
    let platform = flags.platform.connect().await?;
    let which = flags.which();
    let all = platform.list_deployments().await?;
    // What is deleted is reported at the end: nothing that can fail without a report comes between.
    let swept = match &flags.store {
        Some(store) => Some(sweep_store(flags, &open_store(store)?).await?),
        None => None,
    };
    let is_swept = swept.as_ref().is_none_or(|swept| swept.left.is_empty());
    let taken: Vec<_> = all.iter().filter(|deployment| which.takes(deployment)).collect();
    if taken.is_empty() && !all.is_empty() && !flags.output.quiet {
        let count = all.len();
        say(format_args!(
            "nothing to remove; {count} deployed, which --run, --owner or --older-than may take"
        ));
    }
    if flags.dry_run {
        if flags.output.json {
            let mut would = json!({"would_remove": taken});
            if let Some(Swept { deleted, .. }) = swept {
                would["would_delete"] = json!(deleted);
            }
            print(format_args!("{would}\n"))?;
            return Ok(true);
        }
        for deployment in taken {
            print(format_args!("would remove {}\n", describe(deployment)))?;
        }
        return Ok(is_swept);
    }
    let cleaned = cleanup(&*platform, &which).await?;
    if flags.output.json {
        let left: Vec<_> = cleaned.leftovers.iter().map(|left| &left.deployment).collect();
        let mut done = json!({"removed": cleaned.removed, "left": left});
        if let Some(swept) = swept {
            done["store"] = json!(swept);
        }
        print(format_args!("{done}\n"))?;
    } else if !flags.output.quiet {
        for deployment in &cleaned.removed {
            print(format_args!("removed {}\n", describe(deployment)))?;
        }
    }
    for leftover in &cleaned.leftovers {
        let line = describe(&leftover.deployment);
        say(format_args!("could not remove {line}: {}", leftover.error));
    }
    if let Which::Run(run) = &which
        && cleaned.leftovers.is_empty()
    {
        mark_abandoned(flags.journal.as_ref(), run)?;
    }
    Ok(cleaned.leftovers.is_empty() && is_swept)
}

/// The runs whose objects were deleted, or would be, and the objects that are still there.
#[derive(Debug, Default, Serialize)]
struct Swept {
    deleted: Vec<RunId>,
    left: Vec<String>,
}

/// Deletes what runs have left in a scratch store.
async fn sweep_store(flags: &CleanupFlags, store: &Store) -> anyhow::Result<Swept> {
    let runs = match &flags.run {
        Some(run) => vec![run.as_str().into()],
        None => expired(store).await?,
    };
    let ShowFlags { json, quiet, .. } = flags.output;
    let mut swept = Swept::default();
    for run in runs {
        if flags.dry_run {
            if !json {
                print(format_args!("would delete what run {run} left in {}\n", store.url()))?;
            }
            swept.deleted.push(run);
            continue;
        }
        let leftovers = clean(store, &run).await?;
        if leftovers.is_empty() {
            if !json && !quiet {
                print(format_args!("deleted what run {run} left in {}\n", store.url()))?;
            }
            swept.deleted.push(run);
        }
        for left in leftovers {
            say(format_args!("could not delete {}: {}", left.url, left.error));
            swept.left.push(left.url);
        }
    }
    Ok(swept)
}

/// Says in the journal of a run, if it has one, that its functions are gone.
fn mark_abandoned(directory: Option<&PathBuf>, run: &RunId) -> anyhow::Result<()> {
    let Ok(config) = journal_directory(directory) else { return Ok(()) };
    match RunJournal::abandon(&config, run) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => {
            Ok(())
        }
        marked => Ok(marked?),
    }
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
