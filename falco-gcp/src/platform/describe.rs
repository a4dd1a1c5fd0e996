//! A function of Google's as a deployment of Falco's.

use std::time::Duration;

use falco_core::{Deployment, Error, ErrorKind, Result, RuntimeName};
use reqwest::Url;

use super::{Inner, names, sizes};
use crate::client::Function;
use crate::config::START_TIMEOUT;

/// Attributes of a deployment.
pub(super) mod attribute {
    /// The URL of its Run service, which is the audience of its ID tokens too.
    pub(crate) const URI: &str = "uri";
    /// Its Run service.
    pub(crate) const SERVICE: &str = "service";
    /// The revision that was the newest.
    pub(crate) const REVISION: &str = "revision";
    /// The queue of its tasks.
    pub(crate) const QUEUE: &str = "queue";
    /// The bucket of its results.
    pub(crate) const BUCKET: &str = "bucket";
    /// How long it may take to start, in seconds.
    pub(crate) const START: &str = "start_timeout";
}

impl Inner {
    pub(super) fn describe(&self, function: &Function) -> Result<Deployment> {
        let full_name = Self::checked_name(&function.name, "function")?;
        let runtime = names::runtime_of(function).unwrap_or_else(unknown_runtime);
        let mut deployment = Deployment::new(names::name_of(function), runtime)
            .with_platform(crate::NAME)
            .with_id(full_name)
            .with_scaling(sizes::in_force(function))
            .with_ownership(names::ownership_of(function));
        let config = &function.service_config;
        let (queue, bucket) = names::shared_of(function);
        for (name, value) in [
            (attribute::URI, Some(config.uri.clone())),
            (attribute::SERVICE, Some(config.service.clone())),
            (attribute::REVISION, Some(config.revision.clone())),
            (attribute::QUEUE, queue),
            (attribute::BUCKET, bucket),
            (attribute::START, Some(names::start_of(function).as_secs().to_string())),
        ] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                deployment = deployment.with_attribute(name, value);
            }
        }
        Ok(deployment)
    }

    /// How long a function may take to start.
    pub(super) fn start_timeout_of(deployment: &Deployment) -> Duration {
        let seconds = deployment.attribute(attribute::START).and_then(|text| text.parse().ok());
        seconds.map_or(START_TIMEOUT, Duration::from_secs)
    }

    /// Where a function is called. Tokens go there, so it has to be encrypted, unless everything is local anyway.
    pub(super) fn uri(&self, deployment: &Deployment) -> Result<Url> {
        let Some(uri) = deployment.attribute(attribute::URI) else {
            return Err(Error::new(
                ErrorKind::NotFound,
                "the function has no URL: its deployment has failed",
            )
            .with_hint("deploy it again"));
        };
        let is_local = self.api.endpoints.functions.scheme() == "http";
        match Url::parse(uri) {
            Ok(url) if url.scheme() == "https" || (is_local && url.scheme() == "http") => Ok(url),
            _ => {
                Err(Error::new(ErrorKind::Protocol, "the function's URL is not a valid https URL"))
            }
        }
    }
}

fn unknown_runtime() -> RuntimeName {
    #[expect(clippy::expect_used, reason = "a constant that every runtime name's rules allow")]
    "unknown".parse().expect("a constant name")
}
