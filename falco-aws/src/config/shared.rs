//! The files that AWS's own tools share, and the credential chain over them.

use std::time::Duration;

use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_types::region::Region;

use super::AwsConfigBuilder;

/// How long the chain may take. AWS's clients for STS and IAM Identity Center wait for ever on a connection that is dead,
/// and every request waits for them. A process that asks for a one-time password has time for that.
const LONGEST_ASK: Duration = Duration::from_secs(60);

/// The settings that decide which files are read and which profile of them counts.
#[derive(Clone, Debug)]
pub(super) struct SharedSettings {
    region: Option<String>,
    profile: Option<String>,
    config: Option<String>,
    credentials: Option<String>,
}

impl SharedSettings {
    pub(super) fn new(
        builder: &AwsConfigBuilder,
        get: &(dyn Fn(&str) -> Option<String> + Send + Sync),
    ) -> Self {
        let region = builder.region.clone().or_else(|| get("AWS_REGION"));
        Self {
            region: region.or_else(|| get("AWS_DEFAULT_REGION")),
            profile: builder.profile.clone().or_else(|| get("AWS_PROFILE")),
            config: get("AWS_CONFIG_FILE"),
            credentials: get("AWS_SHARED_CREDENTIALS_FILE"),
        }
    }

    /// Reads the shared files and sets up the credential chain. The chain itself is asked at the first request only.
    pub(super) async fn load(&self) -> SdkConfig {
        let mut loader: ConfigLoader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        if self.config.is_some() || self.credentials.is_some() {
            let mut files = EnvConfigFiles::builder();
            files = match &self.config {
                Some(path) => files.with_file(EnvConfigFileKind::Config, path),
                None => files.include_default_config_file(true),
            };
            files = match &self.credentials {
                Some(path) => files.with_file(EnvConfigFileKind::Credentials, path),
                None => files.include_default_credentials_file(true),
            };
            loader = loader.profile_files(files.build());
        }
        loader.load().await
    }

    /// A provider that reads the files again each time it is asked.
    ///
    /// AWS's own chain keeps what it has read. So credentials that somebody renews during a run, with `aws sso login` or
    /// in the file, would go unnoticed. A provider is asked once in a lifetime of credentials, and when they were refused.
    pub(super) fn into_provider(self) -> SharedCredentialsProvider {
        SharedCredentialsProvider::new(Chain(self))
    }

    async fn ask(&self) -> provider::Result {
        let none = || CredentialsError::not_loaded("no provider of credentials is configured");
        let asking = async {
            let chain = self.load().await.credentials_provider().ok_or_else(none)?;
            chain.provide_credentials().await
        };
        match tokio::time::timeout(LONGEST_ASK, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(CredentialsError::provider_timed_out(LONGEST_ASK)),
        }
    }
}

#[derive(Debug)]
struct Chain(SharedSettings);

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.0.ask())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::AwsConfig;

    #[tokio::test]
    async fn credentials_that_somebody_renews_in_the_file_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials");
        let write = |key: &str| {
            let text =
                format!("[default]\naws_access_key_id={key}\naws_secret_access_key=secret\n");
            fs::write(&file, text).unwrap();
        };
        write("OLD");
        let get = |name: &str| match name {
            "AWS_SHARED_CREDENTIALS_FILE" => Some(file.display().to_string()),
            "AWS_CONFIG_FILE" => Some("/dev/null".to_owned()),
            "AWS_REGION" => Some("eu-central-1".to_owned()),
            _ => None,
        };
        let settings = SharedSettings::new(&AwsConfig::builder(), &get);
        let provider = settings.into_provider();
        assert_eq!(provider.provide_credentials().await.unwrap().access_key_id(), "OLD");
        write("NEW");
        assert_eq!(provider.provide_credentials().await.unwrap().access_key_id(), "NEW");
    }
    #[tokio::test(start_paused = true)]
    async fn a_provider_of_credentials_that_hangs_is_not_waited_for_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        fs::write(&file, "[default]\ncredential_process = sleep 20\n").unwrap();
        let get = |name: &str| match name {
            "AWS_SHARED_CREDENTIALS_FILE" => Some("/dev/null".to_owned()),
            "AWS_CONFIG_FILE" => Some(file.display().to_string()),
            "AWS_REGION" => Some("eu-central-1".to_owned()),
            _ => None,
        };
        let provider = SharedSettings::new(&AwsConfig::builder(), &get).into_provider();
        let error = provider.provide_credentials().await.unwrap_err();
        assert!(matches!(error, CredentialsError::ProviderTimedOut(_)), "{error:?}");
    }
}
