//! What was submitted and not released yet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use falco_core::{
    Activation, ActivationId, FunctionError, FunctionErrorKind, Pending, Release, Result,
};

/// Results wait here from the end of an activation until its release.
#[derive(Debug, Default)]
pub(crate) struct Submissions(Mutex<HashMap<ActivationId, Submission>>);

#[derive(Debug)]
enum Submission {
    Running { abandoned: Arc<AtomicBool> },
    Finished(Box<Activation>),
}

impl Submissions {
    fn lock(&self) -> MutexGuard<'_, HashMap<ActivationId, Submission>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in an activation, and gives the flag by which it can be stopped.
    pub(crate) fn start(&self, id: ActivationId) -> Arc<AtomicBool> {
        let abandoned = Arc::new(AtomicBool::new(false));
        self.lock().insert(id, Submission::Running { abandoned: abandoned.clone() });
        abandoned
    }

    pub(crate) fn finish(&self, id: &ActivationId, result: Result<Activation>) {
        // A worker that cannot be started is the platform's failure, but there is no call left that could fail.
        let activation = result.unwrap_or_else(|error| {
            let error = FunctionError::new(FunctionErrorKind::Unspecified, error.to_string());
            Activation::failed(id.clone(), error)
        });
        if let Some(submission) = self.lock().get_mut(id) {
            *submission = Submission::Finished(Box::new(activation));
        }
    }

    /// Drops an activation that will never end: `collect` reports it as gone.
    pub(crate) fn forget(&self, id: &ActivationId) {
        self.lock().remove(id);
    }

    pub(crate) fn is_running(&self, id: &ActivationId) -> bool {
        matches!(self.lock().get(id), Some(Submission::Running { .. }))
    }

    /// What has finished and what is not here, of `pending`.
    pub(crate) fn collect(&self, pending: &[Pending]) -> (Vec<Activation>, Vec<ActivationId>) {
        let (mut finished, mut missing) = (Vec::new(), Vec::new());
        let submissions = self.lock();
        for Pending { id, .. } in pending {
            match submissions.get(id) {
                Some(Submission::Finished(activation)) => {
                    finished.push(Activation::clone(activation))
                }
                Some(Submission::Running { .. }) => {}
                None => missing.push(id.clone()),
            }
        }
        (finished, missing)
    }

    pub(crate) fn release(&self, ids: &[ActivationId], release: Release) {
        let mut submissions = self.lock();
        for id in ids {
            match submissions.remove(id) {
                Some(Submission::Running { abandoned }) if release == Release::Abandoned => {
                    abandoned.store(true, Ordering::Relaxed);
                }
                _ => {}
            }
        }
    }
}
