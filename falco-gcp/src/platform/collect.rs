//! Collecting the results of submitted calls.

use std::collections::HashSet;

use falco_core::{
    Activation, ActivationId, Collected, Deployment, Error, ErrorKind, Operation, Pending, Release,
    Result,
};
use futures_util::{StreamExt as _, stream};

use super::deletions::Deletion;
use super::record::Record;
use super::submit::{Shared, argument, object, prefix};
use super::{Inner, names};

/// Reads and deletions at the same time.
const PARALLEL: usize = 32;
/// Deletions in one call.
const DELETIONS: usize = 1000;

/// The bucket's content for an activation.
enum Stored {
    Nothing,
    Record(Box<Activation>),
    Unreadable(ActivationId, Error),
}

impl Inner {
    pub(super) async fn collect(
        &self,
        deployment: &Deployment,
        pending: &[Pending],
    ) -> Result<Collected> {
        let at = |e: Error| {
            e.at(Operation::new(crate::NAME, "collect").on(&deployment.name))
                .with_may_have_run(true)
        };
        let shared = self.shared("collect").map_err(at)?;
        let id = self.id_of(deployment);
        self.delete_released(shared, id).await;
        if pending.is_empty() {
            let nothing = Collected::new(Vec::new(), Vec::new(), self.waits.results);
            return Ok(nothing.with_from_memory(true));
        }
        let wanted: HashSet<&str> = pending.iter().map(|pending| pending.id.as_str()).collect();
        let results = format!("{}results/", prefix(id));
        let listed =
            self.api.list_objects("collect", &shared.bucket, &results).await.map_err(at)?;
        let stored: HashSet<String> = listed
            .iter()
            .filter_map(|object| object.name.strip_prefix(&results)?.strip_suffix(".json"))
            .filter(|activation| wanted.contains(activation))
            .map(str::to_owned)
            .collect();
        let mut reads = stream::iter(stored)
            .map(|activation| self.read(shared, deployment, activation))
            .buffer_unordered(PARALLEL);
        let mut collected = Collected::new(Vec::new(), Vec::new(), self.waits.results);
        let mut failure = None;
        while let Some(read) = reads.next().await {
            match read {
                Ok(Stored::Nothing) => {}
                Ok(Stored::Record(activation)) => collected.finished.push(*activation),
                Ok(Stored::Unreadable(id, error)) => collected.gone.push((id, at(error))),
                Err(error) => failure = Some(error),
            }
        }
        if failure.is_none() {
            let finished = collected.finished.iter().map(|activation| &activation.id);
            let gone = collected.gone.iter().map(|(id, _)| id);
            let known: HashSet<&ActivationId> = finished.chain(gone).collect();
            let waiting = pending.iter().filter(|pending| !known.contains(&pending.id)).collect();
            let given_up = self.given_up(shared, deployment, waiting).await;
            collected.gone.extend(given_up.into_iter().map(|(id, error)| (id, at(error))));
        }
        match failure {
            Some(error) if collected.is_empty() => Err(at(error)),
            _ => Ok(collected),
        }
    }

    async fn read(
        &self,
        shared: &Shared,
        deployment: &Deployment,
        activation: String,
    ) -> Result<Stored> {
        let name = object(self.id_of(deployment), &activation);
        let Some(body) = self.api.read_object("collect", &shared.bucket, &name).await? else {
            return Ok(Stored::Nothing);
        };
        let Some(record) = Record::parse(&body) else {
            // It is stored once and for all, so reading it again would not help; running the function again may.
            let error = Error::new(ErrorKind::Protocol, "the stored result is not one of Falco's")
                .with_retryable(true)
                .with_request_id(activation.clone());
            return Ok(Stored::Unreadable(activation.into(), error));
        };
        if record.stored_argument {
            let id = self.id_of(deployment);
            self.deletions.add(id, [Deletion::Object(argument(id, &activation))]);
        }
        Ok(Stored::Record(Box::new(self.activation(deployment, &activation, record))))
    }

    pub(super) fn release(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
        release: Release,
    ) {
        if self.shared.is_none() || activations.is_empty() {
            return;
        }
        let id = self.id_of(deployment);
        let ours = activations.iter().filter(|a| names::activation_time(a.as_str()).is_some());
        self.deletions.add(
            id,
            ours.flat_map(|activation| match release {
                Release::Taken => vec![Deletion::Object(object(id, activation.as_str()))],
                // What it stores later goes with the function.
                Release::Abandoned => vec![
                    Deletion::Task(names::task_id(activation.as_str(), id)),
                    Deletion::Object(argument(id, activation.as_str())),
                ],
            }),
        );
    }

    /// Deletes what was released. A failure costs nothing but space until the function is removed.
    async fn delete_released(&self, shared: &Shared, function: &str) {
        let deletions = self.deletions.some(function, DELETIONS);
        let delete = |deletion: Deletion| async move {
            let deleted = match &deletion {
                Deletion::Object(name) => {
                    self.api.delete_object("collect", &shared.bucket, name).await
                }
                Deletion::Task(task) => self.api.delete_task("collect", &shared.queue, task).await,
            };
            match deleted {
                Ok(()) => self.deletions.deleted(function, &deletion),
                Err(error) => tracing::debug!(%error, "what was released could not be deleted yet"),
            }
        };
        stream::iter(deletions).for_each_concurrent(PARALLEL, delete).await;
    }
}
