//! Removes what runs have left on a platform.

use std::time::{Duration, SystemTime};

use falco_core::{Deployment, ErrorKind, Platform, Result, RunId};
use futures_util::{StreamExt, stream};

use crate::run::{Leftover, MANAGEMENT_CALLS, owner};

/// The deployments that a clean-up removes. It removes only those that a run of Falco has made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Which {
    /// Those that nobody needs any more: past their expiry, or made by a process of this machine that has ended
    /// without removing them. Runs that [keep their deployments](crate::RunOptions::with_kept_deployments) or name
    /// [an owner of their own](crate::RunOptions::with_owner) are known by their expiry only.
    Orphaned,
    /// Those past their expiry.
    Expired,
    /// Those of one run.
    Run(RunId),
    /// Those of one owner, such as `ada@workstation`.
    Owner(String),
    /// Those of runs that started so long ago, still running or not.
    OlderThan(Duration),
}

impl Which {
    /// Whether the clean-up takes a deployment.
    pub fn takes(&self, deployment: &Deployment) -> bool {
        let Some(ownership) = &deployment.ownership else { return false };
        let now = SystemTime::now();
        match self {
            Self::Orphaned => ownership.expires_at <= now || owner::has_ended(&ownership.owner),
            Self::Expired => ownership.expires_at <= now,
            Self::Run(run) => ownership.run == *run,
            Self::Owner(wanted) => {
                ownership.owner == *wanted || owner::without_process(&ownership.owner) == wanted
            }
            Self::OlderThan(age) => {
                let started_at = ownership.run.started_at();
                started_at.and_then(|start| start.checked_add(*age)).is_some_and(|old| old <= now)
            }
        }
    }
}

/// The outcome of a clean-up.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[must_use = "it says what could not be removed"]
pub struct Cleaned {
    /// Deployments that are gone now.
    pub removed: Vec<Deployment>,
    /// Deployments that could not be removed; a second clean-up tries them again.
    pub leftovers: Vec<Leftover>,
}

/// Removes the deployments that [`Which`] takes, a few at a time.
///
/// # Errors
///
/// As [`Platform::list_deployments`]. Deployments that cannot be removed are not an error: the others are removed all the
/// same, and [`Cleaned::leftovers`] lists them.
///
/// # Examples
///
/// ```
/// # use falco_core::{Platform, Result};
/// use falco_executors::{Which, cleanup};
///
/// # async fn f(platform: &dyn Platform) -> Result<()> {
/// let cleaned = cleanup(platform, &Which::Orphaned).await?;
/// println!("{} removed, {} left", cleaned.removed.len(), cleaned.leftovers.len());
/// # Ok(()) }
/// ```
pub async fn cleanup<P: Platform + ?Sized>(platform: &P, which: &Which) -> Result<Cleaned> {
    let all = platform.list_deployments().await?;
    let taken = all.into_iter().filter(|deployment| which.takes(deployment));
    let remove = |deployment: Deployment| async move {
        match platform.remove(&deployment).await {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Leftover { deployment, error })
            }
            _ => Ok(deployment),
        }
    };
    let removing: Vec<_> = taken.map(remove).collect();
    let mut cleaned = Cleaned::default();
    for result in
        stream::iter(removing).buffer_unordered(MANAGEMENT_CALLS).collect::<Vec<_>>().await
    {
        match result {
            Ok(deployment) => cleaned.removed.push(deployment),
            Err(leftover) => cleaned.leftovers.push(leftover),
        }
    }
    cleaned.removed.sort_by(|left, right| left.name.cmp(&right.name));
    cleaned.leftovers.sort_by(|left, right| left.deployment.name.cmp(&right.deployment.name));
    Ok(cleaned)
}
