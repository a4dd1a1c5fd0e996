//! More memory or time for the invocations that need it.

mod ladder;
mod sizes;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Collected, Deployable, Deployment,
    Error, ErrorKind, Invocation, Pending, Release, Result, async_trait,
};
use futures_util::future::join_all;

pub use self::ladder::Ladder;
use self::ladder::Step;
use self::sizes::{Sent, Sizes};
use crate::layer::{Intercept, Intercepted};

/// Gives more memory to invocations that ran out of it, and more time to those that ran out of time: they are repeated on
/// a larger deployment of their function, which is made when it is first needed.
///
/// It marks an activation that failed so ([`Activation::OUTGROWN`]), and the executor repeats the invocation at once, as an
/// attempt of its own that costs none of the policy's repeats; so reports, traces and budgets see each attempt. Other
/// invocations stay where they are, until most of a stage has needed a size: then later invocations begin with that.
/// Removing the function removes all its sizes.
///
/// It is the outermost of all layers. Inputs that travel in a batch grow once they are sent by themselves. What was
/// submitted to a larger size when a process ended is lost to the next one.
///
/// # Examples
///
/// ```
/// # use std::sync::Arc;
/// # use falco_core::{AsyncPlatform, Result};
/// use falco_layers::{Escalation, Ladder, Stack};
///
/// # fn demo(platform: Arc<dyn AsyncPlatform>) -> Result<()> {
/// let platform = Escalation::wrap(Stack::new().wrap(platform)?, Ladder::memory([512, 1024, 2048])?);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Escalation {
    inner: Arc<dyn AsyncPlatform>,
    ladder: Ladder,
    functions: Mutex<HashMap<String, Arc<Sizes>>>,
}

impl Escalation {
    /// Puts it around a platform, with its layers.
    pub fn wrap(platform: impl AsyncPlatform, ladder: Ladder) -> Arc<dyn AsyncPlatform> {
        let inner = Arc::new(platform);
        Arc::new(Intercepted(Self { inner, ladder, functions: Mutex::default() }))
    }

    /// The sizes of a function, also of one that another process has deployed.
    fn sizes(&self, deployment: &Deployment) -> Arc<Sizes> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let sizes = || Arc::new(Sizes::new(None, deployment.clone(), &self.ladder));
        functions.entry(deployment.name.clone()).or_insert_with(sizes).clone()
    }

    /// The deployment for an invocation, and its step.
    async fn place(&self, sizes: &Sizes, invocation: &Invocation) -> Result<(Step, Deployment)> {
        let key = (invocation.stage().clone(), invocation.id().clone());
        let step = {
            let state = sizes.state();
            let start = state.needs.get(invocation.stage()).map(|needs| needs.start());
            state.grown.get(&key).copied().or(start).unwrap_or_default()
        };
        let deployment = sizes.deployment(&self.inner, step).await?;
        Ok((step, deployment))
    }

    /// Learns from an answer, and marks it if the invocation is to be repeated in a larger size.
    fn learn(&self, sizes: &Sizes, sent: Sent, activation: &mut Activation) {
        let Sent { stage, invocation, step, is_batch } = sent;
        if let Some(timeout) = sizes.ladder.size(step).timeout.or(sizes.own.scaling.timeout) {
            let seconds = format!("{}", timeout.as_secs_f64());
            activation.attributes.insert("timeout_s".into(), seconds);
        }
        let failure = activation.outcome.as_ref().err().map(|error| error.kind);
        let next = failure.and_then(|kind| sizes.ladder.after(step, kind)).filter(|_| !is_batch);
        let mut state = sizes.state();
        let key = (stage, invocation);
        match next {
            Some(next) => {
                activation.attributes.insert(Activation::OUTGROWN.into(), "true".into());
                state.grown.insert(key, next);
            }
            None => {
                state.grown.remove(&key);
                if failure.is_none() {
                    let needs = state.needs.entry(key.0).or_default();
                    needs.note(&sizes.ladder, &sizes.own.scaling, step, activation);
                }
            }
        }
    }

    /// Submissions by the deployment that has them.
    async fn by_size(
        &self,
        sizes: &Sizes,
        pending: &[Pending],
    ) -> Result<Vec<(Deployment, Vec<Pending>)>> {
        let mut steps: BTreeMap<Step, Vec<Pending>> = BTreeMap::new();
        {
            let state = sizes.state();
            for it in pending {
                let step = state.pending.get(&it.id).map(|sent| sent.step);
                steps.entry(step.unwrap_or_default()).or_default().push(it.clone());
            }
        }
        let mut found = Vec::new();
        for (step, pending) in steps {
            found.push((sizes.deployment(&self.inner, step).await?, pending));
        }
        Ok(found)
    }
}

#[async_trait]
impl Intercept for Escalation {
    fn inner(&self) -> &dyn AsyncPlatform {
        &*self.inner
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        let function = function.clone().with_scaling(self.ladder.first(&function.scaling));
        let deployment = self.inner.deploy(&function).await?;
        let mut own = deployment.clone();
        own.scaling = function.scaling.overridden_by(&own.scaling);
        let sizes = Arc::new(Sizes::new(Some(function), own, &self.ladder));
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        functions.insert(deployment.name.clone(), sizes);
        Ok(deployment)
    }

    /// Removes all sizes.
    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        let sizes = self.sizes(deployment);
        let larger = sizes.larger(&self.inner).await;
        let removed = join_all(larger.iter().map(|larger| self.inner.remove(larger))).await;
        self.inner.remove(deployment).await?;
        let failed = |error: &Error| error.kind() != ErrorKind::NotFound;
        if let Some(error) = removed.into_iter().filter_map(Result::err).find(failed) {
            return Err(error);
        }
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        functions.remove(&deployment.name);
        Ok(())
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let sizes = self.sizes(deployment);
        let (step, place) = self.place(&sizes, invocation).await?;
        let place = if step == Step::default() { deployment } else { &place };
        let mut activation = self.inner.invoke(place, invocation).await?;
        self.learn(&sizes, Sent::new(invocation, step), &mut activation);
        Ok(activation)
    }

    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let sizes = self.sizes(deployment);
        let (step, place) = self.place(&sizes, invocation).await?;
        let place = if step == Step::default() { deployment } else { &place };
        let pending = self.inner.submit(place, invocation).await?;
        let sent = Sent::new(invocation, step);
        sizes.state().pending.insert(pending.id.clone(), sent);
        Ok(pending)
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        let sizes = self.sizes(deployment);
        let mut all: Option<Collected> = None;
        for (place, own) in self.by_size(&sizes, pending).await? {
            let mut some = self.inner.collect(&place, &own).await?;
            all = Some(match all {
                None => some,
                Some(mut all) => {
                    all.finished.append(&mut some.finished);
                    all.gone.append(&mut some.gone);
                    all.poll_after = all.poll_after.min(some.poll_after);
                    all.is_from_memory &= some.is_from_memory;
                    all
                }
            });
        }
        let mut all = all.unwrap_or_default();
        for activation in &mut all.finished {
            let sent = sizes.state().pending.get(&activation.id).cloned();
            if let Some(sent) = sent {
                self.learn(&sizes, sent, activation);
            }
        }
        Ok(all)
    }

    fn release(&self, deployment: &Deployment, activations: &[ActivationId], release: Release) {
        let sizes = self.sizes(deployment);
        let mut steps: BTreeMap<Step, Vec<ActivationId>> = BTreeMap::new();
        {
            let mut state = sizes.state();
            for id in activations {
                let step = state.pending.remove(id).map(|sent| sent.step);
                steps.entry(step.unwrap_or_default()).or_default().push(id.clone());
            }
        }
        for (step, ids) in steps {
            match sizes.made(step) {
                Some(place) => self.inner.release(&place, &ids, release),
                None => self.inner.release(deployment, &ids, release),
            }
        }
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        let sizes = self.sizes(deployment);
        let mut logs = self.inner.activation_log(deployment, activations).await?;
        // The size of an activation is forgotten when it is released: all of them are asked.
        for larger in sizes.larger(&self.inner).await {
            let is_missing = |id: &&ActivationId| !logs.iter().any(|log| log.id == **id);
            let missing: Vec<ActivationId> =
                activations.iter().filter(is_missing).cloned().collect();
            if !missing.is_empty() {
                logs.extend(self.inner.activation_log(&larger, &missing).await?);
            }
        }
        logs.sort_by_key(|log| activations.iter().position(|id| *id == log.id));
        Ok(logs)
    }
}
