//! The platforms that an example can run on: one file each.

mod aws;
mod gcp;
mod local;
mod openwhisk;

use std::sync::Arc;

use clap::{Args, ValueEnum};
use falco_core::AsyncPlatform;

/// Where to run, and what each platform needs to know.
#[derive(Debug, Args)]
pub struct PlatformArguments {
    /// The platform.
    #[arg(long, value_enum, default_value_t = PlatformName::Local)]
    pub platform: PlatformName,

    #[command(flatten)]
    openwhisk: openwhisk::OpenWhiskArguments,

    #[command(flatten)]
    aws: aws::AwsArguments,

    #[command(flatten)]
    gcp: gcp::GcpArguments,
}

/// A platform that an example can run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlatformName {
    /// This machine.
    Local,
    /// Apache OpenWhisk.
    Openwhisk,
    /// AWS Lambda.
    Aws,
    /// Google Cloud Functions, 2nd generation.
    Gcp,
}

impl PlatformArguments {
    /// Connects to the platform, without layers.
    ///
    /// # Errors
    ///
    /// When a setting is missing or wrong, or the platform does not answer.
    pub async fn connect(&self) -> anyhow::Result<Arc<dyn AsyncPlatform>> {
        match self.platform {
            PlatformName::Local => local::connect(),
            PlatformName::Openwhisk => self.openwhisk.connect().await,
            PlatformName::Aws => self.aws.connect().await,
            PlatformName::Gcp => self.gcp.connect().await,
        }
    }
}
