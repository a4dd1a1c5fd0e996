//! How to reach AWS, and what to make there.

mod builder;
mod environment;
mod limits;
mod partition;
mod service;
mod shared;
mod waits;

use std::collections::BTreeMap;
use std::fmt;

use aws_credential_types::provider::SharedCredentialsProvider;
use falco_core::Result;
use falco_http::ClientConfig;

use crate::architecture::Architecture;
use crate::price::PriceTable;

pub use builder::AwsConfigBuilder;
pub use limits::Limits;
pub(crate) use partition::Partition;
pub use service::Service;
pub(crate) use service::{Endpoint, Endpoints};
pub use waits::AwsWaits;

/// How to reach AWS, and what to make there. `Debug` shows no credentials.
///
/// # Examples
///
/// ```
/// use falco_aws::{Architecture, AwsConfig};
///
/// let config = AwsConfig::builder()
///     .region("eu-central-1")
///     .static_credentials("AKIDEXAMPLE", "secret", None)
///     .role("arn:aws:iam::123456789012:role/analytics")
///     .architecture(Architecture::Arm64)
///     .build()?;
/// assert_eq!(config.region(), "eu-central-1");
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone)]
pub struct AwsConfig {
    pub(crate) region: String,
    pub(crate) partition: Partition,
    pub(crate) endpoints: Endpoints,
    pub(crate) credentials: SharedCredentialsProvider,
    pub(crate) http: ClientConfig,
    pub(crate) role: Option<String>,
    pub(crate) bucket: Option<String>,
    pub(crate) architecture: Architecture,
    pub(crate) ephemeral_storage_mib: Option<u32>,
    pub(crate) runtimes: BTreeMap<String, String>,
    pub(crate) log_retention_days: u32,
    pub(crate) limits: Limits,
    pub(crate) prices: PriceTable,
    pub(crate) waits: AwsWaits,
}

impl AwsConfig {
    /// A configuration to be filled in by hand, or from the environment where it is silent.
    pub fn builder() -> AwsConfigBuilder {
        AwsConfigBuilder::default()
    }

    /// The configuration that the tools of AWS would use here: variables, profiles, and the identity of the machine.
    ///
    /// See [`AwsConfigBuilder::build_with_env`].
    ///
    /// # Errors
    ///
    /// `InvalidInput` when there is no region, or a setting makes no sense; the error names it.
    pub async fn from_env() -> Result<Self> {
        Self::builder().build_with_env().await
    }

    /// The region that functions run in.
    pub fn region(&self) -> &str {
        &self.region
    }
}

impl fmt::Debug for AwsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsConfig")
            .field("region", &self.region)
            .field("role", &self.role)
            .field("bucket", &self.bucket)
            .field("architecture", &self.architecture)
            .field("ephemeral_storage_mib", &self.ephemeral_storage_mib)
            .field("runtimes", &self.runtimes)
            .field("limits", &self.limits)
            .field("waits", &self.waits)
            .finish_non_exhaustive()
    }
}
