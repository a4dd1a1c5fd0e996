//! The platform itself: Falco's traits over the requests of `client`.

mod activation;
mod collect;
mod deploy;
mod describe;
mod invoke;
mod list;
mod log_group;
mod logs;
mod measured;
mod names;
mod permissions;
mod queue;
mod record;
mod remove;
mod report;
mod role;
mod scale;
mod settings;
mod submit;
mod wait;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Bounds, Capabilities, Collected,
    Deployable, Deployment, Error, Invocation, InvocationId, Operation, Pending, Platform,
    RateLimit, Release, Result, Scaling,
};

use crate::client::{AccountSettings, Client, LONGEST_RUN};
use crate::config::AwsConfig;
use crate::package;
use queue::Queues;

/// AWS Lambda as a platform.
///
/// # What it makes
///
/// For a function `f`: the function `f`; unless a role is set the execution role `f.REGION` under the path
/// `/falco/REGION/f/`, since IAM is one for all regions; once something is submitted the queue `falco-f`, which the results of submitted invocations arrive in; the log group
/// `/aws/lambda/f`. All of it carries tags with run, owner and expiry; [`remove`](Platform::remove) removes all of it.
///
/// # One queue for each function
///
/// A queue hands each message to the first reader. If all functions shared one, every driver would read, and hide
/// from the others for a while, records that are not its own. The plan runner's function names carry the run, so a
/// queue for each function is one for each stage of a run: nobody else reads it, it goes when the function goes, and
/// an execution role need not be allowed to write into another's.
///
/// # Examples
///
/// ```no_run
/// use falco_aws::AwsLambda;
/// use falco_core::{Deployable, Invocation, Payload, Platform};
///
/// # async fn example() -> falco_core::Result<()> {
/// let platform = AwsLambda::from_env().await?;
/// let source = "def main(args):\n    return {'greeting': 'Hello ' + args['name'] + '!'}\n";
/// let hello = platform.deploy(&Deployable::from_source("hello", "python:3".parse()?, source)).await?;
/// let ada = Payload::from_bytes(r#"{"name":"Ada"}"#)?;
/// let activation = platform.invoke(&hello, &Invocation::new("run", "hello", "ada", ada)).await?;
/// println!("{:?} for {:?}", activation.outcome, activation.cost);
/// platform.remove(&hello).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct AwsLambda {
    config: AwsConfig,
    client: Arc<Client>,
    account: AccountSettings,
    queues: Queues,
}

impl AwsLambda {
    /// Connects with what the tools of AWS find here: variables, profiles, and the identity of the machine.
    ///
    /// # Errors
    ///
    /// As [`AwsConfig::from_env`] and [`connect`](Self::connect).
    pub async fn from_env() -> Result<Self> {
        Self::connect(AwsConfig::from_env().await?).await
    }

    /// Connects: reads the account's limits, which also shows whether the credentials are good.
    ///
    /// Credentials that may not read the limits are good enough; [`capabilities`](Platform::capabilities) then leaves
    /// the limits open.
    ///
    /// # Errors
    ///
    /// `Unauthorized` when there are no credentials or they are refused, `Unavailable` when AWS cannot be reached.
    pub async fn connect(config: AwsConfig) -> Result<Self> {
        let failed = |e: Error| e.at(Operation::new(crate::NAME, "connect"));
        let client = Client::new(&config).map_err(failed)?;
        let account = match client.account_settings().await {
            Ok(account) => account,
            Err(failure) if failure.is_forbidden() => {
                tracing::info!("the account's limits may not be read (lambda:GetAccountSettings)");
                AccountSettings::default()
            }
            Err(failure) => return Err(failed(failure.into())),
        };
        let client = Arc::new(client);
        let queues = Queues::new(client.clone(), config.waits.clone());
        Ok(Self { config, client, account, queues })
    }
}

/// Invocations a second that Lambda starts for each unit of concurrency.
const RATE_PER_CONCURRENCY: u32 = 10;

#[async_trait]
impl Platform for AwsLambda {
    fn name(&self) -> &str {
        crate::NAME
    }

    fn capabilities(&self) -> Capabilities {
        let limits = &self.config.limits;
        let concurrency =
            self.account.unreserved_concurrent_executions.or(self.account.concurrent_executions);
        let uploaded = match self.config.bucket {
            Some(_) => self.account.code_size_unzipped.unwrap_or(limits.unpacked),
            None => self.account.code_size_zipped.unwrap_or(limits.direct_upload),
        };
        Capabilities::default()
            .with_submit(true)
            .with_resubmit(false)
            .with_adopt(true)
            .with_logs(true)
            .with_scaling(true)
            .with_images(true)
            .with_max_payload(limits.payload)
            .with_max_submit_payload(limits.submit_payload)
            .with_max_result(limits.result)
            .with_max_code(uploaded)
            .with_concurrency(concurrency)
            .with_rate(concurrency.map(|concurrency| {
                RateLimit::new(
                    concurrency.saturating_mul(RATE_PER_CONCURRENCY),
                    Duration::from_secs(1),
                )
            }))
            .with_memory_mib(settings::MEMORY_MIB)
            .with_timeout(Bounds { min: Duration::from_secs(1), max: LONGEST_RUN })
            .with_wants_layers(true)
            .with_shim(true)
            .with_runtimes(package::supported(&self.config.runtimes))
            .with_architecture(self.config.architecture.rust_name().to_owned())
            .with_prices(self.prices())
    }

    async fn account(&self) -> Result<Option<String>> {
        match self.client.account().await {
            Ok(account) => Ok(Some(format!("{account} in {}", self.config.region))),
            // No other operation needs STS, and a network may not lead to it.
            Err(failure) => {
                tracing::info!(error = %Error::from(failure), "the account is not known");
                Ok(None)
            }
        }
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        self.deploy_function(function)
            .await
            .map_err(|e| e.at(Operation::new(crate::NAME, "deploy").on(&function.name)))
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        let found = self.client.get_function(name).await;
        let found = found.map_err(|failure| {
            Error::from(failure).at(Operation::new(crate::NAME, "fetch_deployment").on(name))
        })?;
        Ok(self.describe(&found))
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        self.list().await.map_err(|failure| {
            Error::from(failure).at(Operation::new(crate::NAME, "list_deployments"))
        })
    }

    async fn scale(&self, deployment: &Deployment, scaling: &Scaling) -> Result<Deployment> {
        self.scale_function(deployment, scaling)
            .await
            .map_err(|e| e.at(Operation::new(crate::NAME, "scale").on(&deployment.name)))
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        self.remove_all(&deployment.name)
            .await
            .map_err(|e| e.at(Operation::new(crate::NAME, "remove").on(&deployment.name)))
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        self.invoke_and_wait(deployment, invocation)
            .await
            .map_err(|e| e.at(Operation::new(crate::NAME, "invoke").on(&deployment.name)))
    }
}

#[async_trait]
impl AsyncPlatform for AwsLambda {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        self.submit_event(deployment, invocation)
            .await
            .map_err(|e| e.at(Operation::new(crate::NAME, "submit").on(&deployment.name)))
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        self.collect_records(deployment, pending)
            .await
            .map_err(|e| e.at(Operation::new(crate::NAME, "collect").on(&deployment.name)))
    }

    fn release(&self, deployment: &Deployment, activations: &[ActivationId], release: Release) {
        self.queues.release(&deployment.name, activations, release);
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        self.read_logs(deployment, activations).await.map_err(|failure| {
            Error::from(failure)
                .at(Operation::new(crate::NAME, "activation_log").on(&deployment.name))
        })
    }

    async fn recent_logs(
        &self,
        deployment: &Deployment,
        since: SystemTime,
        most: usize,
    ) -> Result<Vec<ActivationLog>> {
        self.read_recent_logs(deployment, since, most).await.map_err(|failure| {
            Error::from(failure).at(Operation::new(crate::NAME, "recent_logs").on(&deployment.name))
        })
    }

    async fn find_submitted(
        &self,
        deployment: &Deployment,
        in_doubt: &[Invocation],
    ) -> Result<Vec<(InvocationId, Pending)>> {
        self.find_records(deployment, in_doubt)
            .await
            .map_err(|e| e.at(Operation::new(crate::NAME, "find_submitted").on(&deployment.name)))
    }
}
