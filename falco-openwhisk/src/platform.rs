//! OpenWhisk as a platform.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Capabilities, Collected, Deployable,
    Deployment, Error, ErrorKind, Invocation, Operation, Pending, Platform, Release, Result,
    Scaling, async_trait,
};
use falco_http::Reply;
use falco_http::reqwest::{Method, RequestBuilder};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::NAME;
use crate::activation::{log_line, says_truncated};
use crate::call::Call;
use crate::client::{Api, SMALL, clock_ahead, parse, parse_list, was_cut, with_json};
use crate::collect::{Collector, MAX_RECORD_BYTES};
use crate::config::OpenWhiskConfig;
use crate::deployments::{MARKS, action_limits, deployment, location};
use crate::invoke::{activation_id, no_activation};
use crate::limits::{ANSWERED_LATE, DEFAULT_TIMEOUT, MAX_BODY, Server};
use crate::name::QualifiedName;
use crate::outstanding::Allowances;
use crate::wire::{Action, Logs, Marks, PutAction, Record, annotation, is_activation_id};

/// Actions that are listed with one request.
const ACTIONS_PER_PAGE: usize = 200;

/// How long a change of an action is repeated while it meets other changes of it: of twelve at once, two to four succeed.
const CONFLICTS_FOR: Duration = Duration::from_secs(30);
const FIRST_CONFLICT_PAUSE: Duration = Duration::from_millis(50);
const MAX_CONFLICT_PAUSE: Duration = Duration::from_secs(1);

/// Submissions that are sent at the same time; more wait. Executors may have thousands on their way, and each that is
/// being sent holds a connection.
const SUBMISSIONS_AT_ONCE: usize = 64;

/// Activations that are listed with one request.
const ACTIVATIONS_PER_PAGE: usize = 200;

/// Logs that are fetched at the same time.
const LOGS_AT_ONCE: usize = 8;

/// A namespace of an Apache OpenWhisk server.
///
/// Cloning is cheap and shares connections, limits and whatever was collected.
#[derive(Clone)]
pub struct OpenWhisk {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) api: Api,
    pub(crate) config: OpenWhiskConfig,
    pub(crate) server: Server,
    collector: Collector,
    submissions: Semaphore,
    /// How far the server's clock is behind the driver's.
    clock_behind: Mutex<Duration>,
}

impl OpenWhisk {
    /// Connects with what the `wsk` command line uses; see [`OpenWhiskConfig::from_env`].
    ///
    /// # Errors
    ///
    /// As [`OpenWhiskConfig::from_env`] and [`connect`](Self::connect).
    pub async fn from_env() -> Result<Self> {
        Self::connect(OpenWhiskConfig::from_env()?).await
    }

    /// Connects: asks the server for the namespace's limits and for the runtimes it has.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a configuration of which no client can be made, `Unavailable` when the server does not answer,
    /// `Unauthorized` for a key that is not known.
    pub async fn connect(config: OpenWhiskConfig) -> Result<Self> {
        let named = |e: Error| e.at(Operation::new(NAME, "connect"));
        let api = Api::new(&config).map_err(named)?;
        let server = Server::ask(&api).await?;
        let inner = Inner {
            api,
            config,
            server,
            collector: Collector::default(),
            submissions: Semaphore::new(SUBMISSIONS_AT_ONCE),
            clock_behind: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) fn api(&self) -> &Api {
        &self.inner.api
    }

    pub(crate) async fn put(
        &self,
        call: &Call<'_>,
        name: &QualifiedName,
        body: &PutAction<'_>,
    ) -> Result<Reply> {
        let json = serde_json::to_vec(body).map(Bytes::from).map_err(|e| {
            call.apply(Error::invalid_input("the action has no JSON form").with_source(&e))
        })?;
        let size = json.len() as u64;
        // Escapes count here, and not in the limit of code.
        if size > MAX_BODY {
            let message = format!("the request has {size} bytes, and the server takes {MAX_BODY}");
            let error = Error::new(ErrorKind::PayloadTooLarge, message).with_hint(
                "deploy a zip: line breaks and quotes of source text are sent as two characters",
            );
            return Err(call.apply(error));
        }
        let request = || {
            let request = self.api().action(Method::PUT, name).query(&[("overwrite", "true")]);
            with_json(request, json.clone())
        };
        // The answer echoes the code.
        self.change(call, request, SMALL + 2 * size).await
    }

    /// Sends a change of an action, and again as long as the server refuses it for meeting another.
    async fn change(
        &self,
        call: &Call<'_>,
        request: impl Fn() -> RequestBuilder,
        limit: u64,
    ) -> Result<Reply> {
        let give_up = Instant::now() + CONFLICTS_FOR;
        let mut pause = FIRST_CONFLICT_PAUSE;
        loop {
            match self.api().expect_success(call, request(), limit).await {
                Err(e) if is_lost_race(&e) && Instant::now() < give_up => {
                    sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                    pause = (pause * 3 / 2).min(MAX_CONFLICT_PAUSE);
                }
                answer => return answer,
            }
        }
    }

    /// The deployment that the answer to a PUT describes; servers may be set up to answer with nothing.
    pub(crate) fn put_answer(
        &self,
        call: &Call<'_>,
        reply: &Reply,
        otherwise: impl FnOnce() -> Deployment,
    ) -> Result<Deployment> {
        if reply.body.is_empty() || was_cut(reply) {
            return Ok(otherwise());
        }
        deployment(call, &parse::<Action<'_>>(call, reply)?, self.api().host())
    }

    fn record_clock_skew(&self, reply: &Reply, now: SystemTime) {
        let Some(ahead) = clock_ahead(reply, now) else { return };
        let behind = Duration::from_millis(u64::try_from(-ahead).unwrap_or(0));
        let mut known = self.inner.clock_behind.lock().unwrap_or_else(PoisonError::into_inner);
        *known = behind.max(*known);
    }

    /// The newest `most` activations of an action, the newest first.
    async fn list_activations(
        &self,
        call: &Call<'_>,
        filter: &str,
        since: SystemTime,
        most: usize,
    ) -> Result<Vec<ActivationId>> {
        let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut ids: Vec<ActivationId> = Vec::new();
        while ids.len() < most {
            let limit = (most - ids.len()).min(ACTIVATIONS_PER_PAGE);
            let query = [
                ("name", filter.to_owned()),
                ("since", since.to_string()),
                ("limit", limit.to_string()),
                ("skip", ids.len().to_string()),
            ];
            let request = self.api().own(Method::GET, ["activations"]).query(&query);
            let reply = self.api().expect_success(call, request, MAX_BODY).await?;
            let page: Vec<Record<'_>> = parse_list(call, &reply)?;
            ids.extend(page.iter().map(|record| ActivationId::from(&*record.id)));
            if page.len() < limit {
                break;
            }
        }
        Ok(ids)
    }

    async fn log(&self, call: &Call<'_>, id: &ActivationId) -> Result<Option<ActivationLog>> {
        if !is_activation_id(id.as_str()) {
            return Ok(None);
        }
        let request = self.api().own(Method::GET, ["activations", id.as_str(), "logs"]);
        let Some(reply) = self.api().find(call, request, MAX_RECORD_BYTES).await? else {
            return Ok(None);
        };
        let logs: Logs<'_> = parse(call, &reply)?;
        let mut lines: Vec<_> = logs.logs.iter().map(|line| log_line(line)).collect();
        let all = lines.len();
        lines.retain(|line| !says_truncated(line));
        let was_cut = lines.len() < all;
        Ok(Some(ActivationLog::new(id.clone(), lines).with_truncated(was_cut)))
    }
}

fn is_lost_race(error: &Error) -> bool {
    error.kind() == ErrorKind::Conflict && error.is_retryable()
}

#[async_trait]
impl Platform for OpenWhisk {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        // Plain code would get a batch where it expects an input, and gets arguments from the server itself.
        self.inner
            .server
            .capabilities()
            .with_shim(!self.inner.config.plain_code)
            .with_bound_arguments(true)
    }

    async fn account(&self) -> Result<Option<String>> {
        Ok(Some(self.inner.config.account()))
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        self.deploy_function(function).await
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        let call = Call::on("fetch_deployment", name);
        let location: QualifiedName = name.parse().map_err(|e| call.apply(e))?;
        let request = self.api().action(Method::GET, &location).query(&[("code", "false")]);
        let reply = self.api().expect_success(&call, request, 4 * SMALL).await?;
        deployment(&call, &parse::<Action<'_>>(&call, &reply)?, self.api().host())
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        let call = Call::new("list_deployments");
        let mut deployments = Vec::new();
        for page in 0.. {
            let query = [("limit", ACTIONS_PER_PAGE), ("skip", page * ACTIONS_PER_PAGE)];
            let request = self.api().own(Method::GET, ["actions"]).query(&query);
            let reply = self.api().expect_success(&call, request, 64 * SMALL).await?;
            let actions: Vec<Action<'_>> = parse_list(&call, &reply)?;
            for action in &actions {
                if annotation::<Marks>(&action.annotations, MARKS).is_some() {
                    deployments.push(deployment(&call, action, self.api().host())?);
                }
            }
            if actions.len() < ACTIONS_PER_PAGE {
                break;
            }
        }
        // An action that is changed while the pages are read moves to the front, and may be met twice.
        deployments.sort_by(|a, b| a.id.cmp(&b.id));
        deployments.dedup_by(|a, b| a.id == b.id);
        Ok(deployments)
    }

    async fn scale(&self, deployment: &Deployment, scaling: &Scaling) -> Result<Deployment> {
        let call = Call::on("scale", &deployment.name);
        let name = location(&call, deployment)?;
        let limits =
            action_limits(scaling, &self.inner.server.limits).map_err(|e| call.apply(e))?;
        // Limits alone: what is left out stays, the code included, and `exec` without code is refused.
        let body = PutAction { exec: None, limits, parameters: None, annotations: Vec::new() };
        let reply = match self.put(&call, &name, &body).await {
            // Without `exec` the server cannot create what is not there.
            Err(e) if e.message().contains("exec undefined") => {
                let error = Error::new(ErrorKind::NotFound, "there is no such action");
                return Err(call.apply(error));
            }
            answer => answer?,
        };
        self.put_answer(&call, &reply, || {
            let scaling = deployment.scaling.overridden_by(scaling);
            deployment.clone().with_scaling(scaling)
        })
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        let call = Call::on("remove", &deployment.name);
        let name = location(&call, deployment)?;
        let request = || self.api().action(Method::DELETE, &name);
        self.change(&call, request, SMALL).await?;
        self.inner.collector.forget(&deployment.id);
        Ok(())
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        self.invoke_and_wait(deployment, invocation).await
    }
}

#[async_trait]
impl AsyncPlatform for OpenWhisk {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let call = Call::running("submit", &deployment.name);
        // It is never closed, so that a place is all that there is to wait for.
        let place = self.inner.submissions.acquire().await;
        let sent_at = SystemTime::now();
        let reply = self.post(&call, deployment, invocation, false).await?;
        drop(place);
        if !reply.status.is_success() {
            return Err(self.api().refusal(&call, &reply));
        }
        let id = activation_id(&reply).ok_or_else(|| no_activation(&call, &reply))?;
        let accepted_at = SystemTime::now();
        self.record_clock_skew(&reply, accepted_at);
        let id = ActivationId::new(id);
        // Its record may begin when the request was sent, and not before.
        self.inner.collector.tracker(&deployment.id).expect(&Pending::new(id.clone(), sent_at));
        Ok(Pending::new(id, accepted_at))
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        let call = Call::on("collect", &deployment.name);
        let name = location(&call, deployment)?;
        let function_timeout = deployment.scaling.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let behind = *self.inner.clock_behind.lock().unwrap_or_else(PoisonError::into_inner);
        let allowances = Allowances {
            tolerance: self.inner.config.waits.clock_tolerance,
            behind,
            patience: function_timeout + ANSWERED_LATE,
        };
        let max_interval = self.inner.config.waits.max_poll_interval;
        let tracker = self.inner.collector.tracker(&deployment.id);
        tracker.collect(self.api(), &name.filter(), pending, allowances, max_interval).await
    }

    /// There is nothing to delete or to stop: OpenWhisk has no call for either.
    fn release(&self, deployment: &Deployment, activations: &[ActivationId], _: Release) {
        self.inner.collector.release(&deployment.id, activations);
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        let call = Call::on("activation_log", &deployment.name);
        let asked: Vec<_> = activations.iter().map(|id| self.log(&call, id).boxed()).collect();
        let logs: Vec<_> = stream::iter(asked).buffered(LOGS_AT_ONCE).try_collect().await?;
        Ok(logs.into_iter().flatten().collect())
    }

    async fn recent_logs(
        &self,
        deployment: &Deployment,
        since: SystemTime,
        most: usize,
    ) -> Result<Vec<ActivationLog>> {
        let call = Call::on("recent_logs", &deployment.name);
        let name = location(&call, deployment)?;
        let mut ids = self.list_activations(&call, &name.filter(), since, most).await?;
        // The server lists the newest first.
        ids.reverse();
        let asked: Vec<_> = ids.iter().map(|id| self.log(&call, id).boxed()).collect();
        let logs: Vec<_> = stream::iter(asked).buffered(LOGS_AT_ONCE).try_collect().await?;
        Ok(logs.into_iter().flatten().collect())
    }
}

impl fmt::Debug for OpenWhisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenWhisk").field("api", &self.inner.api).finish_non_exhaustive()
    }
}
