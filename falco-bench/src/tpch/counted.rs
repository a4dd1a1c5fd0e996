//! Counts what goes through the driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use async_trait::async_trait;
use falco_core::{Activation, AsyncPlatform, Deployment, Invocation, Result};
use falco_layers::Intercept;

/// Counts the bytes of arguments and results as the platform beneath gets and gives them.
#[derive(Debug)]
pub(super) struct Counted<P> {
    inner: P,
    pub(super) bytes: Arc<AtomicU64>,
}

impl<P> Counted<P> {
    pub(super) fn new(inner: P) -> Self {
        Self { inner, bytes: Arc::default() }
    }
}

#[async_trait]
impl<P: AsyncPlatform> Intercept for Counted<P> {
    fn inner(&self) -> &dyn AsyncPlatform {
        &self.inner
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        self.bytes.fetch_add(invocation.payload().len() as u64, Relaxed);
        let activation = self.inner.invoke(deployment, invocation).await?;
        let result = activation.outcome.as_ref().map_or(0, |result| result.len());
        self.bytes.fetch_add(result as u64, Relaxed);
        Ok(activation)
    }
}
