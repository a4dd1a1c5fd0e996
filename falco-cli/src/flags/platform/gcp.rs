//! Google Cloud Functions, 2nd generation.

use std::time::Duration;

use clap::Args;

use super::inspect::{Inspected, at_home, by_variable, setting, sources, variable};

/// Settings without a flag are read as Google's own tools read them.
#[cfg_attr(
    not(feature = "gcp"),
    allow(dead_code, reason = "parsed, so that --help and errors are the same")
)]
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Google Cloud (else Application Default Credentials, GOOGLE_CLOUD_PROJECT, ..)"
)]
pub(super) struct GcpFlags {
    /// The project.
    #[arg(long, value_name = "ID")]
    project: Option<String>,

    /// The location, such as europe-west3.
    #[arg(long, value_name = "NAME")]
    location: Option<String>,

    /// Submit through Cloud Tasks with results in Cloud Storage, instead of calls that are held open.
    #[arg(long)]
    cloud_tasks: bool,
}

impl GcpFlags {
    /// Where the settings were found.
    pub(super) fn inspect(&self) -> Inspected {
        let file = at_home(".config/gcloud/application_default_credentials.json");
        let endpoint = variable("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDFUNCTIONS");
        Inspected {
            credentials: Some(sources([
                by_variable("GOOGLE_APPLICATION_CREDENTIALS"),
                file.map(|file| format!("the file {}", file.display())),
            ])),
            region: setting(self.location.as_ref(), "--location", &["GOOGLE_CLOUD_LOCATION"]),
            endpoint: endpoint.or_else(|| Some("https://cloudfunctions.googleapis.com".to_owned())),
        }
    }
}

/// The highest cost of one invocation.
#[cfg(feature = "gcp")]
pub(super) fn price(busy: Duration, memory_mib: u32) -> Option<f64> {
    // As many processors as Google gives an instance of that size, or more.
    let cpus = f64::from(memory_mib.div_ceil(2_048).max(1));
    Some(falco_gcp::PriceTable::default().activation(busy, cpus, memory_mib).0)
}

/// Without the platform nobody knows its prices.
#[cfg(not(feature = "gcp"))]
pub(super) fn price(_: Duration, _: u32) -> Option<f64> {
    None
}

#[cfg(feature = "gcp")]
impl GcpFlags {
    pub(super) async fn connect(
        &self,
    ) -> anyhow::Result<std::sync::Arc<dyn falco_core::AsyncPlatform>> {
        Ok(std::sync::Arc::new(self.platform().await?))
    }

    /// The permissions that the caller needs.
    pub(super) async fn permissions(&self) -> anyhow::Result<Vec<falco_core::Permission>> {
        Ok(self.platform().await?.permissions().await?)
    }

    async fn platform(&self) -> anyhow::Result<falco_gcp::GcpFunctions> {
        use falco_gcp::{CloudTasks, GcpConfig, GcpFunctions, Submission};

        let mut config = GcpConfig::builder();
        if let Some(project) = &self.project {
            config = config.project(project);
        }
        if let Some(location) = &self.location {
            config = config.location(location);
        }
        if self.cloud_tasks {
            config = config.submission(Submission::CloudTasks(CloudTasks::default()));
        }
        Ok(GcpFunctions::connect(config.build_with_env()?).await?)
    }
}
