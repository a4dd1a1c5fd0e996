//! Filling in an [`AwsConfig`].

use std::collections::BTreeMap;
use std::fmt;

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use falco_core::{Error, Operation, Result};
use falco_http::ClientConfig;

use super::{AwsConfig, AwsWaits, Endpoints, Limits, Partition, Service, environment};
use crate::architecture::Architecture;
use crate::price::PriceTable;

/// Fills in an [`AwsConfig`]. What is set here wins over the environment.
#[derive(Clone, Default)]
pub struct AwsConfigBuilder {
    pub(super) region: Option<String>,
    pub(super) profile: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) endpoints: BTreeMap<Service, String>,
    pub(super) credentials: Option<SharedCredentialsProvider>,
    pub(super) role: Option<String>,
    pub(super) bucket: Option<String>,
    pub(super) architecture: Option<Architecture>,
    http: Option<ClientConfig>,
    ephemeral_storage_mib: Option<u32>,
    runtimes: BTreeMap<String, String>,
    log_retention_days: Option<u32>,
    limits: Limits,
    prices: PriceTable,
    waits: AwsWaits,
}

impl AwsConfigBuilder {
    /// The region that functions run in, such as `eu-central-1`. There is no default.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// The profile of the shared configuration files, in place of `AWS_PROFILE`.
    #[must_use]
    pub fn profile(mut self, profile: impl Into<String>) -> Self {
        self.profile = Some(profile.into());
        self
    }

    /// Sends the requests to all services to one URL, for a server that speaks the APIs of AWS.
    #[must_use]
    pub fn endpoint_for_all(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Sends the requests to one service to another URL.
    #[must_use]
    pub fn endpoint(mut self, service: Service, url: impl Into<String>) -> Self {
        self.endpoints.insert(service, url.into());
        self
    }

    /// Credentials from a provider of the AWS SDK, in place of the standard chain. They are asked for once, and again
    /// some minutes before they expire.
    #[must_use]
    pub fn credentials(mut self, provider: impl ProvideCredentials + 'static) -> Self {
        self.credentials = Some(SharedCredentialsProvider::new(provider));
        self
    }

    /// Fixed credentials, with a session token when they are temporary.
    #[must_use]
    pub fn static_credentials(
        self,
        access_key_id: impl Into<String>,
        secret_access_key: impl Into<String>,
        session_token: Option<String>,
    ) -> Self {
        self.credentials(Credentials::new(
            access_key_id,
            secret_access_key,
            session_token,
            None,
            "falco",
        ))
    }

    /// The execution role of the functions: an ARN, or a name with its path in the caller's account.
    ///
    /// It has to let Lambda assume it and, for submitted invocations, allow `sqs:SendMessage` on queues named `falco-*`.
    /// Without it, Falco makes one for each function, and removes it with the function.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.role = Some(role.into());
        self
    }

    /// The bucket through which archives go that are too long for a direct upload. It has to be in the same region.
    #[must_use]
    pub fn bucket(mut self, bucket: impl Into<String>) -> Self {
        self.bucket = Some(bucket.into());
        self
    }

    /// The processors that functions run on; [`Architecture::X86_64`] unless set.
    #[must_use]
    pub fn architecture(mut self, architecture: Architecture) -> Self {
        self.architecture = Some(architecture);
        self
    }

    /// Temporary storage of a function, in MiB; 512 are free.
    #[must_use]
    pub fn ephemeral_storage_mib(mut self, mib: u32) -> Self {
        self.ephemeral_storage_mib = Some(mib);
        self
    }

    /// Runs functions for `runtime`, such as `python:3`, on a runtime of Lambda, such as `python3.12`.
    #[must_use]
    pub fn runtime(mut self, runtime: impl Into<String>, lambda: impl Into<String>) -> Self {
        self.runtimes.insert(runtime.into(), lambda.into());
        self
    }

    /// How many days CloudWatch Logs keeps what functions print, if they are not removed before: 1 unless set.
    ///
    /// It has to be one of the numbers that CloudWatch Logs allows: 1, 3, 5, 7, 14, 30, 60, 90, and others up to 3653.
    #[must_use]
    pub fn log_retention_days(mut self, days: u32) -> Self {
        self.log_retention_days = Some(days);
        self
    }

    /// How the HTTP client is made: proxies, certificates, or a client of your own.
    #[must_use]
    pub fn http(mut self, http: ClientConfig) -> Self {
        self.http = Some(http);
        self
    }

    /// Limits that AWS has changed for you, or since this was written.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The prices of your region, or of your contract.
    #[must_use]
    pub fn prices(mut self, prices: PriceTable) -> Self {
        self.prices = prices;
        self
    }

    /// How long to wait where the protocol demands waiting.
    #[must_use]
    pub fn waits(mut self, waits: AwsWaits) -> Self {
        self.waits = waits;
        self
    }

    /// The configuration, from nothing but what was set.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when region or credentials are missing, or a setting makes no sense; the error names it.
    pub fn build(self) -> Result<AwsConfig> {
        let region = self.region.filter(|region| !region.is_empty()).ok_or_else(no_region)?;
        if !region.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
            return Err(invalid(format!("invalid region {region:?}"))
                .with_hint("a region looks like eu-central-1"));
        }
        let credentials = self.credentials.ok_or_else(|| {
            invalid("no credentials were set")
                .with_hint("use build_with_env, which finds what AWS's tools find")
        })?;
        let mut overrides = self.endpoints;
        if let Some(url) = self.endpoint {
            for service in Service::ALL {
                overrides.entry(service).or_insert_with(|| url.clone());
            }
        }
        check_waits(&self.waits)?;
        let log_retention_days = self.log_retention_days.unwrap_or(RETENTION_DAYS[0]);
        check_retention(log_retention_days)?;
        let partition = Partition::of(&region);
        let endpoints = Endpoints::new(&region, partition, &overrides)?;
        // A server on loopback is spoken to in a container without CA certificates as well.
        let http = self.http.unwrap_or_else(|| {
            ClientConfig::new(USER_AGENT).with_plain_http_only(endpoints.are_plain_http())
        });
        Ok(AwsConfig {
            endpoints,
            region,
            partition,
            credentials,
            http,
            role: self.role,
            bucket: self.bucket,
            architecture: self.architecture.unwrap_or_default(),
            ephemeral_storage_mib: self.ephemeral_storage_mib,
            runtimes: self.runtimes,
            log_retention_days,
            limits: self.limits,
            prices: self.prices,
            waits: self.waits,
        })
    }

    /// The configuration, with what was not set taken from where the tools of AWS look.
    ///
    /// - Region: `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile, the machine's own. None is an error.
    /// - Credentials: `AWS_ACCESS_KEY_ID` with `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`, the profile (also
    ///   by assuming a role or by a process), a web identity, the container's, the machine's. They are not asked for
    ///   before the first request. A profile of IAM Identity Center needs the feature `sso` of this crate.
    /// - Endpoints: `AWS_ENDPOINT_URL_LAMBDA` and so on for each [`Service`], `AWS_ENDPOINT_URL`, the profile;
    ///   `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true` ignores them.
    /// - `FALCO_AWS_ROLE` and `FALCO_AWS_BUCKET`: the execution role, and the bucket for long archives.
    /// - `FALCO_AWS_ARCHITECTURE`: the processors, `x86_64` or `arm64`.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub async fn build_with_env(self) -> Result<AwsConfig> {
        self.build_with(|name| std::env::var(name).ok()).await
    }

    /// As [`build_with_env`](Self::build_with_env), with variables from elsewhere than the process's environment.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub async fn build_with<F>(self, variables: F) -> Result<AwsConfig>
    where
        F: Fn(&str) -> Option<String> + Send + Sync,
    {
        environment::fill(self, &variables).await?.build()
    }
}

/// The user agent of requests.
const USER_AGENT: &str = concat!("falco-aws/", env!("CARGO_PKG_VERSION"));

fn invalid(message: impl Into<String>) -> Error {
    Error::invalid_input(message).at(Operation::new(crate::NAME, "configure"))
}

fn no_region() -> Error {
    invalid("no region is set").with_hint(
        "set AWS_REGION or AwsConfigBuilder::region, or write `region = ..` into the profile in ~/.aws/config",
    )
}

/// The retentions that CloudWatch Logs has, in days. Falco takes the first unless another is set.
const RETENTION_DAYS: [u32; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

fn check_retention(days: u32) -> Result<()> {
    if RETENTION_DAYS.contains(&days) {
        return Ok(());
    }
    let allowed: Vec<String> = RETENTION_DAYS.iter().map(u32::to_string).collect();
    Err(invalid(format!("invalid log_retention_days {days}: use one of {}", allowed.join(", "))))
}

fn check_waits(waits: &AwsWaits) -> Result<()> {
    if waits.queue_poll.as_secs() > 20 {
        return Err(invalid("queue_poll is over the 20 s that SQS allows"));
    }
    if !(60..=21_600).contains(&waits.event_age.as_secs()) {
        return Err(invalid("event_age has to be between 60 s and 6 h"));
    }
    if waits.queue_pollers == 0 {
        return Err(invalid("queue_pollers must not be zero"));
    }
    Ok(())
}

impl fmt::Debug for AwsConfigBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsConfigBuilder")
            .field("region", &self.region)
            .field("profile", &self.profile)
            .field("role", &self.role)
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}
