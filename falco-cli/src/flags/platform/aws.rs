//! AWS Lambda.

use clap::Args;

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
