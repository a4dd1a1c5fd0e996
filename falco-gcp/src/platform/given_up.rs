//! Submitted calls that the queue has given up: tried out or expired, with no result in the bucket.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use falco_core::{ActivationId, Deployment, Error, ErrorKind, Pending};
use tokio::time::Instant;

use super::describe::attribute;
use super::submit::Shared;
use super::{Inner, names, sizes};

/// The tasks of the calls that wait for a result, by function.
#[derive(Debug, Default)]
pub(super) struct GivenUp(Mutex<HashMap<String, Watched>>);

#[derive(Debug, Default)]
struct Watched {
    /// When the queue was looked at.
    looked: Option<Instant>,
    /// Calls without a task, and since when.
    absent: HashMap<ActivationId, Instant>,
}

impl GivenUp {
    pub(super) fn forget(&self, function: &str) {
        self.lock().remove(function);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Looks now and then whether the queue still has the tasks of calls that have no result yet. A call whose task has
    /// been absent for as long as a run may take will never have one: the queue drops a task once it is answered, which
    /// the function does after it has stored the result, or once it has given the task up.
    pub(super) async fn given_up(
        &self,
        shared: &Shared,
        deployment: &Deployment,
        waiting: Vec<&Pending>,
    ) -> Vec<(ActivationId, Error)> {
        let id = self.id_of(deployment);
        let patience = self.waits.given_up;
        let is_old = |pending: &&Pending| {
            let submitted = names::activation_time(pending.id.as_str());
            let age = submitted.and_then(|at| SystemTime::now().duration_since(at).ok());
            age.is_some_and(|age| age >= patience)
        };
        let old: Vec<&Pending> = waiting.into_iter().filter(is_old).collect();
        if old.is_empty() {
            return Vec::new();
        }
        {
            let mut all = self.given_up.lock();
            let watched = all.entry(id.to_owned()).or_default();
            if watched.looked.is_some_and(|at| at.elapsed() < patience) {
                return Vec::new();
            }
            watched.looked = Some(Instant::now());
        }
        let queue = deployment.attribute(attribute::QUEUE).unwrap_or(&shared.queue);
        let tasks: HashSet<String> = match self.api.list_tasks("collect", queue).await {
            Ok(tasks) => tasks.into_iter().collect(),
            Err(error) => {
                // Without the permission to list tasks, only the executor's patience ends the wait.
                tracing::debug!(%error, "whether calls were given up is not known");
                return Vec::new();
            }
        };
        let run = deployment.scaling.timeout.unwrap_or(sizes::DEFAULT_TIMEOUT)
            + Self::start_timeout_of(deployment)
            + patience;
        let mut all = self.given_up.lock();
        let watched = all.entry(id.to_owned()).or_default();
        let mut absent = HashMap::new();
        let mut gone = Vec::new();
        for pending in old {
            if tasks.contains(&names::task_id(pending.id.as_str(), id)) {
                continue;
            }
            let since = watched.absent.get(&pending.id).copied().unwrap_or_else(Instant::now);
            if since.elapsed() >= run {
                gone.push((pending.id.clone(), given_up(&pending.id)));
            } else {
                absent.insert(pending.id.clone(), since);
            }
        }
        watched.absent = absent;
        gone
    }
}

fn given_up(id: &ActivationId) -> Error {
    Error::new(
        ErrorKind::Lost,
        "the queue has given the call up: it tried as often as it may, or the function ended without a result",
    )
    .with_may_have_run(true)
    .with_request_id(id.as_str())
    .with_hint("the function's log says what each try came to; CloudTasks::with_attempts sets how many there are")
}
