//! The questions to a part for results that are not answered yet.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use falco_core::{Collected, Deployment, Result};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

/// A question that nobody has waited for that long is dropped: its connection and its timeouts may be over.
const STALE: Duration = Duration::from_secs(5);

/// A question to a part for results.
pub(super) type Question = BoxFuture<'static, Result<Collected>>;

/// The questions to a part that are not answered yet, by the names of deployments.
#[derive(Default)]
pub(super) struct Questions(Mutex<HashMap<String, (Instant, Question)>>);

impl std::fmt::Debug for Questions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Questions")
    }
}

impl Questions {
    fn open(&self) -> MutexGuard<'_, HashMap<String, (Instant, Question)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the question about a deployment, of which nothing is awaited.
    pub(super) fn forget(&self, deployment: &Deployment) {
        // A dropped question may take a lock of its own.
        let question = self.open().remove(&deployment.name);
        drop(question);
    }

    pub(super) fn keep(&self, deployment: &Deployment, question: Question) {
        self.open().insert(deployment.name.clone(), (Instant::now(), question));
    }

    pub(super) fn take(&self, deployment: &Deployment) -> Option<Question> {
        let (kept_at, question) = self.open().remove(&deployment.name)?;
        (kept_at.elapsed() < STALE).then_some(question)
    }
}
