//! AWS Lambda.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::inspect::{Inspected, at_home, by_variable, setting, sources, variable};

/// Settings without a flag are read as the tools of AWS read them.
#[cfg_attr(
    not(feature = "aws"),
    allow(dead_code, reason = "parsed, so that --help and errors are the same")
)]
#[derive(Debug, Args)]
#[command(next_help_heading = "AWS (else AWS_REGION, AWS_PROFILE, .. and ~/.aws)")]
pub(super) struct AwsFlags {
    /// The region.
    #[arg(long, value_name = "NAME")]
    region: Option<String>,

    /// The profile in ~/.aws/config.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,

    /// The functions' execution role [default: one is made, and removed]
    #[arg(long, value_name = "ARN")]
    role: Option<String>,
}

impl AwsFlags {
    /// Where the settings were found.
    pub(super) async fn inspect(&self) -> Inspected {
        let profile = self.profile.clone().or_else(|| variable("AWS_PROFILE"));
        let profile = profile.as_deref().unwrap_or("default");
        let file = |name: &str, named_by: &str| {
            let file = variable(named_by).map(PathBuf::from).or_else(|| at_home(name))?;
            Some(format!("the profile {profile:?} in {}", file.display()))
        };
        let config = || file(".aws/config", "AWS_CONFIG_FILE");
        let region =
            setting(self.region.as_ref(), "--region", &["AWS_REGION", "AWS_DEFAULT_REGION"]);
        let region = match region {
            Some(region) => Some(region),
            None => self
                .region_of_profile()
                .await
                .zip(config())
                .map(|(region, file)| format!("{region}, by {file}")),
        };
        let host = region.as_deref().and_then(|region| region.split(',').next());
        let endpoint = variable("AWS_ENDPOINT_URL_LAMBDA")
            .or_else(|| variable("AWS_ENDPOINT_URL"))
            .or_else(|| Some(format!("https://lambda.{}.amazonaws.com", host?)));
        Inspected {
            credentials: Some(sources([
                by_variable("AWS_ACCESS_KEY_ID"),
                by_variable("AWS_WEB_IDENTITY_TOKEN_FILE"),
                file(".aws/credentials", "AWS_SHARED_CREDENTIALS_FILE").or_else(config),
                by_variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
                by_variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
            ])),
            region,
            endpoint,
        }
    }
}

/// The highest cost of one invocation.
#[cfg(feature = "aws")]
pub(super) fn price(busy: Duration, memory_mib: u32) -> Option<f64> {
    let prices = falco_aws::PriceTable::default();
    Some(prices.cost(falco_aws::Architecture::X86_64, busy, memory_mib, 0).0)
}

/// Without the platform nobody knows its prices.
#[cfg(not(feature = "aws"))]
pub(super) fn price(_: Duration, _: u32) -> Option<f64> {
    None
}

/// Without the platform nobody reads its files.
#[cfg(not(feature = "aws"))]
impl AwsFlags {
    async fn region_of_profile(&self) -> Option<String> {
        None
    }
}

#[cfg(feature = "aws")]
impl AwsFlags {
    pub(super) async fn connect(
        &self,
    ) -> anyhow::Result<std::sync::Arc<dyn falco_core::AsyncPlatform>> {
        Ok(std::sync::Arc::new(self.platform().await?))
    }

    /// The permissions that the caller needs for a function of this name.
    pub(super) async fn permissions(
        &self,
        function: &str,
    ) -> anyhow::Result<Vec<falco_core::Permission>> {
        Ok(self.platform().await?.permissions(function).await?)
    }

    async fn platform(&self) -> anyhow::Result<falco_aws::AwsLambda> {
        let config = self.builder().build_with_env().await?;
        Ok(falco_aws::AwsLambda::connect(config).await?)
    }

    /// The region that AWS's shared files name.
    async fn region_of_profile(&self) -> Option<String> {
        let config = self.builder().build_with_env().await.ok()?;
        Some(config.region().to_owned())
    }

    fn builder(&self) -> falco_aws::AwsConfigBuilder {
        let mut config = falco_aws::AwsConfig::builder();
        if let Some(region) = &self.region {
            config = config.region(region);
        }
        if let Some(profile) = &self.profile {
            config = config.profile(profile);
        }
        if let Some(role) = &self.role {
            config = config.role(role);
        }
        config
    }
}
