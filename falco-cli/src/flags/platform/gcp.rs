//! Google Cloud Functions, 2nd generation.

use clap::Args;

/// What is not named is read as Google's own tools read it.
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

#[cfg(feature = "gcp")]
impl GcpFlags {
    pub(super) async fn connect(
        &self,
    ) -> anyhow::Result<std::sync::Arc<dyn falco_core::AsyncPlatform>> {
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
        Ok(std::sync::Arc::new(GcpFunctions::connect(config.build_with_env()?).await?))
    }
}
