//! Filling in a [`GcpConfig`].

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use falco_core::{Error, ErrorKind, Operation, Result};
use falco_http::ClientConfig;

use super::{
    Access, Credentials, Endpoints, GcpConfig, GcpWaits, Service, Submission, check_segment,
    environment, invalid, whole_seconds,
};
use crate::price::PriceTable;

/// How long a function's code may take to load, unless set.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(25);

const START_TIMEOUTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);

/// Fills in a [`GcpConfig`]. What is set here wins over the environment.
#[derive(Clone, Debug)]
#[must_use]
pub struct GcpConfigBuilder {
    pub(super) project: Option<String>,
    pub(super) location: Option<String>,
    pub(super) quota_project: Option<String>,
    pub(super) credentials: Option<Credentials>,
    pub(super) impersonate: Option<String>,
    /// The values from the environment; those set here come before them.
    pub(super) endpoints: Endpoints,
    endpoint_for_all: Option<String>,
    endpoint_of: BTreeMap<Service, String>,
    access: Access,
    service_account: Option<String>,
    submission: Submission,
    max_instances: u32,
    start_timeout: Duration,
    prices: PriceTable,
    waits: GcpWaits,
    http: ClientConfig,
}

impl GcpConfigBuilder {
    pub(super) fn new() -> Self {
        Self {
            project: None,
            location: None,
            quota_project: None,
            credentials: None,
            impersonate: None,
            endpoints: Endpoints::default(),
            endpoint_for_all: None,
            endpoint_of: BTreeMap::new(),
            access: Access::default(),
            service_account: None,
            submission: Submission::default(),
            max_instances: 100,
            start_timeout: START_TIMEOUT,
            prices: PriceTable::default(),
            waits: GcpWaits::default(),
            http: ClientConfig::new(concat!("falco-gcp/", env!("CARGO_PKG_VERSION"))),
        }
    }

    /// Works in `project`; by default the one of the credentials.
    pub fn project(mut self, project: impl Into<String>) -> Self {
        self.project = Some(project.into());
        self
    }

    /// Works in `location`, such as `europe-west3`. There is no default.
    pub fn location(mut self, location: impl Into<String>) -> Self {
        self.location = Some(location.into());
        self
    }

    /// Charges the quota of API calls to `project`; by default to the one that a person's credentials name.
    pub fn quota_project(mut self, project: impl Into<String>) -> Self {
        self.quota_project = Some(project.into());
        self
    }

    /// Calls Google's services by these credentials.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Uses the credentials to act as the service account `email`.
    ///
    /// They need `roles/iam.serviceAccountTokenCreator` on it.
    pub fn impersonate(mut self, email: impl Into<String>) -> Self {
        self.impersonate = Some(email.into());
        self
    }

    /// Sends the requests to all services to one URL, for a server that speaks Google's APIs.
    ///
    /// The token endpoint is none of them: a key, or a person's credentials, name their own.
    pub fn endpoint_for_all(mut self, url: impl Into<String>) -> Self {
        self.endpoint_for_all = Some(url.into());
        self
    }

    /// Sends the requests to one service to another URL.
    pub fn endpoint(mut self, service: Service, url: impl Into<String>) -> Self {
        self.endpoint_of.insert(service, url.into());
        self
    }

    /// The callers that functions admit; the deploying identity alone unless set.
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Runs functions as the service account `email` instead of the project's default one.
    pub fn service_account(mut self, email: impl Into<String>) -> Self {
        self.service_account = Some(email.into());
        self
    }

    /// How invocations are submitted.
    pub fn submission(mut self, submission: Submission) -> Self {
        self.submission = submission;
        self
    }

    /// How many instances a function may have when its own scaling does not say; 100 unless set.
    pub fn max_instances(mut self, max_instances: u32) -> Self {
        self.max_instances = max_instances;
        self
    }

    /// How long a function's code may take to load in a new instance, from 1 second to 10 minutes and rounded up to a
    /// whole second; 25 seconds unless set, or the function's own timeout where that is longer. It leaves that much less
    /// of Google's hour to the longest timeout of a function, 3,570 seconds with the default.
    pub fn start_timeout(mut self, start_timeout: Duration) -> Self {
        self.start_timeout = start_timeout;
        self
    }

    /// The prices of your region, or of your contract.
    pub fn prices(mut self, prices: PriceTable) -> Self {
        self.prices = prices;
        self
    }

    /// How long deployments and results are waited for.
    pub fn waits(mut self, waits: GcpWaits) -> Self {
        self.waits = waits;
        self
    }

    /// How the HTTP client is made: proxies, certificates, or a client of your own.
    pub fn http(mut self, http: ClientConfig) -> Self {
        self.http = http;
        self
    }

    /// The configuration, from what was set here alone.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names the setting which is wrong, and `Unauthorized` when there are no credentials.
    pub fn build(self) -> Result<GcpConfig> {
        let mut endpoints = self.endpoints;
        endpoints.set_all(self.endpoint_for_all.as_deref())?;
        for (service, url) in &self.endpoint_of {
            endpoints.set(*service, url)?;
        }
        let credentials = self.credentials.ok_or_else(|| {
            Error::new(ErrorKind::Unauthorized, "no credentials are set")
                .at(Operation::new(crate::NAME, "configure"))
                .with_hint("set them, or use build_with_env, which finds what Google's tools find")
        })?;
        let project = self.project.or_else(|| credentials.project().map(str::to_owned));
        let location = self.location;
        for (setting, value) in [("project", &project), ("location", &location)] {
            if let Some(value) = value {
                check_segment(setting, value)?;
            }
        }
        if self.max_instances == 0 {
            return Err(invalid("max_instances must not be zero".into()));
        }
        if !START_TIMEOUTS.contains(&self.start_timeout) {
            return Err(invalid(format!(
                "invalid start_timeout {:?}: use {:?} to {:?}",
                self.start_timeout,
                START_TIMEOUTS.start(),
                START_TIMEOUTS.end()
            )));
        }
        self.submission.validate()?;
        let quota = credentials.quota_project().map(str::to_owned);
        Ok(GcpConfig {
            project,
            location,
            quota_project: self.quota_project.or(quota),
            credentials: match self.impersonate {
                Some(email) => credentials.impersonating(email),
                None => credentials,
            },
            endpoints,
            access: self.access,
            service_account: self.service_account,
            submission: self.submission,
            max_instances: self.max_instances,
            start_timeout: Duration::from_secs(whole_seconds(self.start_timeout)),
            prices: self.prices,
            waits: self.waits,
            http: self.http,
        })
    }

    /// The configuration; what was not set here comes from the environment, as in [`GcpConfig::from_env`].
    ///
    /// # Errors
    ///
    /// As [`GcpConfig::from_env`].
    pub fn build_with_env(self) -> Result<GcpConfig> {
        self.build_with(&|name| std::env::var(name).ok())
    }

    /// As [`build_with_env`](Self::build_with_env), with an environment of the caller's; for tests, mostly.
    ///
    /// # Errors
    ///
    /// As [`GcpConfig::from_env`].
    pub fn build_with(self, var: &dyn Fn(&str) -> Option<String>) -> Result<GcpConfig> {
        let var = |name: &str| var(name).filter(|value| !value.trim().is_empty());
        environment::fill_in(self, &var)?.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> GcpConfigBuilder {
        let json = r#"{"type":"authorized_user","client_id":"i","client_secret":"marked-secret",
                       "refresh_token":"marked-secret","quota_project_id":"q"}"#;
        GcpConfig::builder().credentials(Credentials::from_json(json).unwrap())
    }

    #[test]
    fn what_is_set_wins_over_the_environment() {
        let environment = [
            ("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere"),
            ("GOOGLE_CLOUD_PROJECT", "theirs"),
            ("GOOGLE_CLOUD_LOCATION", "theirs"),
            ("GOOGLE_CLOUD_QUOTA_PROJECT", "theirs"),
            ("CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT", "theirs@p"),
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN", "http://theirs"),
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING", "http://theirs"),
        ];
        let var = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let ours = user().project("ours").location("ours").quota_project("ours");
        let ours = ours.impersonate("ours@p").endpoint(Service::Run, "http://ours");
        let config = ours.build_with(&var).unwrap();
        let endpoints = &config.endpoints;
        assert_eq!((config.project(), config.location()), (Some("ours"), Some("ours")));
        assert_eq!(config.quota_project.as_deref(), Some("ours"));
        assert_eq!(endpoints.run.as_str(), "http://ours/");
        assert_eq!(endpoints.logging.as_str(), "http://theirs/");
        assert_eq!(endpoints.tasks.as_str(), "https://cloudtasks.googleapis.com/");
        let shown = format!("{config:?}");
        assert!(shown.contains("ours@p") && !shown.contains("marked"), "{shown}");
    }

    #[test]
    fn one_service_may_be_elsewhere_than_all_the_others() {
        let config = user().endpoint_for_all("http://all").endpoint(Service::Storage, "http://one");
        let endpoints = config.build().unwrap().endpoints;
        assert_eq!(endpoints.storage.as_str(), "http://one/");
        assert_eq!(endpoints.metadata.as_str(), "http://all/");
    }

    #[test]
    fn a_wrong_or_missing_setting_is_named() {
        for (builder, word) in [
            (GcpConfig::builder(), "no credentials are set"),
            (user().project("a/b"), "invalid project"),
            (user().location(""), "invalid location"),
            (user().max_instances(0), "max_instances"),
            (user().start_timeout(Duration::ZERO), "start_timeout"),
            (user().start_timeout(Duration::MAX), "start_timeout"),
            (user().endpoint_for_all("nonsense"), "endpoint"),
            (user().endpoint(Service::CloudTasks, "ftp://x"), "CloudTasks"),
        ] {
            let error = builder.build().unwrap_err();
            assert!(error.to_string().contains(word), "{word}: {error}");
        }
    }
}
