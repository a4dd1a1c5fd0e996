//! Removing a function and all that was made for it.

use falco_core::{Error, ErrorKind, Result};

use super::AwsLambda;
use super::names;
use crate::client::RequestError;

/// The part that could not be removed.
#[derive(Default)]
struct Leftovers {
    /// Whether there was anything at all.
    found: bool,
    first: Option<Error>,
    names: Vec<String>,
}

impl Leftovers {
    /// Takes note of how removing `what` went; what is missing is fine.
    fn note(&mut self, what: impl Into<String>, result: Result<bool, RequestError>) {
        match result {
            Ok(found) => self.found |= found,
            Err(failure) if failure.is_not_found() => {}
            Err(failure) => {
                let what = what.into();
                let error = Error::from(failure);
                tracing::warn!(%error, "{what} could not be removed");
                self.names.push(what);
                self.first.get_or_insert(error);
            }
        }
    }

    fn into_result(self) -> Result<()> {
        match self.first {
            Some(first) => {
                let left = self.names.join(", ");
                let error = first.map_message(|message| format!("left behind: {left}; {message}"));
                Err(error.with_may_have_run(false))
            }
            None if self.found => Ok(()),
            None => Err(Error::new(ErrorKind::NotFound, "there is nothing to remove")
                .with_platform(crate::NAME)),
        }
    }
}

fn was_there(result: Result<(), RequestError>) -> Result<bool, RequestError> {
    result.map(|()| true)
}

impl AwsLambda {
    /// Removes everything, the function last: as long as it is there, `list_deployments` shows it.
    ///
    /// Only the log group is deleted once more behind it, since an activation that still runs makes it anew.
    pub(super) async fn remove_all(&self, name: &str) -> Result<()> {
        let client = &self.client;
        let mut left = Leftovers::default();
        let undone = client.delete_event_invoke_config(name).await;
        // That a function has no such configuration says nothing about the function.
        left.note("the event-invoke configuration", undone.map(|()| false));
        let queue = names::queue(name);
        let removed = match client.queue_url(&queue).await {
            Ok(url) => was_there(client.delete_queue(&url).await),
            // An account that may not look for queues has made none.
            Err(failure) if failure.is_forbidden() => Ok(false),
            Err(failure) => Err(failure),
        };
        self.queues.forget(name);
        left.note(format!("queue {queue}"), removed);
        if let Some(bucket) = &self.config.bucket {
            let removed = self.remove_objects(bucket, name).await;
            left.note(
                format!("objects under s3://{bucket}/{}", names::object_prefix(name)),
                removed,
            );
        }
        // Roles that were given are none of Falco's business, nor is the permission to look at them.
        let removed = match self.remove_role(name).await {
            Err(failure) if failure.is_forbidden() && self.config.role.is_some() => Ok(false),
            removed => removed,
        };
        left.note(format!("role {}", names::role(name, &client.region)), removed);
        let group = names::log_group(name);
        let there = client.delete_log_group(&group).await.is_ok();
        let removed = self.when_idle(|| client.delete_function(name)).await;
        left.note(format!("function {name}"), was_there(removed));
        let removed = match client.delete_log_group(&group).await {
            Err(failure) if failure.is_not_found() => Ok(there),
            removed => was_there(removed),
        };
        left.note(format!("log group {group}"), removed);
        left.into_result()
    }

    async fn remove_objects(&self, bucket: &str, name: &str) -> Result<bool, RequestError> {
        let keys = self.client.list_objects(bucket, &names::object_prefix(name)).await?;
        for key in &keys {
            self.client.delete_object(bucket, key).await?;
        }
        Ok(!keys.is_empty())
    }
}
