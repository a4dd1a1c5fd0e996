//! Apache OpenWhisk.

use std::path::PathBuf;

use clap::Args;
#[cfg(feature = "openwhisk")]
use falco_http::Secret;

use super::inspect::{Inspected, at_home, by_variable, sources, variable};

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

/// Settings without a flag are read as the `wsk` command line reads them.
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

impl OpenWhiskFlags {
    /// Whether any certificate is accepted.
    pub(super) fn insecure(&self) -> bool {
        self.insecure
    }

    /// Where the settings were found.
    pub(super) fn inspect(&self) -> Inspected {
        let file = variable("WSK_CONFIG_FILE").map(PathBuf::from).or_else(|| at_home(".wskprops"));
        let text = file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        let has = |key: &str| {
            let mut lines = text.iter().flat_map(|text| text.lines());
            lines
                .find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))
                .map(str::to_owned)
        };
        let shown = file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        let host =
            self.apihost.clone().or_else(|| variable("WHISK_APIHOST")).or_else(|| has("APIHOST"));
        Inspected {
            credentials: Some(sources([
                self.auth.as_ref().map(|_| "the flag --auth".to_owned()),
                by_variable("WHISK_AUTH"),
                has("AUTH").map(|_| format!("the file {shown}")),
            ])),
            region: None,
            endpoint: host.map(
                |host| {
                    if host.contains("://") { host } else { format!("https://{host}") }
                },
            ),
        }
    }
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
