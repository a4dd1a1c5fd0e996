//! Where the gateway is, the user and password, and the image that runs Python.

use falco_core::{Error, Operation, Result};
use falco_http::reqwest::Url;
use falco_http::{ClientConfig, Secret, base_url};

use crate::waits::OpenFaasWaits;

/// How to reach an OpenFaaS gateway.
///
/// # Examples
///
/// ```
/// use falco_openfaas::OpenFaasConfig;
///
/// let config = OpenFaasConfig::builder()
///     .gateway("http://127.0.0.1:8080")
///     .python_image("registry.example/python:3")
///     .password("secret")
///     .build()?;
/// assert!(!format!("{config:?}").contains("secret"));
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OpenFaasConfig {
    pub(crate) gateway: Url,
    pub(crate) image: String,
    pub(crate) user: String,
    pub(crate) password: Option<Secret>,
    pub(crate) waits: OpenFaasWaits,
    pub(crate) http: ClientConfig,
}

impl OpenFaasConfig {
    /// A configuration that is set step by step.
    pub fn builder() -> OpenFaasConfigBuilder {
        OpenFaasConfigBuilder {
            gateway: None,
            image: None,
            user: "admin".to_owned(),
            password: None,
            waits: OpenFaasWaits::default(),
            http: ClientConfig::new(concat!("falco-openfaas/", env!("CARGO_PKG_VERSION"))),
        }
    }

    /// The environment's values for everything: `OPENFAAS_URL`, as for `faas-cli`, `OPENFAAS_PYTHON_IMAGE` and
    /// `OPENFAAS_PASSWORD`.
    ///
    /// # Errors
    ///
    /// As [`OpenFaasConfigBuilder::build`].
    pub fn from_env() -> Result<Self> {
        Self::builder().build_with_env()
    }
}

/// Sets an [`OpenFaasConfig`] step by step.
#[derive(Clone, Debug)]
#[must_use]
pub struct OpenFaasConfigBuilder {
    gateway: Option<String>,
    image: Option<String>,
    user: String,
    password: Option<Secret>,
    waits: OpenFaasWaits,
    http: ClientConfig,
}

impl OpenFaasConfigBuilder {
    /// The gateway's URL, such as `http://127.0.0.1:8080`.
    pub fn gateway(mut self, url: impl Into<String>) -> Self {
        self.gateway = Some(url.into());
        self
    }

    /// The image that runs Python functions: Python and OpenFaaS's classic watchdog.
    pub fn python_image(mut self, image: impl Into<String>) -> Self {
        self.image = Some(image.into());
        self
    }

    /// Sends this user, `admin` by default, with the password.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    /// Sends this password with every request.
    pub fn password(mut self, password: impl Into<Secret>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// How `deploy` waits for the new code.
    pub fn waits(mut self, waits: OpenFaasWaits) -> Self {
        self.waits = waits;
        self
    }

    /// Replaces timeouts, proxy, certificates, or the whole HTTP client.
    pub fn http(mut self, http: ClientConfig) -> Self {
        self.http = http;
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a gateway or an image that is missing, and for a gateway that is not a URL of http or https.
    pub fn build(self) -> Result<OpenFaasConfig> {
        let Self { gateway, image, user, password, waits, http } = self;
        let at = |error: Error| error.at(Operation::new(crate::NAME, "configure"));
        let gateway = gateway.ok_or_else(|| {
            at(Error::invalid_input("no gateway is set"))
                .with_hint("set OPENFAAS_URL to something like http://127.0.0.1:8080")
        })?;
        // The error does not show the text, which may hold a password.
        let gateway = base_url(&gateway).map_err(|error| {
            let error = at(error.context("the gateway"));
            error.with_hint("set OPENFAAS_URL to the host alone, and OPENFAAS_PASSWORD")
        })?;
        let image = image.filter(|image| !image.trim().is_empty()).ok_or_else(|| {
            at(Error::invalid_input("no image for Python functions is set"))
                .with_hint("set OPENFAAS_PYTHON_IMAGE to an image of Python and the watchdog")
        })?;
        Ok(OpenFaasConfig { gateway, image, user, password, waits, http })
    }

    /// As [`build`](Self::build), with the environment's values for what is not set; see [`OpenFaasConfig::from_env`].
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn build_with_env(self) -> Result<OpenFaasConfig> {
        self.build_with(&|name| std::env::var(name).ok())
    }

    /// As [`build_with_env`](Self::build_with_env), with variables from elsewhere.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn build_with(
        mut self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<OpenFaasConfig> {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        self.gateway = self.gateway.or_else(|| variable("OPENFAAS_URL"));
        self.image = self.image.or_else(|| variable("OPENFAAS_PYTHON_IMAGE"));
        self.password = self.password.or_else(|| variable("OPENFAAS_PASSWORD").map(Secret::from));
        self.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<OpenFaasConfig> {
        OpenFaasConfig::builder().build_with(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_names_gateway_image_and_password() {
        let config = from(&[
            ("OPENFAAS_URL", "https://faas.example"),
            ("OPENFAAS_PYTHON_IMAGE", "python"),
            ("OPENFAAS_PASSWORD", "marked-password"),
        ])
        .unwrap();
        assert_eq!(config.gateway.as_str(), "https://faas.example/");
        assert_eq!(config.password.as_ref().unwrap().expose(), "marked-password");
        assert!(!format!("{config:?}").contains("marked"), "{config:?}");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let error = from(&[]).unwrap_err();
        assert!(error.hint().unwrap().contains("OPENFAAS_URL"), "{error}");
        let url = ("OPENFAAS_URL", "http://localhost:8080");
        let error = from(&[url]).unwrap_err();
        assert!(error.hint().unwrap().contains("OPENFAAS_PYTHON_IMAGE"), "{error}");
        for wrong in ["localhost", "ftp://host", "http://admin:marked@host"] {
            let error = from(&[("OPENFAAS_URL", wrong), ("OPENFAAS_PYTHON_IMAGE", "python")]);
            let error = error.unwrap_err();
            assert!(error.to_string().contains("gateway"), "{error}");
            assert!(!format!("{error:?}").contains("marked"), "{error:?}");
        }
    }
}
