//! Releases that wait until the results are on disk: the provider deletes its copy then.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use falco_core::{ActivationId, AsyncPlatform, Deployment, Release};

use crate::log::Log;

/// Releases of activations whose results are in the log and not on disk yet, in the order of the log.
///
/// Each has a place of its own: with one for all, a steady stream of new results would hold back the old ones.
#[derive(Debug, Default)]
pub(crate) struct Releases(Mutex<VecDeque<Waiting>>);

#[derive(Debug)]
struct Waiting {
    /// The results are in the log before this place.
    end: u64,
    platform: Arc<dyn AsyncPlatform>,
    deployment: Arc<Deployment>,
    activations: Vec<ActivationId>,
}

impl Releases {
    /// Takes activations whose results the log holds before `end`.
    pub(crate) fn add(
        &self,
        end: u64,
        platform: Arc<dyn AsyncPlatform>,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) {
        let activations = activations.to_vec();
        let mut waiting = self.lock();
        // Nearly always the same as the last one's: comparing costs less than cloning.
        let deployment = match waiting.back() {
            Some(last) if *last.deployment == *deployment => last.deployment.clone(),
            _ => Arc::new(deployment.clone()),
        };
        waiting.push_back(Waiting { end, platform, deployment, activations });
    }

    /// Passes on what is on disk.
    pub(crate) fn forward(&self, log: &Log) {
        loop {
            let next = {
                let mut waiting = self.lock();
                let is_synced =
                    waiting.front().is_some_and(|first| log.is_synced(first.end).unwrap_or(false));
                if is_synced { waiting.pop_front() } else { None }
            };
            let Some(Waiting { platform, deployment, activations, .. }) = next else { return };
            platform.release(&deployment, &activations, Release::Taken);
        }
    }

    /// Drops those of a deployment that is gone: the provider's copies went with it.
    pub(crate) fn forget(&self, deployment: &str) {
        self.lock().retain(|waiting| waiting.deployment.name != deployment);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
