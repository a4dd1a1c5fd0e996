//! Submitting by a queue of Cloud Tasks.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use falco_core::{
    Deployment, Error, ErrorKind, Event, Invocation, Operation, Pending, Result, WaitReason,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::deletions::{Deletion, Deletions};
use super::describe::attribute;
use super::{Inner, invoke, names, sizes};
use crate::client::Task;
use crate::config::{Access, CloudTasks, Endpoints};
use crate::refusal;

/// Longest argument in a task, in bytes: a task may have 100 KB, its argument is in base64, and names and headers need
/// some too. Longer ones go through the bucket.
const MAX_IN_TASK: usize = 72 << 10;
/// The longest that a queue waits for an answer.
const MAX_DEADLINE: u64 = 1800;
const DEADLINE_MARGIN: u64 = 15;
/// How long a new queue may refuse tasks.
const WARM_UP: Duration = Duration::from_secs(120);
const DEFAULT_ATTEMPTS: u32 = 10;
const DEFAULT_QUEUE: &str = "falco";

/// The queue and the bucket that all functions share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queue: String,
    pub(super) bucket: String,
    pub(super) caller: Option<String>,
    attempts: u32,
    is_own_queue: bool,
    is_own_bucket: bool,
    made_queue_at: Mutex<Option<Instant>>,
}

impl Shared {
    pub(super) fn new(tasks: &CloudTasks, project: &str, location: &str) -> Self {
        Self {
            queue: tasks.queue.clone().unwrap_or_else(|| DEFAULT_QUEUE.to_owned()),
            bucket: tasks.bucket.clone().unwrap_or_else(|| own_bucket(project, location)),
            caller: tasks.caller.clone(),
            attempts: tasks.attempts.map_or(DEFAULT_ATTEMPTS, std::num::NonZeroU32::get),
            is_own_queue: tasks.queue.is_none(),
            is_own_bucket: tasks.bucket.is_none(),
            made_queue_at: Mutex::default(),
        }
    }

    fn is_warming_up(&self) -> bool {
        let made = *self.made_queue_at.lock().unwrap_or_else(PoisonError::into_inner);
        made.is_some_and(|at| at.elapsed() < WARM_UP)
    }
}

/// The bucket that Falco makes. Names of buckets are everybody's, and a project of a domain has a colon in its name.
pub(super) fn own_bucket(project: &str, location: &str) -> String {
    format!("falco-{}-{location}", project.replace([':', '.'], "-")).to_ascii_lowercase()
}

/// Where everything lies that the shim of a function stores.
pub(super) fn prefix(function: &str) -> String {
    format!("falco/{function}/")
}

/// The object that holds the record of an activation.
pub(super) fn object(function: &str, activation: &str) -> String {
    format!("{}results/{activation}.json", prefix(function))
}

/// The object that holds the argument of an activation, if it is too long for a task.
pub(super) fn argument(function: &str, activation: &str) -> String {
    format!("{}arguments/{activation}.json", prefix(function))
}

/// An argument in the bucket that no task may need: dropped, it is left for the next `collect` to delete.
struct StoredArgument<'a> {
    deletions: &'a Deletions,
    function: &'a str,
    name: String,
    is_needed: bool,
}

impl Drop for StoredArgument<'_> {
    fn drop(&mut self) {
        if !self.is_needed {
            self.deletions.add(self.function, [Deletion::Object(std::mem::take(&mut self.name))]);
        }
    }
}

impl Inner {
    pub(super) async fn ensure_queue(&self) -> Result<()> {
        let Some(shared) = self.shared.as_ref().filter(|shared| shared.is_own_queue) else {
            return Ok(());
        };
        if self.api.ensure_queue(&shared.queue, shared.attempts).await? {
            let mut made = shared.made_queue_at.lock().unwrap_or_else(PoisonError::into_inner);
            *made = Some(Instant::now());
        }
        Ok(())
    }

    pub(super) async fn ensure_bucket(&self) -> Result<()> {
        match self.shared.as_ref().filter(|shared| shared.is_own_bucket) {
            Some(shared) => self.api.ensure_bucket(&shared.bucket).await,
            None => Ok(()),
        }
    }

    /// The settings by which the shim stores results. Not in the request: every caller of the function could send its
    /// credentials anywhere.
    pub(super) fn shim_environment(&self, id: &str) -> Vec<(String, Value)> {
        let Some(shared) = &self.shared else { return Vec::new() };
        let mut variables = vec![
            ("FALCO_BUCKET".to_owned(), json!(shared.bucket)),
            ("FALCO_PREFIX".to_owned(), json!(prefix(id))),
        ];
        if self.api.endpoints.storage != Endpoints::default().storage {
            variables
                .push(("FALCO_STORAGE".to_owned(), json!(self.api.endpoints.storage.as_str())));
        }
        variables
    }

    pub(super) async fn submit(
        &self,
        deployment: &Deployment,
        invocation: &Invocation,
    ) -> Result<Pending> {
        let at = |e: Error| e.at(Operation::new(crate::NAME, "submit").on(&deployment.name));
        let shared = self.shared("submit").map_err(at)?;
        invocation.payload().check_argument(Some(super::MAX_BODY)).map_err(at)?;
        let uri = self.uri(deployment).map_err(at)?;
        if deployment.attribute(attribute::BUCKET) != Some(shared.bucket.as_str()) {
            let error =
                Error::invalid_input("the function was not deployed to store its results here")
                    .with_hint("deploy it again with the submission that is configured now");
            return Err(at(error));
        }
        let timeout = deployment.scaling.timeout.unwrap_or(sizes::DEFAULT_TIMEOUT);
        let seconds = sizes::served_seconds(timeout, Self::start_timeout_of(deployment));
        if seconds > MAX_DEADLINE {
            let error = Error::invalid_input(format!(
                "a queue waits {MAX_DEADLINE} s at most, and the function may \
                 take {seconds} s"
            ))
            .with_hint(
                "lower the function's timeout, or hold the calls open with falco_layers::Held",
            );
            return Err(at(error));
        }
        let caller = self.caller(shared).await.map_err(at)?;
        let activation = names::submission_id(invocation);
        let mut headers = invoke::headers(deployment, invocation, &activation).to_vec();
        headers.push(("Content-Type", "application/json".to_owned()));
        headers.push(("X-Falco-Store", "1".to_owned()));
        if !invocation.is_idempotent() {
            // A queue may call more than once; the shim then claims the call before it runs it.
            headers.push(("X-Falco-Once", "1".to_owned()));
        }
        let id = self.id_of(deployment);
        let mut body = invocation.payload().to_bytes();
        let mut stored = None;
        if body.len() > MAX_IN_TASK {
            headers.push(("X-Falco-Argument", "stored".to_owned()));
            let long = std::mem::replace(&mut body, Bytes::from_static(b"{}"));
            stored = Some(self.store_argument(shared, id, &activation, long).await.map_err(at)?);
        }
        let task = Task {
            id: &names::task_id(&activation, id),
            function: id,
            url: uri.as_str(),
            headers,
            body: &body,
            caller: caller.as_deref(),
            audience: deployment.attribute(attribute::URI).unwrap_or_default(),
            // Longer than the function may run: else the queue would call again while it runs.
            deadline: (seconds + DEADLINE_MARGIN).min(MAX_DEADLINE),
        };
        self.enqueue(shared, &task, invocation).await.map_err(at)?;
        if let Some(stored) = &mut stored {
            stored.is_needed = true;
        }
        Ok(Pending::new(activation, SystemTime::now()))
    }

    async fn store_argument<'a>(
        &'a self,
        shared: &Shared,
        id: &'a str,
        activation: &str,
        json: Bytes,
    ) -> Result<StoredArgument<'a>> {
        let name = argument(id, activation);
        let deletions = &self.deletions;
        let stored = StoredArgument { deletions, function: id, name, is_needed: false };
        self.api.insert_object("submit", &shared.bucket, &stored.name, json).await?;
        Ok(stored)
    }

    /// The calling identity: a queue needs a service account to mint ID tokens of.
    async fn caller(&self, shared: &Shared) -> Result<Option<String>> {
        match (&shared.caller, self.access) {
            (Some(caller), _) => Ok(Some(caller.clone())),
            (None, Access::Public) => Ok(None),
            (None, _) => self.api.tokens.email().await.map(Some),
        }
    }

    /// Creates a task. Its name is its own, so that creating it again shows whether a first try without an answer had
    /// worked.
    async fn enqueue(
        &self,
        shared: &Shared,
        task: &Task<'_>,
        invocation: &Invocation,
    ) -> Result<()> {
        let mut wait = self.waits.first;
        let mut in_doubt = false;
        loop {
            match self.api.create_task(&shared.queue, task).await {
                Err(error) if refusal::is_already_there(&error) => return Ok(()),
                Err(error) if error.may_have_run() && !in_doubt => in_doubt = true,
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Other)
                        && shared.is_warming_up() =>
                {
                    // The run remembers a verdict to stop.
                    invocation.report(&Event::Waiting {
                        invocation,
                        reason: WaitReason::Platform,
                        wait,
                    });
                    sleep(wait).await;
                    wait = self.waits.next(wait);
                }
                Err(error) => {
                    let in_doubt = in_doubt || error.may_have_run();
                    return Err(error.with_may_have_run(in_doubt));
                }
                Ok(()) => return Ok(()),
            }
        }
    }
}
