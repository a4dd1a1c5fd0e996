//! Removing a function and everything that it has.

use falco_core::{Deployment, Error, ErrorKind, Result};
use futures_util::{StreamExt as _, stream};

use super::describe::attribute;
use super::submit::{own_bucket, prefix};
use super::{Inner, names};

const PARALLEL: usize = 32;

impl Inner {
    pub(super) async fn remove(&self, deployment: &Deployment) -> Result<()> {
        let id = self.id_of(deployment);
        let deleted = async {
            let operation = self.when_free(|| self.api.delete_function("remove", id)).await?;
            self.finish("remove", id, operation, &[]).await
        };
        let deleted = deleted.await;
        if let Some(audience) = deployment.attribute(attribute::URI) {
            self.api.tokens.forget_audience(audience);
        }
        self.leftovers.forget(id);
        let queue = match deployment.attribute(attribute::QUEUE) {
            Some(queue) => self.empty_queue(queue, id).await,
            None => Ok(()),
        };
        let bucket = match deployment.attribute(attribute::BUCKET) {
            Some(bucket) => self.empty_bucket(bucket, id).await,
            None => Ok(()),
        };
        // The function's own failure first.
        deleted.and(queue).and(bucket).map_err(|e| Self::blame("remove", &deployment.name, e))
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

    /// Deletes what the function has stored, and Falco's own bucket with the last function.
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
        all(deletions.collect().await)?;
        if bucket != own_bucket(&self.api.project, &self.api.location) {
            return Ok(());
        }
        let functions = self.api.list_functions("remove").await?;
        let is_needed =
            functions.iter().any(|f| names::is_falcos(f) && !f.name.ends_with(&format!("/{id}")));
        if !is_needed && !self.api.delete_empty_bucket("remove", bucket).await? {
            tracing::debug!(bucket, "the bucket is not empty and stays");
        }
        Ok(())
    }
}

/// The first failure, after everything was tried.
fn all(results: Vec<Result<(), Error>>) -> Result<()> {
    results.into_iter().collect()
}
