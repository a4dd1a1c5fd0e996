//! The queues that records arrive in, and who reads them.
//!
//! Reading is done by tasks of their own: what a request has received is out of everybody's sight for a while, so a
//! reader that is dropped in the middle would lose it until then. The tasks put records into the queue's inbox, and
//! end with the poll that they have open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use falco_core::{ActivationId, Release, Result};
use falco_http::{Delivery, Inbox};
use futures_util::{StreamExt as _, stream};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::record::Record;
use crate::client::{BATCH, Client, Message, RequestError};
use crate::config::AwsWaits;

/// Records of activations that nobody asks for, kept for each queue.
const UNCLAIMED: usize = 10_000;

/// Batches of deletions under way at the same time.
const DELETERS: usize = 8;

/// The queues of the functions that something was submitted to, or collected from, through this platform.
#[derive(Debug)]
pub(super) struct Queues {
    client: Arc<Client>,
    waits: AwsWaits,
    known: Mutex<HashMap<String, Arc<OnceCell<Arc<Queue>>>>>,
}

/// One function's queue.
#[derive(Debug)]
pub(super) struct Queue {
    client: Arc<Client>,
    waits: AwsWaits,
    pub(super) url: String,
    /// Whether this platform has configured Lambda to send the function's results here.
    pub(super) destination: OnceCell<()>,
    pub(super) inbox: Inbox<Record>,
    /// One permit for each poll that may be open.
    pollers: Arc<Semaphore>,
    /// The messages to delete, by the next call that collects.
    done: Mutex<Vec<String>>,
}

impl Queues {
    pub(super) fn new(client: Arc<Client>, waits: AwsWaits) -> Self {
        Self { client, waits, known: Mutex::default() }
    }

    /// The queue of `function`; `url` finds or makes it for the first caller.
    pub(super) async fn get<F>(&self, function: &str, url: impl FnOnce() -> F) -> Result<Arc<Queue>>
    where
        F: Future<Output = Result<String>>,
    {
        let cell = self.known().entry(function.to_owned()).or_default().clone();
        let open = || async {
            Ok(Arc::new(Queue {
                client: self.client.clone(),
                waits: self.waits.clone(),
                url: url().await?,
                destination: OnceCell::new(),
                inbox: Inbox::new(UNCLAIMED),
                pollers: Arc::new(Semaphore::new(self.waits.queue_pollers)),
                done: Mutex::default(),
            }))
        };
        cell.get_or_try_init(open).await.cloned()
    }

    pub(super) fn forget(&self, function: &str) {
        self.known().remove(function);
    }

    pub(super) fn release(&self, function: &str, ids: &[ActivationId], release: Release) {
        let queue = self.known().get(function).and_then(|cell| cell.get().cloned());
        let Some(queue) = queue else { return };
        let records = queue.inbox.release(ids);
        if release == Release::Taken {
            queue.done().extend(records.into_iter().map(|record| record.receipt));
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<OnceCell<Arc<Queue>>>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Opens polls for `wanted` records that are still to come, as many as are of use and allowed; none when others are
    /// open already.
    pub(super) fn poll(
        self: &Arc<Self>,
        wanted: usize,
    ) -> Vec<JoinHandle<Result<(), RequestError>>> {
        let useful = wanted.div_ceil(BATCH);
        let permits = (0..useful).map_while(|_| self.pollers.clone().try_acquire_owned().ok());
        permits
            .map(|permit| {
                let queue = self.clone();
                tokio::spawn(async move { queue.drain(permit).await })
            })
            .collect()
    }

    /// Polls once, and on as long as there is more than one poll can bring.
    async fn drain(&self, _permit: OwnedSemaphorePermit) -> Result<(), RequestError> {
        let mut wait = self.waits.queue_poll;
        loop {
            let messages =
                self.client.receive(&self.url, wait, self.waits.queue_visibility).await?;
            let is_full = messages.len() >= BATCH;
            messages.iter().for_each(|message| self.take_in(message));
            if !is_full {
                return Ok(());
            }
            wait = std::time::Duration::ZERO;
        }
    }

    fn take_in(&self, message: &Message) {
        let Some((id, record)) = Record::parse(message) else {
            tracing::warn!(
                bytes = message.body.len(),
                "a message in the result queue is not a record of an invocation"
            );
            self.done().push(message.receipt_handle.clone());
            return;
        };
        match self.inbox.deliver(id, record) {
            // A copy, of which one is enough; a message that was delivered again has only got another receipt.
            Delivery::Replaced(copy) if copy.message_id != message.message_id => {
                self.done().push(copy.receipt);
            }
            Delivery::Kept | Delivery::Replaced(_) => {}
            // Taken already, or not wanted any more.
            Delivery::Released(record) => self.done().push(record.receipt),
            Delivery::Evicted(id, _) => {
                tracing::debug!(%id, "a record that nobody asks for goes back into the queue");
            }
        }
    }

    /// Deletes what was taken, on a task of its own.
    pub(super) fn delete_taken(self: &Arc<Self>) {
        let receipts = std::mem::take(&mut *self.done());
        if receipts.is_empty() {
            return;
        }
        let queue = self.clone();
        tokio::spawn(async move { queue.delete(receipts).await });
    }

    async fn delete(&self, receipts: Vec<String>) {
        let batches: Vec<Vec<String>> = receipts.chunks(BATCH).map(<[String]>::to_vec).collect();
        let deleting = stream::iter(batches).map(|batch| async move {
            match self.client.delete_messages(&self.url, &batch).await {
                Ok(failed) => failed,
                Err(failure) if failure.is_not_found() => Vec::new(),
                Err(failure) => {
                    tracing::debug!(?failure, "records were not deleted, and will be later");
                    batch
                }
            }
        });
        let failed: Vec<Vec<String>> = deleting.buffer_unordered(DELETERS).collect().await;
        self.done().extend(failed.into_iter().flatten());
    }

    fn done(&self) -> MutexGuard<'_, Vec<String>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
