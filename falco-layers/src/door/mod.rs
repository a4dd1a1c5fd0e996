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

#[cfg(test)]
mod tests {
    use super::*;
    use falco_core::{Deployable, Payload, Platform};
    use falco_testkit::InMemory;

    /// A part that does not answer, behind its door.
    async fn silent(holds_calls: bool) -> (Arc<InMemory>, Door, Deployment) {
        let (platform, silence) = (Arc::new(InMemory::default()), Arc::new(Silence::default()));
        let function = Deployable::python("f", "def main(args): return args");
        let deployment = platform.deploy(&function).await.unwrap();
        let away = Error::new(ErrorKind::Unavailable, "no route").with_unreachable(true);
        silence.hear_error(&away);
        let door = Door::new(platform.clone(), silence, holds_calls);
        (platform, door, deployment)
    }

    fn invocation() -> Invocation {
        Invocation::new("run", "stage", "1", Payload::empty())
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_waited_for_a_part_which_is_silent_now_is_not_sent_and_says_so() {
        let (platform, door, deployment) = silent(false).await;
        let invoked = door.invoke(&deployment, &invocation()).await.unwrap_err();
        let submitted = door.submit(&deployment, &invocation()).await.unwrap_err();
        for (error, operation) in [(invoked, "invoke"), (submitted, "submit")] {
            assert!(error.is_unreachable() && !error.may_have_run(), "{error:?}");
            assert_eq!(error.operation(), Some(operation));
        }
        let counters = platform.counters();
        assert_eq!((counters.invokes, counters.submits), (0, 0));
        door.silence.chosen(&invocation());
        door.invoke(&deployment, &invocation()).await.unwrap();
        assert!(!door.silence.is_silent());
    }

    #[tokio::test(start_paused = true)]
    async fn accepting_a_call_that_is_held_open_does_not_show_that_the_part_answers() {
        for holds_calls in [false, true] {
            let (_platform, door, deployment) = silent(holds_calls).await;
            door.silence.chosen(&invocation());
            door.submit(&deployment, &invocation()).await.unwrap();
            assert_eq!(door.silence.is_silent(), holds_calls);
        }
    }
}
