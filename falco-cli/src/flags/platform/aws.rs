//! AWS Lambda.

use std::time::Duration;

use clap::Args;

use super::inspect::{Inspected, at_home, by_variable, setting, sources, variable};

/// What is not named is read as the tools of AWS read it.
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
    pub(super) fn inspect(&self) -> Inspected {
        let profile = self.profile.clone().or_else(|| variable("AWS_PROFILE"));
        let file = |name: &str| {
            let file = at_home(name)?;
            let profile = profile.as_deref().unwrap_or("default");
            Some(format!("the profile {profile:?} in {}", file.display()))
        };
        let region =
            setting(self.region.as_ref(), "--region", &["AWS_REGION", "AWS_DEFAULT_REGION"]);
        let host = region.as_deref().and_then(|region| region.split(',').next());
        let endpoint = variable("AWS_ENDPOINT_URL_LAMBDA")
            .or_else(|| variable("AWS_ENDPOINT_URL"))
            .or_else(|| Some(format!("https://lambda.{}.amazonaws.com", host?)));
        let region = region.or_else(|| file(".aws/config"));
        Inspected {
            credentials: Some(sources([
                by_variable("AWS_ACCESS_KEY_ID"),
                by_variable("AWS_WEB_IDENTITY_TOKEN_FILE"),
                file(".aws/credentials").or_else(|| file(".aws/config")),
                by_variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
                by_variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
            ])),
            region,
            endpoint,
        }
    }
}

/// What one invocation costs at most.
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

#[cfg(feature = "aws")]
impl AwsFlags {
    pub(super) async fn connect(
        &self,
    ) -> anyhow::Result<std::sync::Arc<dyn falco_core::AsyncPlatform>> {
        use falco_aws::{AwsConfig, AwsLambda};

        let mut config = AwsConfig::builder();
        if let Some(region) = &self.region {
            config = config.region(region);
        }
        if let Some(profile) = &self.profile {
            config = config.profile(profile);
        }
        if let Some(role) = &self.role {
            config = config.role(role);
        }
        Ok(std::sync::Arc::new(AwsLambda::connect(config.build_with_env().await?).await?))
    }
}
