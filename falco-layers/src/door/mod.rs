//! The layer behind the gate of a spread's part. It turns away calls that waited there while the part stopped answering, and they
//! go to another part.

mod silence;

use std::sync::Arc;

use falco_core::{
    Activation, AsyncPlatform, Collected, Deployment, Error, ErrorKind, Invocation, Operation,
    Pending, Result, async_trait,
};

pub(crate) use self::silence::Silence;
use crate::layer::Intercept;

/// A part of a spread, as its layers know it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its name, with which the ids of its activations begin.
    pub(crate) name: String,
    pub(crate) silence: Arc<Silence>,
}

/// Sends calls to a part only while it answers, except those that try whether it is back.
///
/// Calls wait at the part's gate, and its slots become free when those in flight fail. Without this layer, each failure would
/// let another call through to a part that does not answer, and nobody would know whether that ran.
#[derive(Debug)]
pub(crate) struct Door {
    inner: Arc<dyn AsyncPlatform>,
    silence: Arc<Silence>,
    /// Whether submissions are calls that are held open: accepting one says nothing about the platform.
    holds_calls: bool,
}

impl Door {
    pub(crate) fn new(
        inner: Arc<dyn AsyncPlatform>,
        silence: Arc<Silence>,
        holds_calls: bool,
    ) -> Self {
        Self { inner, silence, holds_calls }
    }

    fn check(&self, invocation: &Invocation, operation: &'static str) -> Result<()> {
        if !self.silence.turns_away(invocation) {
            return Ok(());
        }
        let message = "the platform stopped answering while the call waited: it was not sent";
        let place = Operation::new(self.inner.name(), operation);
        Err(Error::new(ErrorKind::Unavailable, message)
            .with_unreachable(true)
            .with_may_have_run(false)
            .at(place))
    }
}

#[async_trait]
impl Intercept for Door {
    fn inner(&self) -> &dyn AsyncPlatform {
        &*self.inner
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        self.check(invocation, "invoke")?;
        let answer = self.inner.invoke(deployment, invocation).await;
        // Before the gate lets the next one through.
        self.silence.hear(&answer, |_| true);
        answer
    }

    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        self.check(invocation, "submit")?;
        let answer = self.inner.submit(deployment, invocation).await;
        self.silence.hear(&answer, |_| !self.holds_calls);
        answer
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        let collected = self.inner.collect(deployment, pending).await?;
        collected.gone.iter().for_each(|(_, why)| self.silence.hear_error(why));
        Ok(collected)
    }
}
