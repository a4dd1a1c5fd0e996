//! Where the platform is, and who asks.

use falco_core::{Error, Result};
use falco_http::reqwest::Url;
use falco_http::{ClientConfig, Secret};

/// How to reach {{Name}}.
///
/// # Examples
///
/// ```
/// use falco_{{name}}::{{Name}}Config;
///
/// let config = {{Name}}Config::new("http://127.0.0.1:8080")?.with_token("secret");
/// assert!(!format!("{config:?}").contains("secret"));
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct {{Name}}Config {
    pub(crate) gateway: Url,
    pub(crate) token: Option<Secret>,
    pub(crate) http: ClientConfig,
}

impl {{Name}}Config {
    /// A gateway by its URL, without a token.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `gateway` is not a URL of http or https, or holds a password.
    pub fn new(gateway: &str) -> Result<Self> {
        let invalid = |error: Error| {
            error
                .with_platform(crate::NAME)
                .with_hint("set {{NAME}}_GATEWAY to something like http://127.0.0.1:8080")
        };
        let gateway = Url::parse(gateway).map_err(|e| {
            // Not the text itself: it may hold a password.
            invalid(Error::invalid_input("the gateway is not a URL").with_source(&e))
        })?;
        if !matches!(gateway.scheme(), "http" | "https") {
            return Err(invalid(Error::invalid_input("the gateway speaks http or https only")));
        }
        if !gateway.username().is_empty() || gateway.password().is_some() {
            let error = Error::invalid_input("the gateway's URL must not hold a password");
            return Err(error.with_platform(crate::NAME).with_hint("set {{NAME}}_TOKEN"));
        }
        let http = ClientConfig::new(concat!("falco-{{name}}/", env!("CARGO_PKG_VERSION")));
        Ok(Self { gateway, token: None, http })
    }

    /// The values from the environment: `{{NAME}}_GATEWAY` and `{{NAME}}_TOKEN`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names the variable which is missing or wrong.
    pub fn from_env() -> Result<Self> {
        let Ok(gateway) = std::env::var("{{NAME}}_GATEWAY") else {
            return Err(Error::invalid_input("{{NAME}}_GATEWAY is not set")
                .with_platform(crate::NAME)
                .with_hint("set it to the URL of the gateway"));
        };
        let config = Self::new(&gateway)?;
        Ok(match std::env::var("{{NAME}}_TOKEN") {
            Ok(token) => config.with_token(token),
            Err(_) => config,
        })
    }

    /// Sends this token with every request.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Some(token.into());
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

    #[test]
    fn a_bad_gateway_is_refused_without_being_quoted() {
        for wrong in ["localhost", "ftp://host", "http://admin:marked@host", "http://marked@host:port"] {
            let error = {{Name}}Config::new(wrong).unwrap_err();
            assert!(error.to_string().contains("gateway"), "{error}");
            assert!(!format!("{error:?}").contains("marked"), "{error:?}");
        }
    }
}
