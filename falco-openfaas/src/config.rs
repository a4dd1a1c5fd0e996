//! Where the gateway is, who asks, and which image runs Python.

use std::time::Duration;

use falco_core::{Error, Result};
use falco_http::reqwest::Url;
use falco_http::{ClientConfig, Secret};

/// How to reach an OpenFaaS gateway.
///
/// # Examples
///
/// ```
/// use falco_openfaas::OpenFaasConfig;
///
/// let config = OpenFaasConfig::new("http://127.0.0.1:8080", "registry.example/python:3")?
///     .with_password("secret");
/// assert!(!format!("{config:?}").contains("secret"));
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OpenFaasConfig {
    pub(crate) gateway: Url,
    pub(crate) image: String,
    pub(crate) user: String,
    pub(crate) password: Option<Secret>,
    pub(crate) http: ClientConfig,
    pub(crate) rollout: Rollout,
}

/// How `deploy` waits until the new code answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rollout {
    pub(crate) interval: Duration,
    pub(crate) patience: Duration,
}

impl OpenFaasConfig {
    /// A gateway by its URL, and the image that runs Python functions: Python and OpenFaaS's classic watchdog.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `gateway` is not a URL of http or https, or `image` is empty.
    pub fn new(gateway: &str, image: impl Into<String>) -> Result<Self> {
        let invalid = |error: Error| {
            error
                .with_platform(crate::NAME)
                .with_hint("set OPENFAAS_URL to something like http://127.0.0.1:8080")
        };
        let gateway = Url::parse(gateway).map_err(|e| {
            // Not the text itself: it may hold a password.
            invalid(Error::invalid_input("the gateway is not a URL").with_source(&e))
        })?;
        if !matches!(gateway.scheme(), "http" | "https") {
            return Err(invalid(Error::invalid_input("the gateway speaks http or https only")));
        }
        if !gateway.username().is_empty() || gateway.password().is_some() {
            return Err(invalid(Error::invalid_input(
                "the gateway's URL must not hold a password",
            ))
            .with_hint("set OPENFAAS_PASSWORD"));
        }
        let image = image.into();
        if image.trim().is_empty() {
            return Err(Error::invalid_input("no image is named")
                .with_platform(crate::NAME)
                .with_hint("set OPENFAAS_PYTHON_IMAGE to an image of Python and the watchdog"));
        }
        Ok(Self {
            gateway,
            image,
            user: "admin".to_owned(),
            password: None,
            http: ClientConfig::new(concat!("falco-openfaas/", env!("CARGO_PKG_VERSION"))),
            rollout: Rollout {
                interval: Duration::from_millis(500),
                patience: Duration::from_secs(120),
            },
        })
    }

    /// The values from the environment: `OPENFAAS_URL`, as for `faas-cli`, `OPENFAAS_PYTHON_IMAGE` and
    /// `OPENFAAS_PASSWORD`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names the variable which is missing or wrong.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let required = |name: &str| {
            variable(name).ok_or_else(|| {
                Error::invalid_input(format!("{name} is not set")).with_platform(crate::NAME)
            })
        };
        let config = Self::new(&required("OPENFAAS_URL")?, required("OPENFAAS_PYTHON_IMAGE")?)?;
        Ok(match variable("OPENFAAS_PASSWORD") {
            Some(password) => config.with_password(password),
            None => config,
        })
    }

    /// Sends this password, and the user `admin`, with every request.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<Secret>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Sends another user than `admin`.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    /// How often `deploy` asks whether the new code answers, and for how long: twice a second, two minutes.
    #[must_use]
    pub fn with_rollout(mut self, interval: Duration, patience: Duration) -> Self {
        self.rollout = Rollout { interval, patience };
        self
    }

    /// Replaces timeouts, proxy, certificates, or the whole HTTP client.
    #[must_use]
    pub fn with_http(mut self, http: ClientConfig) -> Self {
        self.http = http;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<OpenFaasConfig> {
        OpenFaasConfig::from_variables(|name| {
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
        assert!(error.to_string().contains("OPENFAAS_URL"), "{error}");
        let url = ("OPENFAAS_URL", "http://localhost:8080");
        let error = from(&[url]).unwrap_err();
        assert!(error.to_string().contains("OPENFAAS_PYTHON_IMAGE"), "{error}");
        for wrong in ["localhost", "ftp://host", "http://admin:marked@host"] {
            let error = from(&[("OPENFAAS_URL", wrong), ("OPENFAAS_PYTHON_IMAGE", "python")]);
            let error = error.unwrap_err();
            assert!(error.to_string().contains("gateway"), "{error}");
            assert!(!format!("{error:?}").contains("marked"), "{error:?}");
        }
    }
}
