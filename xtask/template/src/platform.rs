//! The platform: write one method after the other, and let the conformance tests say which is next.

use std::time::Duration;

use falco_core::{
    Activation, Bounds, Capabilities, Deployable, Deployment, Error, ErrorKind, Invocation, Operation, Platform,
    Result, Scaling, async_trait, invoke_only,
};
use falco_http::JsonApi;
use falco_http::reqwest::Method;
use tokio::time::{Instant, sleep};

use crate::client::{LONGEST_RUN, api, success};
use crate::config::{{{Name}}Config, {{Name}}Waits};
use crate::package::{RUNTIMES, package};

/// Falco on {{Name}}.
#[derive(Debug)]
pub struct {{Name}} {
    api: JsonApi,
    waits: {{Name}}Waits,
}

impl {{Name}} {
    /// Connects with [`{{Name}}Config::from_env`].
    ///
    /// # Errors
    ///
    /// As [`{{Name}}Config::from_env`] and [`connect`](Self::connect).
    pub async fn from_env() -> Result<Self> {
        Self::connect({{Name}}Config::from_env()?).await
    }

    /// Connects, and checks that the provider is there and takes the token.
    ///
    /// # Errors
    ///
    /// `Unauthorized` when the token is not accepted; `Unavailable` when the provider cannot be reached.
    pub async fn connect(config: {{Name}}Config) -> Result<Self> {
        let named = |error: Error| error.at(Operation::new(crate::NAME, "connect"));
        let waits = config.waits;
        let api = api(config).map_err(named)?;
        let functions = api.send(Method::GET, &["functions"], None).await;
        functions.and_then(success).map_err(named)?;
        Ok(Self { api, waits })
    }

    /// Waits until `version` answers: a provider that accepts first and starts then lets the old code answer meanwhile.
    async fn wait_for(&self, name: &str, version: &str) -> Result<()> {
        let end = Instant::now() + self.waits.rollout_timeout;
        loop {
            let path = ["functions", name];
            let reply = self.api.send(Method::POST, &path, Some(b"null".to_vec())).await;
            let last = match reply.and_then(success) {
                Ok(reply) if reply.body == version => return Ok(()),
                Ok(_) => "an older version".to_owned(),
                Err(error) if error.kind() == ErrorKind::Unauthorized => return Err(error),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= end {
                let message = format!("the new version does not answer yet; the last answer: {last}");
                return Err(Error::new(ErrorKind::Timeout, message));
            }
            sleep(self.waits.rollout_interval).await;
        }
    }
}

/// An error that says which method to write next.
fn next(method: &str) -> Error {
    Error::unsupported(format!("{method} is to be implemented next"))
        .with_hint(format!("write {{Name}}::{method} in src/platform.rs"))
}

/// Says of an error, whatever it is, where it comes from.
fn about(operation: &'static str, function: &str) -> impl FnOnce(Error) -> Error {
    move |error| error.at(Operation::new(crate::NAME, operation).on(function))
}

#[async_trait]
impl Platform for {{Name}} {
    fn name(&self) -> &str {
        crate::NAME
    }

    fn capabilities(&self) -> Capabilities {
        // With the limits that your provider states: the suite holds you to each.
        Capabilities::default()
            .with_wants_layers(true)
            .with_shim(true)
            .with_runtimes(RUNTIMES)
            .with_timeout(Bounds { min: Duration::from_millis(1), max: LONGEST_RUN })
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        let deploy = async {
            // It holds the marks of ownership, which belong into the first request.
            let (stored, version) = package(function)?;
            // Send it, and update what is there already.
            let _ = stored;
            Err::<(), _>(next("deploy"))?;
            self.wait_for(&function.name, &version).await
        };
        deploy.await.map_err(about("deploy", &function.name))?;
        Ok(Deployment::new(&function.name, function.runtime.clone())
            .with_platform(crate::NAME)
            .with_scaling(function.scaling.clone())
            .with_ownership(function.ownership.clone()))
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        let fetch = async {
            // Ask for one function; `crate::package::deployment` reads its marks. NotFound for one that is not Falco's.
            Err(next("fetch_deployment"))
        };
        fetch.await.map_err(about("fetch_deployment", name))
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        let list = async {
            // Ask for all functions, page after page, and leave out those that are not Falco's.
            Err(next("list_deployments"))
        };
        list.await.map_err(|error: Error| error.at(Operation::new(crate::NAME, "list_deployments")))
    }

    async fn scale(&self, deployment: &Deployment, _: &Scaling) -> Result<Deployment> {
        let error = Error::unsupported("the sizes of a function cannot be changed")
            .with_hint("deploy the function with other sizes");
        Err(about("scale", &deployment.name)(error))
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        let remove = async {
            // NotFound when there is nothing to remove.
            Err(next("remove"))
        };
        remove.await.map_err(about("remove", &deployment.name))
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let invoke = async {
            invocation.payload().check_argument(self.capabilities().max_payload)?;
            // Send `invocation.payload()`; `crate::answer::activation` reads what came.
            Err(next("invoke"))
        };
        invoke.await.map_err(about("invoke", &deployment.name))
    }
}

// Where the provider can run an invocation and answer later, implement AsyncPlatform instead.
invoke_only!({{Name}});
