//! The layer that makes submit and collect out of held-open invokes.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Capabilities, Collected, Deployment,
    Error, ErrorKind, Invocation, InvocationId, Pending, Platform, Release, Result, async_trait,
    forward, setters,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::AbortHandle;
use tracing::Instrument;

/// The attribute of a held activation that has the id that the platform gave it.
const PLATFORM_ID: &str = "platform_activation_id";

/// Failed calls whose ids of the platform are kept after their release, for their logs: the last ones.
const KEPT_FAILURES: usize = 1024;

/// How many calls are held open, and how `submit` distinguishes a refusal from an acceptance.
///
/// # Examples
///
/// ```
/// use falco_layers::HeldPolicy;
///
/// let policy = HeldPolicy::default().with_max_calls(100);
/// assert_eq!(policy.acceptance.as_millis(), 100);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldPolicy {
    /// Calls that are open at the same time, at least one: connections, mostly.
    pub max_calls: u32,
    /// How long `submit` waits for a refusal: a round trip to the platform is a good choice.
    pub acceptance: Duration,
}

impl HeldPolicy {
    setters! {
        /// Sets how many calls are open at the same time, at least one: connections, mostly.
        with_max_calls(max_calls: u32);
        /// Sets how long `submit` waits for a refusal: a round trip to the platform is a good choice.
        with_acceptance(acceptance: Duration);
    }
}

impl Default for HeldPolicy {
    fn default() -> Self {
        Self { max_calls: 1000, acceptance: Duration::from_millis(100) }
    }
}

/// Makes `submit` and `collect` for a platform that can only invoke, by holding the calls open in tasks of its own.
///
/// - `submit` waits for one of [`HeldPolicy::max_calls`] slots, sends the call, and waits a moment
///   ([`HeldPolicy::acceptance`]) for a refusal, which it returns. `collect` reports a call that fails later as gone,
///   with its error. Dropped, it ends the call.
/// - Results wait in memory until they are released; until then `collect` reports them each time. So memory is
///   bounded by what the caller has pending. The logs of failed calls can be asked for after that, too: of the last 1,024.
/// - `release` as abandoned ends the call and closes its connection. So does dropping the last clone.
/// - A call belongs to this value and its clones, and ends with the process: what another one has submitted is gone.
///
/// It has to be used within a Tokio runtime. Put it *inside* of [`CongestionControl`](crate::CongestionControl),
/// which then counts the held calls, and *outside* of [`Timeout`](crate::Timeout), which then limits them.
///
/// # Examples
///
/// ```
/// # use falco_core::{AsyncPlatform, Platform};
/// use falco_layers::{Held, HeldPolicy};
///
/// # fn demo(platform: impl AsyncPlatform) {
/// let held = Held::new(platform, HeldPolicy::default());
/// assert!(held.capabilities().submit);
/// # }
/// ```
#[derive(Debug)]
pub struct Held<P>(Arc<Owner<P>>);

impl<P> Clone for Held<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The state that the handles share; the tasks share only its parts.
#[derive(Debug)]
struct Owner<P> {
    shared: Arc<Shared<P>>,
    slots: Arc<Semaphore>,
    policy: HeldPolicy,
    /// Distinguishes the ids of this value from those of another process.
    prefix: String,
    next: AtomicU64,
    deployment: Mutex<Option<Arc<Deployment>>>,
}

impl<P> Drop for Owner<P> {
    fn drop(&mut self) {
        for (_, call) in self.shared.calls().drain() {
            call.abort();
        }
    }
}

#[derive(Debug)]
struct Shared<P> {
    platform: P,
    calls: Mutex<HashMap<ActivationId, Call>>,
    /// The ids of the platform, of failed calls that were released.
    failures: Mutex<VecDeque<(ActivationId, ActivationId)>>,
}

impl<P> Shared<P> {
    fn calls(&self) -> MutexGuard<'_, HashMap<ActivationId, Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failures(&self) -> MutexGuard<'_, VecDeque<(ActivationId, ActivationId)>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the platform's id of a call that is released, if it failed.
    fn keep_failure(&self, id: &ActivationId, call: &Call) {
        let Call::Finished(activation) = call else { return };
        if activation.outcome.is_ok() {
            return;
        }
        let Some(platform_id) = platform_id(activation) else { return };
        let mut failures = self.failures();
        if failures.len() == KEPT_FAILURES {
            failures.pop_front();
        }
        failures.push_back((id.clone(), platform_id));
    }
}

#[derive(Debug)]
enum Call {
    /// It is on its way.
    Open(Option<AbortHandle>),
    Finished(Box<Activation>),
    Failed(Error),
}

impl Call {
    fn abort(self) {
        if let Self::Open(Some(task)) = self {
            task.abort();
        }
    }
}

impl<P: AsyncPlatform> Held<P> {
    /// Holds calls to `platform` open as `policy` says.
    pub fn new(platform: P, policy: HeldPolicy) -> Self {
        let slots = (policy.max_calls.max(1) as usize).min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Owner {
            shared: Arc::new(Shared {
                platform,
                calls: Mutex::default(),
                failures: Mutex::default(),
            }),
            slots: Arc::new(Semaphore::new(slots)),
            policy,
            prefix: format!("held-{:016x}-", fastrand::u64(..)),
            next: AtomicU64::new(0),
            deployment: Mutex::default(),
        }))
    }

    /// One copy for all calls to the same function.
    fn share(&self, deployment: &Deployment) -> Arc<Deployment> {
        let mut last = self.0.deployment.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(shared) if **shared == *deployment => Arc::clone(shared),
            _ => Arc::clone(last.insert(Arc::new(deployment.clone()))),
        }
    }
}

/// Holds one call open and keeps what comes of it. Aborted or panicking, it leaves a failed call behind.
struct Holder<P> {
    shared: Arc<Shared<P>>,
    id: ActivationId,
    invocation: Invocation,
    settled: Option<oneshot::Sender<()>>,
    _slot: OwnedSemaphorePermit,
}

impl<P: AsyncPlatform> Holder<P> {
    async fn run(mut self, deployment: Arc<Deployment>) {
        let outcome = self.shared.platform.invoke(&deployment, &self.invocation).await;
        self.settle(outcome);
    }
}

impl<P> Holder<P> {
    fn settle(&mut self, outcome: Result<Activation>) {
        let Some(settled) = self.settled.take() else { return };
        if let Some(call) = self.shared.calls().get_mut(&self.id) {
            *call = match outcome {
                Ok(activation) => Call::Finished(Box::new(renamed(activation, &self.id))),
                Err(error) => Call::Failed(error),
            };
        }
        // `submit` may have been dropped.
        let _ = settled.send(());
    }
}

impl<P> Drop for Holder<P> {
    fn drop(&mut self) {
        self.settle(Err(Error::new(ErrorKind::Lost, "the task that held the call has ended")));
    }
}

/// The caller knows the activation by the id of the held call.
fn renamed(mut activation: Activation, id: &ActivationId) -> Activation {
    let platform_id = std::mem::replace(&mut activation.id, id.clone());
    activation.attributes.insert(PLATFORM_ID.to_owned(), platform_id.as_str().to_owned());
    activation
}

/// The id that the platform gave a held activation.
fn platform_id(activation: &Activation) -> Option<ActivationId> {
    activation.attributes.get(PLATFORM_ID).map(|id| id.as_str().into())
}

/// Ends a call whose `submit` was dropped: nobody knows its id.
struct Submission<'a, P> {
    shared: &'a Shared<P>,
    id: Option<ActivationId>,
}

impl<P> Drop for Submission<'_, P> {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            let call = self.shared.calls().remove(id);
            if let Some(call) = call {
                call.abort();
            }
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: AsyncPlatform> Platform for Held<P> {
    forward! { self => self.0.shared.platform;
        name, account, deploy, fetch_deployment, list_deployments, scale, remove, invoke,
        watch_outages
    }

    fn capabilities(&self) -> Capabilities {
        let mut inner = self.0.shared.platform.capabilities();
        for limits in inner.runtime_limits.values_mut() {
            limits.max_submit_payload = limits.max_payload;
        }
        let most = self.0.policy.max_calls.max(1);
        let concurrency = inner.concurrency.map_or(most, |calls| calls.min(most));
        let longest = inner.max_payload;
        inner.with_submit(true).with_concurrency(concurrency).with_max_submit_payload(longest)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: AsyncPlatform> AsyncPlatform for Held<P> {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let slots = Arc::clone(&self.0.slots);
        let slot = slots.acquire_owned().await.map_err(|e| {
            Error::new(ErrorKind::Cancelled, "the held calls were ended").with_source(&e)
        })?;
        let shared = &self.0.shared;
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let id = ActivationId::from(format!("{}{number}", self.0.prefix));
        let submitted_at = SystemTime::now();
        let (settled, settlement) = oneshot::channel();
        let holder = Holder {
            shared: Arc::clone(shared),
            id: id.clone(),
            invocation: invocation.clone(),
            settled: Some(settled),
            _slot: slot,
        };
        shared.calls().insert(id.clone(), Call::Open(None));
        let mut submission = Submission { shared, id: Some(id.clone()) };
        let call = holder.run(self.share(deployment)).in_current_span();
        let handle = tokio::spawn(call).abort_handle();
        if let Some(Call::Open(task)) = shared.calls().get_mut(&id) {
            *task = Some(handle);
        }
        // Settled or not: what matters is what the call has become.
        let _ = tokio::time::timeout(self.0.policy.acceptance, settlement).await;
        let refusal = match shared.calls().get(&id) {
            Some(Call::Failed(error)) => Some(error.clone()),
            _ => None,
        };
        if let Some(error) = refusal {
            return Err(error.with_operation("submit"));
        }
        submission.id = None;
        Ok(Pending::new(id, submitted_at))
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        let calls = self.0.shared.calls();
        let mut collected = Collected::default().with_from_memory(true);
        for Pending { id, .. } in pending {
            match calls.get(id) {
                Some(Call::Open(_)) => {}
                Some(Call::Finished(activation)) => collected.finished.push((**activation).clone()),
                Some(Call::Failed(error)) => {
                    collected.gone.push((id.clone(), error.clone().with_operation("collect")));
                }
                // Released already, or held by a process that is no more.
                None if id.as_str().starts_with(&self.0.prefix) => {}
                None => {
                    let message = "the process that held the call open has ended";
                    let error = Error::new(ErrorKind::Lost, message)
                        .with_platform(self.name())
                        .with_operation("collect")
                        .with_function(&deployment.name);
                    collected.gone.push((id.clone(), error));
                }
            }
        }
        // A look costs a fraction of a microsecond for each id: look often, and less often for very many.
        collected.poll_after =
            Duration::from_millis(2) + Duration::from_micros(2) * pending.len() as u32;
        Ok(collected)
    }

    fn release(&self, _: &Deployment, activations: &[ActivationId], _: Release) {
        for id in activations {
            let call = self.0.shared.calls().remove(id);
            if let Some(call) = call {
                self.0.shared.keep_failure(id, &call);
                call.abort();
            }
        }
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        let names: Vec<(ActivationId, ActivationId)> = {
            let (calls, failures) = (self.0.shared.calls(), self.0.shared.failures());
            let released: HashMap<_, _> = failures.iter().map(|(id, of)| (id, of)).collect();
            let of = |id: &ActivationId| match calls.get(id) {
                Some(Call::Finished(activation)) => platform_id(activation),
                Some(_) => None,
                None => released.get(id).map(|id| (*id).clone()),
            };
            activations.iter().filter_map(|id| Some((of(id)?, id.clone()))).collect()
        };
        let asked: Vec<ActivationId> =
            names.iter().map(|(platform_id, _)| platform_id.clone()).collect();
        let mut logs = self.0.shared.platform.activation_log(deployment, &asked).await?;
        let names: HashMap<ActivationId, ActivationId> = names.into_iter().collect();
        for log in &mut logs {
            if let Some(id) = names.get(&log.id) {
                log.id = id.clone();
            }
        }
        Ok(logs)
    }

    async fn find_submitted(
        &self,
        _: &Deployment,
        _: &[Invocation],
    ) -> Result<Vec<(InvocationId, Pending)>> {
        // What a process held ended with it.
        Ok(Vec::new())
    }

    forward! { self => self.0.shared.platform; recent_logs }
}
