//! A layer between a strategy and its platform that sees what is asked of the platform.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use falco_core::{
    Activation, ActivationId, AsyncPlatform, Collected, Deployment, Invocation, Pending, Platform,
    Release, Result, async_trait, forward,
};
use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fixture::Journal;

/// Counts, limits, and drops collects half-way.
#[derive(Debug)]
pub(crate) struct Spy<P> {
    pub(crate) inner: P,
    /// Shared by all platforms that share a limit.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) limit: usize,
    held: Mutex<HashMap<ActivationId, OwnedSemaphorePermit>>,
    /// How often an invocation was sent, by its id.
    pub(crate) sent: Mutex<HashMap<String, usize>>,
    released: Mutex<HashSet<ActivationId>>,
    /// How often a collect asked for what had been released.
    pub(crate) asked_again: AtomicUsize,
    pub(crate) drop_collects: bool,
    pub(crate) journal: Arc<Journal>,
}

impl<P: AsyncPlatform> Spy<P> {
    pub(crate) fn new(inner: P) -> Self {
        Self::with_limit(inner, Semaphore::MAX_PERMITS)
    }

    pub(crate) fn with_limit(inner: P, limit: usize) -> Self {
        Self {
            inner,
            permits: Arc::new(Semaphore::new(limit)),
            limit,
            held: Mutex::default(),
            sent: Mutex::default(),
            released: Mutex::default(),
            asked_again: AtomicUsize::new(0),
            drop_collects: false,
            journal: Arc::default(),
        }
    }

    /// Permits that were not given back.
    pub(crate) fn in_use(&self) -> usize {
        self.limit - self.permits.available_permits()
    }

    async fn permit(&self, invocation: &Invocation) -> OwnedSemaphorePermit {
        let permit = self.permits.clone().acquire_owned().await.unwrap();
        *self.sent.lock().unwrap().entry(invocation.id().to_string()).or_default() += 1;
        permit
    }
}

#[async_trait]
impl<P: AsyncPlatform> Platform for Spy<P> {
    forward! { self => self.inner;
        name, capabilities, account, deploy, fetch_deployment, list_deployments, scale, remove
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let _permit = self.permit(invocation).await;
        self.inner.invoke(deployment, invocation).await
    }
}

#[async_trait]
impl<P: AsyncPlatform> AsyncPlatform for Spy<P> {
    forward! { self => self.inner; activation_log }

    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let permit = self.permit(invocation).await;
        let pending = self.inner.submit(deployment, invocation).await?;
        self.held.lock().unwrap().insert(pending.id.clone(), permit);
        Ok(pending)
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        {
            let released = self.released.lock().unwrap();
            let again = pending.iter().filter(|pending| released.contains(&pending.id)).count();
            self.asked_again.fetch_add(again, Ordering::Relaxed);
        }
        if self.drop_collects {
            // As a timeout around it would: what this one has learned is lost, and the next has to report it again.
            let _ = self.inner.collect(deployment, pending).now_or_never();
        }
        self.inner.collect(deployment, pending).await
    }

    fn release(&self, deployment: &Deployment, activations: &[ActivationId], release: Release) {
        let mut held = self.held.lock().unwrap();
        for id in activations {
            let permit = held.remove(id);
            assert!(permit.is_some(), "{id} was released twice, or never submitted");
            self.released.lock().unwrap().insert(id.clone());
            self.journal.write(format!("released {release:?}"));
        }
        self.inner.release(deployment, activations, release);
    }
}
