//! Google Cloud Functions as a platform.

mod access;
mod collect;
mod deletions;
mod deploy;
mod describe;
mod given_up;
mod invoke;
mod logs;
mod names;
mod operation;
mod permissions;
mod record;
mod remove;
mod runtimes;
mod sizes;
mod submit;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Capabilities, Collected, Deployable,
    Deployment, Error, ErrorKind, Invocation, Operation, Pending, Platform, Release, Result,
    Scaling,
};
use falco_http::Client;

use crate::client::Api;
use crate::config::{Access, GcpConfig, GcpWaits, Submission, check_segment};
use crate::http::Http;
use crate::price::PriceTable;
use crate::token::{self, Metadata, TokenCache};
use deletions::Deletions;
use given_up::GivenUp;
use runtimes::Runtimes;
use submit::Shared;

/// Longest argument and longest result of a call, in bytes.
const MAX_BODY: u64 = 32 << 20;

/// Google Cloud Functions, 2nd generation. Cloning is cheap and shares connections and tokens.
///
/// # Examples
///
/// ```no_run
/// use falco_core::{Deployable, Invocation, Payload, Platform};
/// use falco_gcp::GcpFunctions;
///
/// # async fn example() -> falco_core::Result<()> {
/// let platform = GcpFunctions::from_env().await?;
/// let source = "def main(args):\n    return {'greeting': 'Hello ' + args['name']}\n";
/// let hello = Deployable::from_source("hello", "python:3".parse()?, source);
/// let deployment = platform.deploy(&hello).await?;
/// let ada = Invocation::new("run-1", "greet", "1", Payload::from_bytes(r#"{"name":"Ada"}"#)?);
/// println!("{:?}", platform.invoke(&deployment, &ada).await?.outcome);
/// platform.remove(&deployment).await
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GcpFunctions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    api: Api,
    /// Calls of functions are held open for up to an hour and may be thousands, each on a connection of its own.
    functions: Client,
    access: Access,
    service_account: Option<String>,
    max_instances: u32,
    start_timeout: Duration,
    prices: PriceTable,
    waits: GcpWaits,
    runtimes: Runtimes,
    capabilities: Capabilities,
    shared: Option<Shared>,
    deletions: Deletions,
    given_up: GivenUp,
}

impl GcpFunctions {
    /// Connects with what Google's own tools use; see [`GcpConfig::from_env`].
    ///
    /// # Errors
    ///
    /// As [`GcpConfig::from_env`] and [`connect`](Self::connect).
    pub async fn from_env() -> Result<Self> {
        Self::connect(GcpConfig::from_env()?).await
    }

    /// Connects: finds out project and location where the configuration leaves them to the metadata server, and which
    /// runtimes can be deployed there.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names a setting which is missing or wrong; `Unauthorized` when the credentials are refused;
    /// `Unavailable`, `Timeout` or `Throttled` as Google answers.
    pub async fn connect(config: GcpConfig) -> Result<Self> {
        let at = |e: Error| e.at(Operation::new(crate::NAME, "connect"));
        let endpoints = &config.endpoints;
        let is_plain =
            [&endpoints.functions, &endpoints.run, &endpoints.storage, &endpoints.metadata]
                .iter()
                .all(|url| url.scheme() == "http");
        let client = || config.http.clone().with_plain_http_only(is_plain);
        let http = Http::new(client().build().map_err(at)?);
        let calls = client().with_http1_only(true).with_read_timeout(invoke::LONGEST);
        let functions = calls.build().map_err(at)?;

        let (project, location) = resolve_project_and_location(&config, &http).await?;
        let source = token::source(&config.credentials, endpoints, &http)?;
        let shared = match &config.submission {
            Submission::CloudTasks(tasks) => Some(Shared::new(tasks, &project, &location)),
            Submission::Unsupported => None,
        };
        let api = Api::new(&config, http, TokenCache::new(source), project, location);
        let runtimes = Runtimes::new(&api.list_runtimes().await?);
        let capabilities = Capabilities::default()
            .with_submit(shared.is_some())
            .with_resubmit(shared.is_some())
            .with_adopt(true)
            .with_logs(true)
            .with_scaling(true)
            .with_max_payload(MAX_BODY)
            .with_max_submit_payload(shared.as_ref().map(|_| MAX_BODY))
            .with_max_result(MAX_BODY)
            .with_concurrency(config.max_instances)
            .with_memory_mib(sizes::MEMORY_MIB)
            .with_timeout(sizes::timeouts(config.start_timeout))
            .with_wants_layers(true)
            .with_shim(true)
            .with_runtimes(runtimes.names())
            .with_architecture("x86_64".to_owned())
            .with_prices(
                config.prices.prices().with_start(config.start_timeout).with_defaults(
                    Scaling::default()
                        .with_memory_mib(sizes::DEFAULT_MEMORY_MIB)
                        .with_timeout(sizes::DEFAULT_TIMEOUT),
                ),
            );
        Ok(Self(Arc::new(Inner {
            api,
            functions,
            access: config.access,
            service_account: config.service_account,
            max_instances: config.max_instances,
            start_timeout: config.start_timeout,
            prices: config.prices,
            waits: config.waits,
            runtimes,
            capabilities,
            shared,
            deletions: Deletions::default(),
            given_up: GivenUp::default(),
        })))
    }

    /// The project it works in.
    pub fn project(&self) -> &str {
        &self.0.api.project
    }

    /// The location it works in.
    pub fn location(&self) -> &str {
        &self.0.api.location
    }
}

/// Project and location: as configured, or as the metadata server says when the credentials are its own.
async fn resolve_project_and_location(config: &GcpConfig, http: &Http) -> Result<(String, String)> {
    let missing = |setting: &str, variables: &str| {
        Error::invalid_input(format!("no {setting} is set"))
            .at(Operation::new(crate::NAME, "connect"))
            .with_hint(format!("set {variables}, or GcpConfigBuilder::{setting}"))
    };
    let metadata = config
        .credentials
        .are_the_metadata_servers()
        .then(|| Metadata::new(config.endpoints.metadata.clone(), http.clone()));
    let project = match (&config.project, &metadata) {
        (Some(project), _) => project.clone(),
        (None, Some(metadata)) => metadata.project().await?,
        (None, None) => return Err(missing("project", "GOOGLE_CLOUD_PROJECT")),
    };
    let location = match (&config.location, &metadata) {
        (Some(location), _) => location.clone(),
        (None, Some(metadata)) => metadata.location().await?,
        (None, None) => return Err(missing("location", "GOOGLE_CLOUD_LOCATION")),
    };
    for (setting, value) in [("project", &project), ("location", &location)] {
        // What is configured has been checked; a reply is not shown, for it may hold anything.
        check_segment(setting, value).map_err(|_| {
            let message = format!("the metadata server returned an invalid {setting}");
            Error::new(ErrorKind::Protocol, message)
                .at(Operation::new(crate::NAME, "connect"))
                .with_may_have_run(false)
                .with_hint("check GCE_METADATA_HOST")
        })?;
    }
    Ok((project, location))
}

impl Inner {
    /// The function's id, for a deployment of this platform.
    fn id_of<'a>(&self, deployment: &'a Deployment) -> &'a str {
        deployment.id.rsplit('/').next().unwrap_or(&deployment.id)
    }

    /// The means of submission, or that it is not configured.
    fn shared(&self, operation: &'static str) -> Result<&Shared> {
        self.shared.as_ref().ok_or_else(|| {
            Error::unsupported("submission is not configured")
                .at(Operation::new(crate::NAME, operation))
                .with_hint(
                    "set GcpConfigBuilder::submission to Cloud Tasks, wrap the platform in falco_layers::Held, or use an \
                     executor that invokes",
                )
        })
    }

    /// A name out of a reply that is going to be a part of a path.
    fn checked_name<'a>(name: &'a str, what: &str) -> Result<&'a str> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if name.starts_with("projects/") && name.chars().all(plain) && !name.contains("..") {
            return Ok(name);
        }
        Err(Error::new(
            ErrorKind::Protocol,
            format!("the reply's {what} is not a valid resource name"),
        ))
    }
}

#[async_trait]
impl Platform for GcpFunctions {
    fn name(&self) -> &str {
        crate::NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities.clone()
    }

    async fn account(&self) -> Result<Option<String>> {
        let Api { project, location, .. } = &self.0.api;
        Ok(Some(format!("project {project} in {location}")))
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        self.0.deploy(function).await
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        let function = self.0.api.get_function("fetch_deployment", &names::function_id(name)).await;
        let deployment = function.and_then(|function| self.0.describe(&function));
        deployment.map_err(|e| {
            e.with_may_have_run(false).at(Operation::new(crate::NAME, "fetch_deployment").on(name))
        })
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        let functions = self.0.api.list_functions("list_deployments").await?;
        let ours = functions.iter().filter(|function| names::is_falcos(function));
        ours.map(|function| {
            self.0.describe(function).map_err(|e| {
                e.at(Operation::new(crate::NAME, "list_deployments").on(&function.name))
            })
        })
        .collect()
    }

    async fn scale(&self, deployment: &Deployment, scaling: &Scaling) -> Result<Deployment> {
        self.0.scale(deployment, scaling).await
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        self.0.remove(deployment).await
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        self.0.invoke(deployment, invocation).await
    }
}

#[async_trait]
impl AsyncPlatform for GcpFunctions {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        self.0.submit(deployment, invocation).await
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        self.0.collect(deployment, pending).await
    }

    fn release(&self, deployment: &Deployment, activations: &[ActivationId], release: Release) {
        self.0.release(deployment, activations, release);
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        self.0.activation_log(deployment, activations).await
    }

    async fn recent_logs(
        &self,
        deployment: &Deployment,
        since: SystemTime,
        most: usize,
    ) -> Result<Vec<ActivationLog>> {
        self.0.recent_logs(deployment, since, most).await
    }
}
