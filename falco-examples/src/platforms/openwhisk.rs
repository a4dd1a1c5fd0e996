//! Apache OpenWhisk.

use std::sync::Arc;

use clap::Args;
use falco_core::AsyncPlatform;
use falco_http::Secret;
use falco_openwhisk::{ClientConfig, OpenWhisk, OpenWhiskConfig};

/// What is not named is read as the `wsk` command line reads it.
#[derive(Debug, Args)]
#[command(next_help_heading = "OpenWhisk (else WHISK_APIHOST, WHISK_AUTH, ~/.wskprops)")]
pub(super) struct OpenWhiskArguments {
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

impl OpenWhiskArguments {
    pub(super) async fn connect(&self) -> anyhow::Result<Arc<dyn AsyncPlatform>> {
        let mut config = OpenWhiskConfig::builder();
        if self.insecure {
            let http = ClientConfig::new(concat!("falco-examples/", env!("CARGO_PKG_VERSION")));
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
        Ok(Arc::new(OpenWhisk::connect(config.build_with_env()?).await?))
    }
}
