//! Where the platform is, who asks, and how long this crate waits.

use std::time::Duration;

use falco_core::{Error, Operation, Result, setters};
use falco_http::reqwest::Url;
use falco_http::{ClientConfig, Secret, base_url};

/// How to reach {{Name}}.
///
/// # Examples
///
/// ```
/// use falco_{{name}}::{{Name}}Config;
///
/// let config =
///     {{Name}}Config::builder().endpoint("http://127.0.0.1:8080").token("secret").build()?;
/// assert!(!format!("{config:?}").contains("secret"));
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct {{Name}}Config {
    pub(crate) endpoint: Url,
    pub(crate) token: Option<Secret>,
    pub(crate) waits: {{Name}}Waits,
    pub(crate) http: ClientConfig,
}

/// How `deploy` waits until the new code answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct {{Name}}Waits {
    /// How often `deploy` asks whether the new code answers; twice a second by default.
    pub rollout_interval: Duration,
    /// How long `deploy` waits for the new code; two minutes by default.
    pub rollout_timeout: Duration,
}

impl Default for {{Name}}Waits {
    fn default() -> Self {
        let (rollout_interval, rollout_timeout) = (Duration::from_millis(500), Duration::from_secs(120));
        Self { rollout_interval, rollout_timeout }
    }
}

impl {{Name}}Waits {
    setters! {
        /// Sets how often `deploy` asks whether the new code answers.
        with_rollout_interval(rollout_interval: Duration);
        /// Sets how long `deploy` waits for the new code.
        with_rollout_timeout(rollout_timeout: Duration);
    }
}

impl {{Name}}Config {
    /// A configuration that is set step by step.
    pub fn builder() -> {{Name}}ConfigBuilder {
        {{Name}}ConfigBuilder {
            endpoint: None,
            token: None,
            waits: {{Name}}Waits::default(),
            http: ClientConfig::new(concat!("falco-{{name}}/", env!("CARGO_PKG_VERSION"))),
        }
    }

    /// The environment's values for everything: `{{NAME}}_ENDPOINT` and `{{NAME}}_TOKEN`.
    ///
    /// # Errors
    ///
    /// As [`{{Name}}ConfigBuilder::build`].
    pub fn from_env() -> Result<Self> {
        Self::builder().build_with_env()
    }
}

/// Sets a [`{{Name}}Config`] step by step.
#[derive(Clone, Debug)]
#[must_use]
pub struct {{Name}}ConfigBuilder {
    endpoint: Option<String>,
    token: Option<Secret>,
    waits: {{Name}}Waits,
    http: ClientConfig,
}

impl {{Name}}ConfigBuilder {
    /// The URL of the provider's API.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Sends this token with every request.
    pub fn token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// How `deploy` waits for the new code.
    pub fn waits(mut self, waits: {{Name}}Waits) -> Self {
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
    /// `InvalidInput` for an endpoint that is missing or not a URL of http or https.
    pub fn build(self) -> Result<{{Name}}Config> {
        let Self { endpoint, token, waits, http } = self;
        let invalid = |error: Error| {
            error
                .at(Operation::new(crate::NAME, "configure"))
                .with_hint("set {{NAME}}_ENDPOINT to something like http://127.0.0.1:8080")
        };
        let endpoint =
            endpoint.ok_or_else(|| invalid(Error::invalid_input("no endpoint is set")))?;
        // The error does not show the text, which may hold a password.
        let endpoint =
            base_url(&endpoint).map_err(|error| invalid(error.context("the endpoint")))?;
        Ok({{Name}}Config { endpoint, token, waits, http })
    }

    /// As [`build`](Self::build), with the environment's values for what is not set; see [`{{Name}}Config::from_env`].
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn build_with_env(self) -> Result<{{Name}}Config> {
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
    ) -> Result<{{Name}}Config> {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        self.endpoint = self.endpoint.or_else(|| variable("{{NAME}}_ENDPOINT"));
        self.token = self.token.or_else(|| variable("{{NAME}}_TOKEN").map(Secret::from));
        self.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_endpoint_is_refused_without_being_quoted() {
        for wrong in ["localhost", "ftp://host", "http://admin:marked@host"] {
            let error = {{Name}}Config::builder().endpoint(wrong).build().unwrap_err();
            assert!(error.to_string().contains("endpoint"), "{error}");
            assert!(!format!("{error:?}").contains("marked"), "{error:?}");
        }
    }

    #[test]
    fn what_is_set_wins_over_the_environment() {
        let variable = |name: &str| match name {
            "{{NAME}}_ENDPOINT" => Some("http://of.the.environment".to_owned()),
            _ => None,
        };
        let set = {{Name}}Config::builder().endpoint("http://set").build_with(&variable).unwrap();
        assert_eq!(set.endpoint.as_str(), "http://set/");
        let found = {{Name}}Config::builder().build_with(&variable).unwrap();
        assert_eq!(found.endpoint.as_str(), "http://of.the.environment/");
    }
}
