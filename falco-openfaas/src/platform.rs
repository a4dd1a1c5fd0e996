//! The platform.

use falco_core::{
    Activation, Capabilities, Deployable, Deployment, Error, ErrorKind, Invocation, Operation,
    Platform, Result, Scaling, async_trait, invoke_only,
};
use falco_http::reqwest::{Method, StatusCode};
use falco_http::{JsonApi, Reply};
use tokio::time::{Instant, sleep};

use crate::answer::{Instance, activation};
use crate::client::{REQUEST, api, wanted};
use crate::config::OpenFaasConfig;
use crate::package::{MAX_CODE, RUNTIMES, TIMEOUTS, deployment, package};
use crate::refusal::refusal;
use crate::waits::OpenFaasWaits;
use crate::wire::{DeleteFunctionRequest, FunctionDeployment, FunctionStatus};

const FUNCTIONS: &[&str] = &["system", "functions"];

/// Falco on OpenFaaS.
#[derive(Debug)]
pub struct OpenFaas {
    /// Requests that run no function.
    api: JsonApi,
    /// Invocations, which stay open for as long as the function runs.
    calls: JsonApi,
    image: String,
    waits: OpenFaasWaits,
}

impl OpenFaas {
    /// Connects with [`OpenFaasConfig::from_env`].
    ///
    /// # Errors
    ///
    /// As [`OpenFaasConfig::from_env`] and [`connect`](Self::connect).
    pub async fn from_env() -> Result<Self> {
        Self::connect(OpenFaasConfig::from_env()?).await
    }

    /// Connects, and checks that the gateway is there and takes the password.
    ///
    /// # Errors
    ///
    /// `Unauthorized` when the gateway does not accept the password; `Unavailable` when it cannot be reached.
    pub async fn connect(config: OpenFaasConfig) -> Result<Self> {
        let named = |error: Error| error.at(Operation::new(crate::NAME, "connect"));
        let calls = api(&config).map_err(named)?;
        let api = calls.clone().with_timeout(REQUEST);
        let info = api.send(Method::GET, &["system", "info"], None).await;
        info.and_then(|info| wanted(info, StatusCode::OK)).map_err(named)?;
        Ok(Self { api, calls, image: config.image, waits: config.waits })
    }

    async fn status(&self, name: &str) -> Result<FunctionStatus> {
        let reply = self.api.send(Method::GET, &["system", "function", name], None).await?;
        wanted(reply, StatusCode::OK)?.json()
    }

    /// Updates the function, or makes it: `PUT` says 404 of one that is not there, and `POST` says 500 of one that
    /// is, which would not distinguish it from a fault.
    async fn store(&self, function: &FunctionDeployment) -> Result<()> {
        let mut reply = self.api.send_json(Method::PUT, FUNCTIONS, function).await?;
        if reply.status == StatusCode::NOT_FOUND {
            reply = self.api.send_json(Method::POST, FUNCTIONS, function).await?;
        }
        wanted(reply, StatusCode::ACCEPTED).map(drop)
    }

    /// Waits until `version` answers. The gateway accepts first and starts then, and until the new instance is ready
    /// the old one answers, so the function itself is asked.
    async fn wait_for(&self, name: &str, version: &str) -> Result<()> {
        let end = Instant::now() + self.waits.rollout_timeout;
        loop {
            let last = match self.answering(name).await {
                Ok(answering) if answering == version => return Ok(()),
                Ok(older) => format!("version {older}"),
                Err(error) if error.kind() == ErrorKind::Unauthorized => return Err(error),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= end {
                let message =
                    format!("version {version} does not answer yet; the last answer: {last}");
                return Err(Error::new(ErrorKind::Timeout, message)
                    .with_hint("look at its pods: can they load the image?"));
            }
            sleep(self.waits.rollout_interval).await;
        }
    }

    /// The version that is in service.
    async fn answering(&self, name: &str) -> Result<String> {
        let reply = self.call(name, b"null".to_vec()).await?;
        match reply.status {
            StatusCode::OK if !reply.body.is_empty() => Ok(Instance::of(&reply)?.version),
            _ => Err(refusal(&reply)),
        }
    }

    async fn call(&self, function: &str, argument: Vec<u8>) -> Result<Reply> {
        self.calls.send(Method::POST, &["function", function], Some(argument)).await
    }
}

/// Says of an error, whatever it is, where it comes from.
fn about(operation: &'static str, function: &str) -> impl FnOnce(Error) -> Error {
    move |error| error.at(Operation::new(crate::NAME, operation).on(function))
}

#[async_trait]
impl Platform for OpenFaas {
    fn name(&self) -> &str {
        crate::NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
            .with_adopt(true)
            .with_max_code(MAX_CODE)
            .with_timeout(TIMEOUTS)
            .with_shim(true)
            .with_wants_layers(true)
            .with_runtimes(RUNTIMES)
    }

    async fn account(&self) -> Result<Option<String>> {
        Ok(Some(self.api.url().to_string()))
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        let deploy = async {
            let (stored, version) = package(function, &self.image)?;
            self.store(&stored).await?;
            self.wait_for(&function.name, &version).await
        };
        deploy.await.map_err(about("deploy", &function.name))?;
        Ok(Deployment::new(&function.name, function.runtime.clone())
            .with_platform(crate::NAME)
            .with_scaling(function.scaling.clone())
            .with_ownership(function.ownership.clone()))
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        let found = self.status(name).await.and_then(|status| {
            let strangers = "the function there was not deployed by Falco";
            deployment(&status).ok_or_else(|| Error::new(ErrorKind::NotFound, strangers))
        });
        found.map_err(about("fetch_deployment", name))
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        let list = async {
            let reply = self.api.send(Method::GET, FUNCTIONS, None).await?;
            let functions: Vec<FunctionStatus> = wanted(reply, StatusCode::OK)?.json()?;
            Ok(functions.iter().filter_map(deployment).collect())
        };
        list.await.map_err(|error: Error| error.at(Operation::new(crate::NAME, "list_deployments")))
    }

    async fn scale(&self, deployment: &Deployment, _: &Scaling) -> Result<Deployment> {
        let message = "OpenFaaS takes a function's whole specification, and does not report the \
                       environment that would have to be in it";
        let error = Error::unsupported(message).with_hint("deploy the function with other sizes");
        Err(about("scale", &deployment.name)(error))
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        let remove = async {
            let request = DeleteFunctionRequest { function_name: &deployment.name };
            let reply = self.api.send_json(Method::DELETE, FUNCTIONS, &request).await?;
            wanted(reply, StatusCode::ACCEPTED).map(drop)
        };
        remove.await.map_err(about("remove", &deployment.name))
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let invoke = async {
            let payload = invocation.payload();
            payload.check_argument(None)?;
            // No header reaches the function: the context of the trace travels beside the argument.
            let trace = invocation.trace_context();
            let envelope = format!("{{\"args\":{},\"trace\":\"{trace}\"}}", payload.as_str());
            let reply = self.call(&deployment.name, envelope.into_bytes()).await?;
            let mut activation = activation(&reply)?;
            activation.memory_mib = deployment.scaling.memory_mib;
            Ok(activation)
        };
        invoke.await.map_err(about("invoke", &deployment.name))
    }
}

// `/async-function/NAME` answers to a URL that the gateway has to reach, and a driver behind a firewall has none.
// `falco_layers::Held` makes submit and collect of open calls.
invoke_only!(OpenFaas);
