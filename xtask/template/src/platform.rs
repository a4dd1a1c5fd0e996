//! The platform: implement one method after the other, and let the conformance tests say which is next.

use falco_core::{
    Activation, Capabilities, Deployable, Deployment, Error, Invocation, Operation, Platform,
    Result, Scaling, async_trait, invoke_only,
};
use falco_http::reqwest::Method;

use crate::client::Gateway;
use crate::config::{{Name}}Config;
use crate::package::{RUNTIMES, package};

/// Falco on {{Name}}.
#[derive(Debug)]
pub struct {{Name}} {
    gateway: Gateway,
    capabilities: Capabilities,
}

impl {{Name}} {
    /// Connects, and reads what the account may do.
    ///
    /// # Errors
    ///
    /// When the gateway cannot be reached or does not accept the token.
    pub async fn connect(config: {{Name}}Config) -> Result<Self> {
        let gateway = Gateway::new(config)?;
        gateway.send("connect", Method::GET, "/", None).await?;
        let capabilities =
            Capabilities::default().with_wants_layers(true).with_runtimes(RUNTIMES);
        Ok(Self { gateway, capabilities })
    }

    fn next(&self, method: &'static str) -> Error {
        Error::unsupported(format!("{method} is to be implemented next"))
            .at(Operation::new(crate::NAME, method))
            .with_hint(format!("write {{Name}}::{method} in src/platform.rs"))
    }
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
        function.validate()?;
        let archive = package(function)?;
        // Upload it, update what is there already, store function.ownership as tags, and wait until it answers.
        let path = format!("/functions/{}", function.name);
        self.gateway.send("deploy", Method::PUT, &path, Some(archive.to_vec())).await?;
        Err(self.next("deploy").with_function(&function.name))
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        Err(self.next("fetch_deployment").with_function(name))
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        Err(self.next("list_deployments"))
    }

    async fn scale(&self, deployment: &Deployment, _: &Scaling) -> Result<Deployment> {
        Err(self.next("scale").with_function(&deployment.name))
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        Err(self.next("remove").with_function(&deployment.name))
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        invocation.payload().check_argument(self.capabilities.max_payload)?;
        Err(self.next("invoke").with_function(&deployment.name))
    }
}

// Where the provider can run an invocation and answer later, implement AsyncPlatform instead.
invoke_only!({{Name}});
