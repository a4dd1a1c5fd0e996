//! The deployments of one function: its own size, and those that were needed beside it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use falco_core::{
    ActivationId, AsyncPlatform, Deployable, Deployment, Error, ErrorKind, Invocation,
    InvocationId, Result, StageName,
};
use tokio::sync::Mutex as AsyncMutex;

use super::ladder::{Ladder, Needs, Step};

/// The deployments of one function.
#[derive(Debug)]
pub(super) struct Sizes {
    /// Known to the process that has deployed it.
    function: Option<Deployable>,
    pub(super) own: Deployment,
    pub(super) ladder: Ladder,
    larger: HashMap<Step, Slot>,
    state: Mutex<State>,
}

/// A larger deployment, once somebody has asked for it. Locked while it is being made.
type Slot = Arc<AsyncMutex<Option<Deployment>>>;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) needs: HashMap<StageName, Needs>,
    /// The sizes of the invocations that have outgrown another one.
    pub(super) grown: HashMap<(StageName, InvocationId), Step>,
    /// The activations that were submitted, until they are released.
    pub(super) pending: HashMap<ActivationId, Sent>,
}

/// An invocation that was sent to a size.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) stage: StageName,
    pub(super) invocation: InvocationId,
    pub(super) step: Step,
    /// Whether it holds several inputs: then it is repeated by parts.
    pub(super) is_batch: bool,
}

impl Sent {
    pub(super) fn new(invocation: &Invocation, step: Step) -> Self {
        Self {
            stage: invocation.stage().clone(),
            invocation: invocation.id().clone(),
            step,
            is_batch: !invocation.members().is_empty(),
        }
    }
}

impl Sizes {
    pub(super) fn new(function: Option<Deployable>, own: Deployment, ladder: &Ladder) -> Self {
        let ladder = ladder.above(&own.scaling);
        let larger = ladder.steps().map(|step| (step, Slot::default())).collect();
        Self { function, own, ladder, larger, state: Mutex::default() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The deployment of a size, which is made when it is first needed.
    ///
    /// It is made on a task of its own: a caller that is dropped while waiting leaves nothing that [`remove`](Self::remove) would
    /// not find.
    pub(super) async fn deployment(
        &self,
        platform: &Arc<dyn AsyncPlatform>,
        step: Step,
    ) -> Result<Deployment> {
        let Some(slot) = self.larger.get(&step) else { return Ok(self.own.clone()) };
        let mut held = slot.clone().lock_owned().await;
        if let Some(deployment) = &*held {
            return Ok(deployment.clone());
        }
        let (platform, name) = (platform.clone(), self.name(step));
        let size = self.own.scaling.overridden_by(&self.ladder.size(step));
        let larger = self.function.clone().map(|it| it.with_name(&name).with_scaling(size));
        let making = tokio::spawn(async move {
            let made = match larger {
                Some(larger) => platform.deploy(&larger).await,
                // Another process has deployed it, and perhaps this size, too.
                None => platform.fetch_deployment(&name).await,
            }?;
            *held = Some(made.clone());
            Ok(made)
        });
        let lost = |error| {
            Error::new(ErrorKind::Other, "deploying a larger size ended").with_source(&error)
        };
        making.await.map_err(lost)?
    }

    /// A larger deployment that is made already.
    pub(super) fn made(&self, step: Step) -> Option<Deployment> {
        self.larger.get(&step)?.try_lock().ok()?.clone()
    }

    /// The larger deployments that there are, those that are being made included.
    pub(super) async fn larger(&self, platform: &Arc<dyn AsyncPlatform>) -> Vec<Deployment> {
        let mut all = Vec::new();
        for (step, slot) in &self.larger {
            match &*slot.lock().await {
                Some(deployment) => all.push(deployment.clone()),
                // Another process may have made it.
                None if self.function.is_none() => {
                    all.extend(platform.fetch_deployment(&self.name(*step)).await.ok());
                }
                None => {}
            }
        }
        all
    }

    /// The name of a larger deployment, as every process derives it.
    fn name(&self, step: Step) -> String {
        let Step { memory, timeout } = step;
        let suffix = format!("-x{memory}-{timeout}");
        let name = &self.own.name;
        let room = Deployable::MAX_NAME - suffix.len();
        if name.len() <= room {
            return format!("{name}{suffix}");
        }
        // FNV-1a: the part that is cut off still distinguishes names.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let kept = name.floor_char_boundary(room - 9);
        format!("{}-{:08x}{suffix}", &name[..kept], hash as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(function: &str, memory: usize) -> String {
        let own = Deployment::new(function, falco_core::RuntimeName::python());
        let sizes = Sizes::new(None, own, &Ladder::default());
        sizes.name(Step { memory, timeout: 0 })
    }

    #[test]
    fn names_of_sizes_differ_and_are_as_long_as_they_may_be() {
        assert_eq!(name("map", 1), "map-x1-0");
        // The longest name that is kept whole, and one that is cut off.
        let longest = "x".repeat(63 - "-x1-0".len());
        assert_eq!(name(&longest, 1), format!("{longest}-x1-0"));
        let (long, other) = ("x".repeat(59), format!("{}y", "x".repeat(58)));
        let names = [name(&long, 1), name(&other, 1), name(&long, 2)];
        for name in &names {
            assert_eq!(name.len(), Deployable::MAX_NAME, "{name}");
            assert!(name.starts_with(&"x".repeat(49)), "{name}");
        }
        assert!(names[0] != names[1] && names[0] != names[2], "{names:?}");
    }
}
