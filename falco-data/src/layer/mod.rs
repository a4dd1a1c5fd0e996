//! The layer: it signs what a call refers to when the call is sent, and keeps long values in the scratch store.

mod check;
mod policy;
mod prepare;
mod sign;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use falco_core::{
    Activation, ActivationId, AsyncPlatform, Capabilities, Collected, Deployable, Deployment,
    Error, Folder, Invocation, Operation, Payload, Pending, Platform, Release, Result, RunId,
    forward,
};
use futures_util::{StreamExt, stream};
use tokio::sync::OnceCell;

pub use policy::DataPolicy;

use crate::reference::spilled;
use crate::scratch::Scratch;
use crate::store::{Store, store_of};
use prepare::Way;
use sign::Cache;

/// Gives functions access to objects: their arguments may hold references, which it signs for each call, and values that
/// are too long for the platform travel through the scratch store.
///
/// It belongs next to the platform, inside of retries, congestion control and timeouts: each call and each repetition gets
/// fresh URLs, and the upload of a long argument holds a slot. A clone is the same layer.
///
/// [`deploy`](Platform::deploy) adds a part to the archives of functions in Python and Node.js; a function that is
/// [plain](Deployable::plain) is left as it is.
///
/// # Examples
///
/// ```
/// use falco_data::{Data, DataPolicy, Splits, Store};
///
/// # fn f(platform: impl falco_core::AsyncPlatform) -> falco_core::Result<()> {
/// let input = Store::open("file:///data/in")?;
/// let scratch = Store::open("file:///data/scratch")?;
/// let platform = Data::new(platform, scratch, DataPolicy::default())?.with_store(input);
/// # Ok(()) }
/// ```
pub struct Data<P> {
    inner: Arc<P>,
    /// The scratch store comes first.
    stores: Vec<Store>,
    /// The places among them of those that are only read.
    inputs: Vec<usize>,
    policy: DataPolicy,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    cache: Cache,
    /// Deployments of functions that take their arguments as they are.
    plain: Mutex<HashSet<String>>,
    /// Runs that have a folder in the scratch store.
    marked: Mutex<HashSet<RunId>>,
    /// Activations that this process has submitted and whose results no derivation looks into. Of those of an earlier process,
    /// which a journal names, nobody knows it: their results are read.
    unread: Mutex<HashSet<ActivationId>>,
    checked: OnceCell<()>,
}

impl<P: AsyncPlatform> Data<P> {
    /// A layer around `inner` that keeps what lives no longer than a run below `runs/` in `scratch`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a lifetime of URLs that no store grants.
    pub fn new(inner: P, scratch: Store, policy: DataPolicy) -> Result<Self> {
        policy.validate()?;
        let stores = vec![scratch];
        let inputs = Vec::new();
        Ok(Self { inner: Arc::new(inner), stores, inputs, policy, state: Arc::default() })
    }

    /// As [`with_store`](Self::with_store), for a store that functions only read: a folder is shown to containers so that they
    /// cannot write to it.
    #[must_use]
    pub fn with_input(mut self, store: Store) -> Self {
        self.inputs.push(self.stores.len());
        self.with_store(store)
    }

    /// Signs for this store, too. References to objects of other stores are refused.
    #[must_use]
    pub fn with_store(mut self, store: Store) -> Self {
        self.stores.push(store);
        self
    }

    /// The scratch store.
    pub fn scratch(&self) -> &Store {
        &self.stores[0]
    }

    /// The result itself, also where it is a reference to a value in the scratch store.
    ///
    /// # Errors
    ///
    /// `NotFound` when the value is not there any more; `PayloadTooLarge` when it is longer than
    /// [`DataPolicy::max_value`]; what the store refuses.
    pub async fn value(&self, result: &Payload) -> Result<Payload> {
        match spilled(result.as_str())? {
            Some(value) => self.fetch(&value.url, value.size).await,
            None => Ok(result.clone()),
        }
    }

    async fn fetch(&self, url: &str, size: u64) -> Result<Payload> {
        if size > self.policy.max_value {
            let message = format!("the value {url} has {size} bytes");
            return Err(Error::new(falco_core::ErrorKind::PayloadTooLarge, message)
                .with_hint("raise DataPolicy::max_value"));
        }
        let bytes = store_of(&self.stores, url)?.get(url).await?;
        Payload::from_bytes(bytes).map_err(|error| error.context(format_args!("the value {url}")))
    }

    /// The outcome of a call: a failure of the store instead of the function's, and the value of a short spilled result.
    async fn answered(&self, mut activation: Activation, is_read: bool) -> Result<Activation> {
        match &activation.outcome {
            Ok(result) => {
                let most = if is_read { Some(u64::MAX) } else { self.policy.fetch_results };
                if let Some(most) = most
                    && let Some(value) = spilled(result.as_str())?
                    && value.size <= most
                {
                    // The function has run; only reading its result can be repeated, and `fetch` has done so.
                    let fetched = self.fetch(&value.url, value.size).await;
                    activation.outcome = Ok(fetched.map_err(|error| error.with_retryable(false))?);
                }
            }
            Err(error) => {
                let known = error.error_type.as_deref();
                if let Some(error) = known.and_then(|name| sign::of_function(name, &error.message))
                {
                    return Err(error);
                }
            }
        }
        Ok(activation)
    }

    fn check_folders(&self, function: &Deployable) -> Result<()> {
        let is_remote = self.inner.capabilities().wants_layers;
        let folder = self.stores.iter().find(|store| store.is_folder());
        match folder {
            Some(folder) if is_remote && !self.policy.shared_folders => {
                let message = format!(
                    "functions on {} do not see the folder {} of this machine",
                    self.inner.name(),
                    folder.url()
                );
                Err(Error::invalid_input(message)
                    .with_function(&function.name)
                    .with_hint("use a store such as s3://, gs:// or az://"))
            }
            _ => Ok(()),
        }
    }

    /// The function with the stores that are folders, which a platform in containers has to show it.
    fn with_folders(&self, function: &Deployable) -> Deployable {
        let mut folders = BTreeMap::new();
        for (place, store) in self.stores.iter().enumerate() {
            if let Some(path) = store.url().strip_prefix("file://") {
                // One that is an output, too, is written to.
                *folders.entry(path).or_insert(false) |= !self.inputs.contains(&place);
            }
        }
        folders.into_iter().fold(function.clone(), |function, (path, writable)| {
            let folder = if writable { Folder::writable(path) } else { Folder::read_only(path) };
            function.with_folder(folder)
        })
    }

    /// Leaves owner and expiry in the scratch store before anything of the run is written there.
    async fn mark(&self, function: &Deployable) -> Result<()> {
        let Some(ownership) = &function.ownership else { return Ok(()) };
        if self.state.marked().contains(&ownership.run) {
            return Ok(());
        }
        Scratch::of(self.scratch()).mark(ownership).await?;
        self.state.marked().insert(ownership.run.clone());
        Ok(())
    }

    fn at<'a>(&'a self, operation: &'static str, deployment: &'a Deployment) -> Operation<'a> {
        Operation::new(self.inner.name(), operation).on(&deployment.name)
    }
}

impl State {
    fn plain(&self) -> MutexGuard<'_, HashSet<String>> {
        self.plain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unread(&self) -> MutexGuard<'_, HashSet<ActivationId>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the result of a submitted activation has to be there in full.
    fn is_read(&self, activation: &ActivationId) -> bool {
        !self.unread().contains(&submission_of(activation))
    }

    fn marked(&self) -> MutexGuard<'_, HashSet<RunId>> {
        self.marked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The activation as it was submitted: the batch, for one input of it.
fn submission_of(activation: &ActivationId) -> ActivationId {
    activation.member().map_or_else(|| activation.clone(), |(batch, _)| batch)
}

#[async_trait]
impl<P: AsyncPlatform> Platform for Data<P> {
    forward! { self => self.inner;
        name, account, fetch_deployment, list_deployments, scale, remove, watch_outages
    }

    fn capabilities(&self) -> Capabilities {
        let longest = |limit: Option<u64>| limit.map(|limit| limit.max(self.policy.max_value));
        let inner = self.inner.capabilities();
        let (payload, submitted) = (longest(inner.max_payload), longest(inner.max_submit_payload));
        let result = longest(inner.max_result).filter(|_| self.policy.spill_results);
        let result = result.or(inner.max_result);
        let mut capabilities = inner
            .with_max_payload(payload)
            .with_max_submit_payload(submitted)
            .with_max_result(result);
        for limits in capabilities.runtime_limits.values_mut() {
            limits.max_payload = longest(limits.max_payload);
            limits.max_submit_payload = longest(limits.max_submit_payload);
            if self.policy.spill_results {
                limits.max_result = longest(limits.max_result);
            }
        }
        capabilities
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        self.check_folders(function)?;
        self.state.checked.get_or_try_init(|| self.check()).await?;
        self.mark(function).await?;
        let family = function.runtime.family();
        let has_part = !function.is_plain && matches!(family, "python" | "nodejs");
        let deployment = if has_part {
            let function = falco_package::shim::with_data(function)
                .map_err(|error| error.with_function(&function.name))?;
            self.inner.deploy(&self.with_folders(&function)).await?
        } else {
            self.inner.deploy(&self.with_folders(function)).await?
        };
        if function.is_plain {
            self.state.plain().insert(deployment.name.clone());
        } else {
            self.state.plain().remove(&deployment.name);
        }
        Ok(deployment)
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let prepared = self.prepared(deployment, invocation, Way::Invoke).await;
        let sent = prepared.map_err(|error| error.at(self.at("invoke", deployment)))?;
        let activation = self.inner.invoke(deployment, &sent).await?;
        let answered = self.answered(activation, invocation.is_result_read()).await;
        answered.map_err(|error| error.at(self.at("invoke", deployment)))
    }
}

#[async_trait]
impl<P: AsyncPlatform> AsyncPlatform for Data<P> {
    forward! { self => self.inner; activation_log, find_submitted, recent_logs }

    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let prepared = self.prepared(deployment, invocation, Way::Submit).await;
        let sent = prepared.map_err(|error| error.at(self.at("submit", deployment)))?;
        let pending = self.inner.submit(deployment, &sent).await?;
        if !invocation.is_result_read() {
            self.state.unread().insert(pending.id.clone());
        }
        Ok(pending)
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        let Collected { finished, mut gone, poll_after, is_from_memory, .. } =
            self.inner.collect(deployment, pending).await?;
        let answered: Vec<_> = stream::iter(finished)
            .map(|activation| async {
                let id = activation.id.clone();
                let is_read = self.state.is_read(&id);
                (id, self.answered(activation, is_read).await)
            })
            .buffered(crate::store::AT_ONCE)
            .collect()
            .await;
        let mut finished = Vec::with_capacity(answered.len());
        for (id, answer) in answered {
            match answer {
                Ok(activation) => finished.push(activation),
                Err(error) => gone.push((id, error.at(self.at("collect", deployment)))),
            }
        }
        Ok(Collected::new(finished, gone, poll_after).with_from_memory(is_from_memory))
    }

    fn release(&self, deployment: &Deployment, activations: &[ActivationId], release: Release) {
        let mut unread = self.state.unread();
        for activation in activations {
            unread.remove(&submission_of(activation));
        }
        drop(unread);
        self.inner.release(deployment, activations, release);
    }
}

impl<P> Clone for Data<P> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            stores: self.stores.clone(),
            inputs: self.inputs.clone(),
            policy: self.policy,
            state: self.state.clone(),
        }
    }
}

impl<P: fmt::Debug> fmt::Debug for Data<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Data")
            .field("inner", &self.inner)
            .field("stores", &self.stores)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
