//! Apache OpenWhisk.

use clap::Args;
#[cfg(feature = "openwhisk")]
use falco_http::Secret;

/// Stands for the secret, which nobody reads without the platform.
#[cfg(not(feature = "openwhisk"))]
#[derive(Clone, Debug)]
struct Secret;

#[cfg(not(feature = "openwhisk"))]
impl From<&str> for Secret {
    fn from(_: &str) -> Self {
        Self
    }
}

/// What is not named is read as the `wsk` command line reads it.
#[cfg_attr(
    not(feature = "openwhisk"),
    allow(dead_code, reason = "parsed, so that --help and errors are the same")
)]
#[derive(Debug, Args)]
#[command(next_help_heading = "OpenWhisk (else WHISK_APIHOST, WHISK_AUTH, ~/.wskprops)")]
pub(super) struct OpenWhiskFlags {
    /// The API host, with or without a scheme.
    #[arg(long, alias = "host", value_name = "HOST")]
    apihost: Option<String>,

    /// The key, as UUID:KEY. Others can see a command line: keep real keys in ~/.wskprops.
    #[arg(long, alias = "token", value_name = "KEY")]
    auth: Option<Secret>,

    /// The namespace [default: the key's own]
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,

    /// Accept any certificate of the API host.
    #[arg(long)]
    insecure: bool,
}

#[cfg(feature = "openwhisk")]
impl OpenWhiskFlags {
    pub(super) async fn connect(
        &self,
    ) -> anyhow::Result<std::sync::Arc<dyn falco_core::AsyncPlatform>> {
        use falco_openwhisk::{ClientConfig, OpenWhisk, OpenWhiskConfig};

        let mut config = OpenWhiskConfig::builder();
        if self.insecure {
            let http = ClientConfig::new(concat!("falco-cli/", env!("CARGO_PKG_VERSION")));
            config = config.http(http.with_insecure(true));
        }
        if let Some(apihost) = &self.apihost {
            config = config.apihost(apihost);
        }
        if let Some(auth) = &self.auth {
            config = config.auth(auth.clone());
        }
        if let Some(namespace) = &self.namespace {
            config = config.namespace(namespace);
        }
        Ok(std::sync::Arc::new(OpenWhisk::connect(config.build_with_env()?).await?))
    }
}
