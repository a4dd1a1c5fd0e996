//! Removing a function and everything that it has.

use std::sync::atomic::{AtomicBool, Ordering};

use falco_core::{Deployment, Error, ErrorKind, Operation, Result};
use futures_util::{StreamExt as _, stream};

use super::describe::attribute;
use super::submit::{own_bucket, prefix};
use super::{Inner, names};

const PARALLEL: usize = 32;
/// How often the bucket is emptied again when a call that still runs has stored something, or when it cannot be.
const TRIES: u32 = 4;

impl Inner {
    /// The function goes last: stopped in between, or refused for now, it is still there for a later clean-up to find.
    pub(super) async fn remove(&self, deployment: &Deployment) -> Result<()> {
        let id = self.id_of(deployment);
        let queue = match deployment.attribute(attribute::QUEUE) {
            Some(queue) => self.empty_queue(queue, id).await,
            None => Ok(()),
        };
        let bucket = deployment.attribute(attribute::BUCKET);
        let emptied = match bucket {
            Some(bucket) => self.remove_from_bucket(bucket, id).await,
            None => Ok(true),
        };
        let failures = [queue.as_ref().err(), emptied.as_ref().err()];
        if let Some(passing) = failures.into_iter().flatten().find(|error| error.is_retryable()) {
            return Err(passing
                .clone()
                .at(Operation::new(crate::NAME, "remove").on(&deployment.name)));
        }
        let deleted = self.delete(id).await;
        if let Some(audience) = deployment.attribute(attribute::URI) {
            self.api.tokens.forget_audience(audience);
        }
        self.deletions.forget(id);
        self.given_up.forget(id);
        if let (Some(bucket), Ok(false)) = (bucket, &emptied) {
            self.sweep(bucket, id).await;
        }
        // The function's own failure first.
        let ended = deleted.and(queue).and(emptied.map(|_| ()));
        ended.map_err(|e| e.at(Operation::new(crate::NAME, "remove").on(&deployment.name)))
    }

    /// Calls that still ran may have stored results meanwhile, and functions that are removed at the same time leave the
    /// bucket to one another.
    ///
    /// The function is gone, so that there is nothing to try again.
    async fn sweep(&self, bucket: &str, id: &str) {
        for _ in 0..TRIES {
            match self.remove_from_bucket(bucket, id).await {
                Ok(_) => return,
                Err(error) if error.is_retryable() => {
                    tracing::debug!(%error, "results of the removed function may be left");
                    tokio::time::sleep(self.waits.first).await;
                }
                Err(error) => {
                    tracing::warn!(bucket, %error, "results of the removed function may be left");
                    return;
                }
            }
        }
    }

    async fn delete(&self, id: &str) -> Result<()> {
        let was_busy = AtomicBool::new(false);
        let delete = || async {
            let deleted = self.api.delete_function("remove", id).await;
            if deleted.as_ref().is_err_and(|e| e.kind() == ErrorKind::Conflict) {
                was_busy.store(true, Ordering::Relaxed);
            }
            deleted
        };
        match self.when_free(delete).await {
            Ok(operation) => self.finish("remove", id, operation, &[]).await,
            // The operation that was waited for was a removal.
            Err(error)
                if error.kind() == ErrorKind::NotFound && was_busy.load(Ordering::Relaxed) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the function's tasks out of the queue, which other functions share.
    async fn empty_queue(&self, queue: &str, id: &str) -> Result<()> {
        let tasks = match self.api.list_tasks("remove", queue).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let ours = tasks.into_iter().filter(|task| names::is_task_of(task, id));
        let deletions = stream::iter(ours)
            .map(|task| async move { self.api.delete_task("remove", queue, &task).await })
            .buffer_unordered(PARALLEL);
        all(deletions.collect().await)
    }

    /// Deletes what the function has stored, and Falco's own bucket with the last function. Says whether the bucket is
    /// gone.
    async fn remove_from_bucket(&self, bucket: &str, id: &str) -> Result<bool> {
        self.empty_bucket(bucket, id).await?;
        if bucket != own_bucket(&self.api.project, &self.api.location) {
            return Ok(false);
        }
        let functions = self.api.list_functions("remove").await?;
        let is_needed =
            functions.iter().any(|f| names::is_falcos(f) && !f.name.ends_with(&format!("/{id}")));
        if is_needed {
            return Ok(false);
        }
        for _ in 0..TRIES {
            if self.api.delete_empty_bucket("remove", bucket).await? {
                return Ok(true);
            }
            // A call that still runs has stored something.
            self.empty_bucket(bucket, id).await?;
        }
        tracing::debug!(bucket, "the bucket is not empty and stays");
        Ok(false)
    }

    /// Deletes what the function has stored.
    async fn empty_bucket(&self, bucket: &str, id: &str) -> Result<()> {
        let objects = match self.api.list_objects("remove", bucket, &prefix(id)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let deletions =
            stream::iter(objects)
                .map(|object| async move {
                    self.api.delete_object("remove", bucket, &object.name).await
                })
                .buffer_unordered(PARALLEL);
        all(deletions.collect().await)
    }
}

/// The first failure, after everything was tried.
fn all(results: Vec<Result<(), Error>>) -> Result<()> {
    results.into_iter().collect()
}
