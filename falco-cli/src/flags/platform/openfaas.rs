//! OpenFaaS.

use clap::Args;

use super::inspect::{Inspected, by_variable, sources, variable};

/// Without a flag, the gateway is read from `OPENFAAS_URL`, as `faas-cli` does, and the image from `OPENFAAS_PYTHON_IMAGE`. The
/// password has no flag, since others can see a command line: it is read from `OPENFAAS_PASSWORD`.
#[cfg_attr(
    not(feature = "openfaas"),
    allow(dead_code, reason = "parsed, so that --help and errors are the same")
)]
#[derive(Debug, Args)]
#[command(
    next_help_heading = "OpenFaaS (else OPENFAAS_URL, OPENFAAS_PYTHON_IMAGE; OPENFAAS_PASSWORD)"
)]
pub(super) struct OpenFaasFlags {
    /// The gateway, such as http://127.0.0.1:8080.
    #[arg(long, value_name = "URL")]
    gateway: Option<String>,

    /// The image that runs functions in Python: Python and OpenFaaS's classic watchdog.
    #[arg(long, value_name = "IMAGE")]
    python_image: Option<String>,
}

impl OpenFaasFlags {
    /// Where the settings were found.
    pub(super) fn inspect(&self) -> Inspected {
        let gateway = self.gateway.clone().or_else(|| variable("OPENFAAS_URL"));
        Inspected {
            credentials: Some(sources([by_variable("OPENFAAS_PASSWORD")])),
            region: None,
            // A URL with a user holds a password, too: connecting refuses it, and nobody shows it.
            endpoint: gateway.filter(|url| !url.contains('@')),
        }
    }
}

#[cfg(feature = "openfaas")]
impl OpenFaasFlags {
    pub(super) async fn connect(
        &self,
    ) -> anyhow::Result<std::sync::Arc<dyn falco_core::AsyncPlatform>> {
        use falco_openfaas::{OpenFaas, OpenFaasConfig};

        let mut config = OpenFaasConfig::builder();
        if let Some(gateway) = &self.gateway {
            config = config.gateway(gateway);
        }
        if let Some(image) = &self.python_image {
            config = config.python_image(image);
        }
        Ok(std::sync::Arc::new(OpenFaas::connect(config.build_with_env()?).await?))
    }
}
