//! Asking what has become of submitted invocations.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use falco_core::{
    ActivationId, Collected, Deployment, Error, ErrorKind, Invocation, InvocationId, Operation,
    Pending, Result,
};
use futures_util::future::join_all;

use super::AwsLambda;
use super::names;
use super::queue::Queue;
use crate::NAME;
use crate::client::{LONGEST_RUN, RequestError};

impl AwsLambda {
    /// Reads the queue for at most one poll's time, and less when one of `pending` is there.
    pub(super) async fn collect_records(
        &self,
        deployment: &Deployment,
        pending: &[Pending],
    ) -> Result<Collected> {
        if pending.is_empty() {
            return Ok(Collected::default().with_from_memory(true));
        }
        let name = &deployment.name;
        let find = || async { Ok(self.client.queue_url(&names::queue(name)).await?) };
        let queue = self.queues.get(name, find).await?;
        queue.delete_taken();
        let ids: Vec<ActivationId> = pending.iter().map(|pending| pending.id.clone()).collect();
        let polled = self.wait_for_records(&queue, &ids).await;
        let is_from_memory = matches!(polled, Polled::ByOthers);
        let failure = match polled {
            Polled::Failed(failure) => Some(failure),
            _ => None,
        };
        let found = queue.inbox.read(&ids);
        match failure {
            // `Err` says that nothing was learned.
            Some(failure) if found.is_empty() => return Err(failure.into()),
            Some(failure) => tracing::debug!(?failure, "the result queue was read in part"),
            None => {}
        }
        let answered: std::collections::HashSet<_> =
            found.iter().map(|(id, _)| id.clone()).collect();
        let unanswered = pending.iter().filter(|pending| !answered.contains(&pending.id));
        let horizon = self.horizon(deployment);
        let is_over = |pending: &&Pending| {
            SystemTime::now().duration_since(pending.submitted_at).is_ok_and(|age| age > horizon)
        };
        let lost = |message: String| {
            Error::new(ErrorKind::Lost, message).at(Operation::new(NAME, "collect").on(name))
        };
        let mut gone: Vec<(ActivationId, Error)> = unanswered
            .filter(is_over)
            .map(|pending| (pending.id.clone(), lost("Lambda has sent no record of it".into())))
            .collect();
        let mut finished = Vec::with_capacity(found.len());
        for (id, record) in found {
            if let Some(reason) = record.dropped() {
                tracing::warn!(%id, reason, "Lambda has dropped an event");
                gone.push((id, lost(format!("Lambda has dropped the event: {reason}"))));
            } else {
                let (mut activation, measured) =
                    record.into_activation(id, deployment, &self.config.region);
                if let Some(measured) = &measured {
                    measured.add_instance(&mut activation);
                }
                self.add_measured(&mut activation, measured.as_ref(), deployment);
                finished.push(activation);
            }
        }
        // The poll itself has waited; after one that brought nothing, a pause keeps the caller from spinning.
        let poll_after =
            if finished.is_empty() && gone.is_empty() { PAUSE } else { Duration::ZERO };
        Ok(Collected::new(finished, gone, poll_after).with_from_memory(is_from_memory))
    }

    /// Waits until there is a record of one of `ids`, or all polls have ended without.
    async fn wait_for_records(&self, queue: &Arc<Queue>, ids: &[ActivationId]) -> Polled {
        let polls = queue.poll(ids.len().max(1));
        let others_poll = polls.is_empty();
        let polled = async {
            if others_poll {
                tokio::time::sleep(self.config.waits.queue_poll.max(SHORTEST_WAIT)).await;
            }
            join_all(polls).await
        };
        tokio::select! {
            // It came by a poll of somebody's.
            () = queue.inbox.arrived(ids) => Polled::Answered,
            ended = polled => match ended.into_iter().find_map(|poll| poll.ok()?.err()) {
                Some(failure) => Polled::Failed(failure),
                None if others_poll => Polled::ByOthers,
                None => Polled::Answered,
            },
        }
    }

    /// Looks in the queue for the records of attempts that an earlier process may have submitted. It waits for as long as the
    /// function may run, and for 45 seconds at most: what has not ended by then stays in doubt.
    pub(super) async fn find_records(
        &self,
        deployment: &Deployment,
        in_doubt: &[Invocation],
    ) -> Result<Vec<(InvocationId, Pending)>> {
        let name = &deployment.name;
        let find = || async { Ok(self.client.queue_url(&names::queue(name)).await?) };
        let queue = match self.queues.get(name, find).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            queue => queue?,
        };
        let run = deployment.scaling.timeout.unwrap_or(LONGEST_RUN) + self.config.waits.queue_poll;
        let until = tokio::time::Instant::now() + run.min(LONGEST_SEARCH);
        let mut left: Vec<&Invocation> = in_doubt.iter().collect();
        let mut found = Vec::new();
        loop {
            left.retain(|invocation| {
                let Some(id) = queue.inbox.claim_by(|record| record.is_of(invocation)) else {
                    return true;
                };
                found.push((invocation.id().clone(), Pending::new(id, SystemTime::now())));
                false
            });
            if left.is_empty() || tokio::time::Instant::now() >= until {
                return Ok(found);
            }
            if let Polled::Failed(failure) = self.wait_for_records(&queue, &[]).await {
                return Err(failure.into());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// When a record can come no more: Lambda has dropped the event, or its one try has long been over.
    fn horizon(&self, deployment: &Deployment) -> Duration {
        let run = deployment.scaling.timeout.unwrap_or(LONGEST_RUN);
        self.config.waits.event_age + run + self.config.waits.invoke_margin
    }
}

/// How polling the queue ended.
enum Polled {
    /// A record is there, or SQS has answered that there is none.
    Answered,
    /// Others poll at this time, and nothing came of it so far.
    ByOthers,
    Failed(RequestError),
}

/// The shortest wait of a collector while others read the queue.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);

/// The longest that a search for lost submissions waits for records: less than the timeout of a call.
const LONGEST_SEARCH: Duration = Duration::from_secs(45);

/// Between polls that brought nothing.
const PAUSE: Duration = Duration::from_millis(10);
