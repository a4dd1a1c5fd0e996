//! The functions of the run: those of earlier processes are adopted, and those that nobody may call again are put off.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use falco_core::{AsyncPlatform, Deployable, Deployment, Error, ErrorKind, Ownership, Result};
use tokio::sync::OnceCell;

use crate::journal::RunJournal;
use crate::kill;
use crate::machine::host;
use crate::record::{Deployed, Function, Removed, kind};

/// Functions that are deployed once they are needed: all their stages had ended when the process began.
#[derive(Debug, Default)]
pub(crate) struct Deployments {
    put_off: Mutex<HashMap<String, Arc<PutOff>>>,
    /// Whether there are any, which is asked before each call.
    are_any: AtomicBool,
}

#[derive(Debug)]
struct PutOff {
    function: Deployable,
    deployment: OnceCell<Deployment>,
}

impl Deployments {
    /// The deployment as it is recorded, if all its stages have ended: a call that needs it after all deploys it.
    pub(crate) fn put_off(
        &self,
        journal: &RunJournal,
        function: &Deployable,
    ) -> Option<Deployment> {
        let recorded = journal.replay.last_deployed.get(&function.name)?;
        if !journal.replay.has_ended(&function.name) {
            return None;
        }
        let put_off = PutOff { function: function.clone(), deployment: OnceCell::new() };
        self.lock().insert(function.name.clone(), Arc::new(put_off));
        self.are_any.store(true, SeqCst);
        Some(recorded.clone())
    }

    /// The deployment as it is to be called.
    pub(crate) async fn there<'a>(
        &self,
        journal: &RunJournal,
        platform: &dyn AsyncPlatform,
        deployment: &'a Deployment,
    ) -> Result<Cow<'a, Deployment>> {
        let Some(put_off) = self.find(&deployment.name) else {
            return Ok(Cow::Borrowed(deployment));
        };
        let deploy = || self.deploy(journal, platform, &put_off.function);
        Ok(Cow::Owned(put_off.deployment.get_or_try_init(deploy).await?.clone()))
    }

    /// Adopts what an earlier process has deployed, or deploys the function.
    pub(crate) async fn deploy(
        &self,
        journal: &RunJournal,
        platform: &dyn AsyncPlatform,
        function: &Deployable,
    ) -> Result<Deployment> {
        let identity = Function::of(function);
        if let Some(deployment) = adopted(journal, platform, function, &identity).await? {
            return Ok(deployment);
        }
        kill::point();
        let deployment = platform.deploy(function).await?;
        kill::point();
        let record = Deployed { deployment: deployment.clone(), function: identity };
        journal.log.append(kind::DEPLOYED, &record)?;
        Ok(deployment)
    }

    /// Removes a deployment, unless another process has taken the run over.
    pub(crate) async fn remove(
        &self,
        journal: &RunJournal,
        platform: &dyn AsyncPlatform,
        deployment: &Deployment,
    ) -> Result<()> {
        let name = &deployment.name;
        let put_off = self.find(name);
        let made = put_off.as_ref().and_then(|put_off| put_off.deployment.get());
        let is_recorded = journal.replay.deployed.contains_key(name);
        if put_off.is_some() && made.is_none() && !is_recorded {
            // An earlier process has removed it.
            return Ok(());
        }
        // The provider's copies of the results go with the function.
        journal.durable(journal.log.end()).await?;
        let removed = match platform.fetch_deployment(name).await {
            Ok(found) => {
                check_epoch(journal, &found, deployment.ownership.as_ref())?;
                kill::point();
                let removed = platform.remove(made.unwrap_or(deployment)).await;
                kill::point();
                removed
            }
            // A part of it may be there: a role without its function.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                kill::point();
                platform.remove(made.unwrap_or(deployment)).await
            }
            Err(error) => return Err(error),
        };
        let is_gone = match &removed {
            Ok(()) => true,
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        if is_gone {
            journal.releases.forget(name);
            // Without this record the next process finds out that it is gone.
            let _ = journal.log.append(kind::REMOVED, &Removed { name: name.clone() });
        }
        removed
    }

    fn find(&self, name: &str) -> Option<Arc<PutOff>> {
        if !self.are_any.load(SeqCst) {
            return None;
        }
        self.lock().get(name).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<PutOff>>> {
        self.put_off.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The deployment of an earlier process, if it is there and as it should be.
async fn adopted(
    journal: &RunJournal,
    platform: &dyn AsyncPlatform,
    function: &Deployable,
    identity: &Function,
) -> Result<Option<Deployment>> {
    let Some(recorded) = journal.replay.deployed.get(&function.name) else { return Ok(None) };
    if journal.state().vanished.contains(&function.name) {
        return Ok(None);
    }
    if journal.replay.plan.is_none()
        && let Some(difference) = recorded.function.difference(identity)
    {
        let message = format!("the function differs from the recorded one: {difference}");
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    match platform.fetch_deployment(&function.name).await {
        Ok(found) => {
            check_epoch(journal, &found, function.ownership.as_ref())?;
            let is_current = recorded.function == *identity
                && platform.capabilities().adopt
                // Processes of this machine exclude each other by the lock. A copy of the journal on another machine
                // knows of this process by the mark that a deployment leaves.
                && journal.replay.host == host()
                // Their values are not recorded, and may have changed.
                && function.env.is_empty()
                // Layers beneath learn by the deployment which functions take their arguments as they are.
                && !function.is_plain
                && found.scaling.overridden_by(&function.scaling) == found.scaling
                && is_still_ours(&found, function);
            Ok(is_current.then_some(found))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let name = function.name.clone();
            journal.log.append(kind::REMOVED, &Removed { name: name.clone() })?;
            journal.state().vanished.insert(name);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Checks that no process has deployed a function that has a copy of the journal: a later one, or one as late of another
/// owner.
///
/// # Errors
///
/// `Conflict` that names the owner of that process.
fn check_epoch(journal: &RunJournal, found: &Deployment, own: Option<&Ownership>) -> Result<()> {
    let Some(Ownership { run, owner, epoch, .. }) = &found.ownership else { return Ok(()) };
    let is_another = match epoch.cmp(&journal.epoch) {
        Ordering::Less => false,
        Ordering::Equal => own.is_some_and(|own| !is_same_owner(&own.owner, owner)),
        Ordering::Greater => true,
    };
    if *run != journal.run || !is_another || journal.options.take_over {
        return Ok(());
    }
    let message = format!(
        "process {epoch} of run {run} has deployed {:?}, and this is process {}: {owner} has taken the run over",
        found.name, journal.epoch
    );
    let error = Error::new(ErrorKind::Conflict, message).with_hint(
        "work with one copy of the journal, the one that has the later records; ResumeOptions::with_take_over works with this one anyway",
    );
    tracing::warn!(%error, "the run was taken over");
    Err(error)
}

/// Whether both are the same owner, as far as tags can say: providers cut them, and replace what they do not allow.
fn is_same_owner(left: &str, right: &str) -> bool {
    let plain =
        |owner: &str| -> String { owner.chars().filter(char::is_ascii_alphanumeric).collect() };
    let (left, right) = (plain(left), plain(right));
    left.starts_with(&right) || right.starts_with(&left)
}

/// Whether this owner has deployed it last, and it lives at least half as long as a new one would.
fn is_still_ours(found: &Deployment, function: &Deployable) -> bool {
    let now = SystemTime::now();
    let left = |at: SystemTime| at.duration_since(now).unwrap_or_default();
    match (&found.ownership, &function.ownership) {
        (Some(found), Some(wanted)) => {
            is_same_owner(&found.owner, &wanted.owner)
                && left(found.expires_at) >= left(wanted.expires_at) / 2
        }
        _ => false,
    }
}
