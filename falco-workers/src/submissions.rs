//! Submissions that are not released yet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use falco_core::{
    Activation, ActivationId, Collected, Error, ErrorKind, Operation, Pending, Release, Result,
};

/// Results wait here from the end of an activation until its release.
#[derive(Debug, Default)]
pub struct Submissions(Mutex<HashMap<ActivationId, Submission>>);

#[derive(Debug)]
enum Submission {
    Running {
        abandoned: Arc<AtomicBool>,
    },
    Finished(Box<Activation>),
    /// The platform failed, such as by a worker that could not be started.
    Failed(Error),
}

/// How long to wait before asking again for activations that still run.
const POLL_AFTER: Duration = Duration::from_millis(2);

impl Submissions {
    fn lock(&self) -> MutexGuard<'_, HashMap<ActivationId, Submission>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in an activation, and gives the flag by which it can be stopped.
    pub fn start(&self, id: ActivationId) -> Arc<AtomicBool> {
        let abandoned = Arc::new(AtomicBool::new(false));
        self.lock().insert(id, Submission::Running { abandoned: abandoned.clone() });
        abandoned
    }

    /// Notes the result of an activation, unless it was released meanwhile.
    pub fn finish(&self, id: &ActivationId, result: Result<Activation>) {
        if let Some(submission) = self.lock().get_mut(id) {
            *submission = match result {
                Ok(activation) => Submission::Finished(Box::new(activation)),
                Err(error) => Submission::Failed(error.with_operation("collect")),
            };
        }
    }

    /// Drops an activation that will never end: `collect` reports it as gone.
    pub fn forget(&self, id: &ActivationId) {
        self.lock().remove(id);
    }

    /// Whether the activation was taken in and has not ended.
    pub fn is_running(&self, id: &ActivationId) -> bool {
        matches!(self.lock().get(id), Some(Submission::Running { .. }))
    }

    /// The known outcomes of `pending`; those that still run are left out, and so are those that are not here, unless
    /// they `are_lost`: what was removed, or its driver has ended.
    pub fn collect(
        &self,
        pending: &[Pending],
        operation: Operation<'_>,
        are_lost: impl Fn(&ActivationId) -> bool,
    ) -> Collected {
        let (mut finished, mut gone) = (Vec::new(), Vec::new());
        let submissions = self.lock();
        for Pending { id, .. } in pending {
            match submissions.get(id) {
                Some(Submission::Finished(activation)) => {
                    finished.push(Activation::clone(activation));
                }
                Some(Submission::Failed(error)) => gone.push((id.clone(), error.clone())),
                Some(Submission::Running { .. }) => {}
                None if are_lost(id) => {
                    let message = "the function was removed, or its driver has ended";
                    gone.push((id.clone(), Error::new(ErrorKind::Lost, message).at(operation)));
                }
                None => {}
            }
        }
        let is_all = finished.len() + gone.len() == pending.len();
        let poll_after = if is_all { Duration::ZERO } else { POLL_AFTER };
        Collected::new(finished, gone, poll_after)
    }

    /// Drops results. What still runs and is abandoned is stopped by its flag.
    pub fn release(&self, ids: &[ActivationId], release: Release) {
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
