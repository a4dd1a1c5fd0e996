//! The platform: implement one method after the other, and let the conformance tests say which is next.

use falco_core::{
    Activation, Capabilities, Deployable, Deployment, Error, Invocation, Operation, Platform,
    Result, Scaling, async_trait, invoke_only,
};
use falco_http::reqwest::Method;

use crate::client::Api;
use crate::config::{{Name}}Config;
use crate::package::{RUNTIMES, package};

/// Falco on {{Name}}.
#[derive(Debug)]
pub struct {{Name}} {
    api: Api,
    capabilities: Capabilities,
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

    /// Connects, and reads what the account may do.
    ///
    /// # Errors
    ///
    /// `Unauthorized` when the token is not accepted; `Unavailable` when the provider cannot be reached.
    pub async fn connect(config: {{Name}}Config) -> Result<Self> {
        let api = Api::new(config)?;
        let asked = api.send(Method::GET, &[], None).await;
        asked.map_err(|error| error.at(Operation::new(crate::NAME, "connect")))?;
        let capabilities =
            Capabilities::default().with_wants_layers(true).with_runtimes(RUNTIMES);
        Ok(Self { api, capabilities })
    }
}

/// An error that says which method to write next.
fn next(method: &str) -> Error {
    Error::unsupported(format!("{method} is to be implemented next"))
        .with_hint(format!("write {{Name}}::{method} in src/platform.rs"))
}

/// Says of an error, whatever it is, where it comes from.
fn about(error: Error, operation: &'static str, function: &str) -> Error {
    error.at(Operation::new(crate::NAME, operation)).with_function(function)
}

#[async_trait]
impl Platform for {{Name}} {
    fn name(&self) -> &str {
        crate::NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        let deploy = async {
            function.validate()?;
            let archive = package(function)?;
            // Upload it, update what is there already, store function.ownership as tags in the same request, and wait
            // until it answers.
            let path = ["functions", function.name.as_str()];
            self.api.send(Method::PUT, &path, Some(archive.to_vec())).await?;
            Err(next("deploy"))
        };
        deploy.await.map_err(|error| about(error, "deploy", &function.name))
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        Err(about(next("fetch_deployment"), "fetch_deployment", name))
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        Err(next("list_deployments").at(Operation::new(crate::NAME, "list_deployments")))
    }

    async fn scale(&self, deployment: &Deployment, _: &Scaling) -> Result<Deployment> {
        Err(about(next("scale"), "scale", &deployment.name))
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        Err(about(next("remove"), "remove", &deployment.name))
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let invoke = async {
            invocation.payload().check_argument(self.capabilities.max_payload)?;
            Err(next("invoke"))
        };
        invoke.await.map_err(|error| about(error, "invoke", &deployment.name))
    }
}

// Where the provider can run an invocation and answer later, implement AsyncPlatform instead.
invoke_only!({{Name}});
