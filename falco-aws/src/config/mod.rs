//! How to reach AWS, and what to make there.

mod builder;
mod environment;
mod limits;
mod partition;
mod service;
mod waits;

use std::collections::BTreeMap;
use std::fmt;

use aws_credential_types::provider::SharedCredentialsProvider;
use falco_core::Result;
use falco_http::ClientConfig;

use crate::price::PriceTable;

pub use builder::AwsConfigBuilder;
pub use limits::Limits;
pub(crate) use partition::Partition;
pub use service::Service;
pub(crate) use service::{Endpoint, Endpoints};
pub use waits::Waits;

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
    pub(crate) waits: Waits,
}

impl AwsConfig {
    /// A configuration to be filled in by hand, or from the environment where it is silent.
    pub fn builder() -> AwsConfigBuilder {
        AwsConfigBuilder::default()
    }

    /// What the tools of AWS would use here: variables, profiles, and the identity of the machine.
    ///
    /// See [`AwsConfigBuilder::load`].
    ///
    /// # Errors
    ///
    /// `InvalidInput` when there is no region, or a setting makes no sense; the error names it.
    pub async fn from_env() -> Result<Self> {
        Self::builder().load().await
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

/// The processors that functions run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// 64-bit processors of Intel and AMD.
    #[default]
    X86_64,
    /// 64-bit processors of Arm, which cost about a fifth less.
    Arm64,
}

impl Architecture {
    /// Lambda's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }
}

impl std::str::FromStr for Architecture {
    type Err = falco_core::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "x86_64" | "amd64" => Ok(Self::X86_64),
            "arm64" | "aarch64" => Ok(Self::Arm64),
            other => Err(falco_core::Error::invalid_input(format!(
                "invalid architecture {other:?}: Lambda has x86_64 and arm64"
            ))),
        }
    }
}
