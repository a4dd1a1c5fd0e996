//! The platforms that a program can run on: one file each.

mod aws;
mod docker;
mod gcp;
mod inspect;
#[cfg(feature = "local")]
mod local;
mod openfaas;
mod openwhisk;

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use falco_core::{AsyncPlatform, Permission};
use falco_layers::{Part, Share, Spread};

pub use inspect::Inspected;

/// Where to run, and what each platform needs to know.
#[derive(Debug, Args)]
pub struct PlatformFlags {
    /// The platform; several, such as aws,gcp, share the work.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [PlatformName::Local])]
    pub platform: Vec<PlatformName>,

    /// How several platforms share the work.
    #[arg(long, value_enum, value_name = "HOW", default_value_t = SpreadBy::Capacity)]
    pub spread: SpreadBy,

    /// The shares of the platforms for --spread weight, in their order, such as 3,1 [default: equal]
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = super::positive, allow_negative_numbers = true)]
    pub weights: Vec<f64>,

    #[command(flatten)]
    openwhisk: openwhisk::OpenWhiskFlags,

    #[command(flatten)]
    aws: aws::AwsFlags,

    #[command(flatten)]
    gcp: gcp::GcpFlags,

    #[command(flatten)]
    docker: docker::DockerFlags,

    #[command(flatten)]
    openfaas: openfaas::OpenFaasFlags,
}

/// A platform that a program can run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlatformName {
    /// This machine.
    Local,
    /// Containers, on any image.
    Docker,
    /// Apache OpenWhisk.
    Openwhisk,
    /// AWS Lambda.
    Aws,
    /// Google Cloud Functions, 2nd generation.
    Gcp,
    /// OpenFaaS.
    Openfaas,
}

/// How several platforms share the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SpreadBy {
    /// By --weights.
    Weight,
    /// To the one with the most room, as congestion control sees it.
    Capacity,
    /// To the cheapest one that has room.
    Price,
    /// To the first one that has room, in the order given.
    Overflow,
}

impl From<SpreadBy> for Share {
    fn from(by: SpreadBy) -> Self {
        match by {
            SpreadBy::Weight => Self::Weight,
            SpreadBy::Capacity => Self::FreeCapacity,
            SpreadBy::Price => Self::Price,
            SpreadBy::Overflow => Self::Overflow,
        }
    }
}

impl PlatformFlags {
    /// The platform; the first one where there are several.
    pub fn name(&self) -> PlatformName {
        self.platform.first().copied().unwrap_or(PlatformName::Local)
    }

    /// Connects to the platform, without layers; several are spread over.
    ///
    /// # Errors
    ///
    /// When the program was built without the platform, a setting is missing or wrong, or the platform does not
    /// answer.
    pub async fn connect(&self) -> anyhow::Result<Arc<dyn AsyncPlatform>> {
        self.check()?;
        if self.is_several() {
            let parts = self.connect_all().await?;
            return Ok(Arc::new(Spread::new(self.spread.into(), parts)?));
        }
        self.connect_to(self.name()).await
    }

    /// Checks what can be checked before anything is connected to.
    fn check(&self) -> anyhow::Result<()> {
        let count = self.platform.len();
        anyhow::ensure!(
            self.weights.is_empty() || self.weights.len() == count,
            "{} weights are given for {count} platforms: give one for each",
            self.weights.len()
        );
        for (at, platform) in self.platform.iter().enumerate() {
            anyhow::ensure!(
                !self.platform[..at].contains(platform),
                "--platform names {platform:?} twice: name each platform once"
            );
        }
        Ok(())
    }

    /// Whether several platforms share the work.
    pub(crate) fn is_several(&self) -> bool {
        self.platform.len() > 1
    }

    /// Connects to all platforms that share the work.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect), for one platform twice, and for weights that do not fit them.
    pub(crate) async fn connect_all(&self) -> anyhow::Result<Vec<Part>> {
        self.check()?;
        let mut parts = Vec::new();
        for (at, platform) in self.platform.iter().enumerate() {
            let weight = self.weights.get(at).copied().unwrap_or(1.0);
            parts.push(Part::new(self.connect_to(*platform).await?).with_weight(weight));
        }
        Ok(parts)
    }

    async fn connect_to(&self, platform: PlatformName) -> anyhow::Result<Arc<dyn AsyncPlatform>> {
        match platform {
            #[cfg(feature = "local")]
            PlatformName::Local => local::connect().await,
            #[cfg(feature = "docker")]
            PlatformName::Docker => self.docker.connect().await,
            #[cfg(feature = "openwhisk")]
            PlatformName::Openwhisk => self.openwhisk.connect().await,
            #[cfg(feature = "aws")]
            PlatformName::Aws => self.aws.connect().await,
            #[cfg(feature = "gcp")]
            PlatformName::Gcp => self.gcp.connect().await,
            #[cfg(feature = "openfaas")]
            PlatformName::Openfaas => self.openfaas.connect().await,
            #[allow(unreachable_patterns, reason = "with every feature, none is absent")]
            absent => Err(not_built(absent)),
        }
    }
}

impl PlatformFlags {
    /// Where the settings of the platform were found, without connecting to it.
    pub async fn inspect(&self) -> Inspected {
        match self.name() {
            PlatformName::Local => Inspected::default(),
            PlatformName::Docker => docker::inspect(),
            PlatformName::Openwhisk => self.openwhisk.inspect(),
            PlatformName::Aws => self.aws.inspect().await,
            PlatformName::Gcp => self.gcp.inspect(),
            PlatformName::Openfaas => self.openfaas.inspect(),
        }
    }

    /// The permissions that a run with a function of this name needs, and which of them are granted, as the provider says
    /// without changing anything; none on platforms that have no permissions of their own.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn permissions(&self, function: &str) -> anyhow::Result<Option<Vec<Permission>>> {
        match self.name() {
            #[cfg(feature = "aws")]
            PlatformName::Aws => self.aws.permissions(function).await.map(Some),
            #[cfg(feature = "gcp")]
            PlatformName::Gcp => self.gcp.permissions().await.map(Some),
            _ => {
                let _ = function;
                Ok(None)
            }
        }
    }

    /// How far this machine's clock is from the provider's.
    ///
    /// # Errors
    ///
    /// When nobody answers at `endpoint`, or not with a date.
    pub async fn clock_skew(&self, endpoint: &str) -> anyhow::Result<Duration> {
        inspect::clock_skew(endpoint, self.openwhisk.insecure()).await
    }

    /// The highest cost of one invocation, in US dollars, at the provider's list prices; none where Falco knows no price.
    pub fn price(&self, busy: Duration, memory_mib: u32) -> Option<f64> {
        match self.name() {
            PlatformName::Aws => aws::price(busy, memory_mib),
            PlatformName::Gcp => gcp::price(busy, memory_mib),
            _ => None,
        }
    }
}

/// The error for a platform whose feature is off.
fn not_built(platform: PlatformName) -> anyhow::Error {
    let value = platform.to_possible_value();
    let name = value.as_ref().map_or("", |value| value.get_name());
    anyhow::anyhow!(
        "this program was built without the platform {name:?}: build it with the feature of that name, such as \
         cargo install --path falco-cli --features {name}, or \
         cargo run --release -p falco-examples --features {name} --bin hello -- --platform {name}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_that_was_not_built_names_its_feature() {
        let error = not_built(PlatformName::Aws).to_string();
        assert!(error.contains("without the platform \"aws\""), "{error}");
        assert!(error.contains("--features aws"), "{error}");
    }
}
