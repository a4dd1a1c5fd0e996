//! How to reach Google Cloud: project, location, credentials, endpoints, and how Falco uses them.

mod credentials;
mod endpoints;
mod environment;
mod submission;

use std::time::Duration;

use falco_core::{Error, Result};
use falco_http::ClientConfig;

pub use credentials::{AuthorizedUser, Credentials, ServiceAccountKey};
pub use endpoints::Endpoints;
pub use submission::{CloudTasks, Submission};

use crate::price::PriceTable;

/// How to reach Google Cloud Functions, and how Falco uses them.
///
/// [`from_env`](Self::from_env) reads what Google's own tools read; each `with_` method overrides one setting.
/// What is still missing after that, project or location, is asked of the metadata server by
/// [`Gcp::connect`](crate::Gcp::connect), when the credentials are the metadata server's.
///
/// # Examples
///
/// ```
/// use falco_gcp::{Config, Credentials, ServiceAccountKey};
///
/// let key = ServiceAccountKey::from_json(
///     r#"{"type":"service_account","client_email":"falco@p.iam.gserviceaccount.com","private_key":"-----BEGIN...",
///         "private_key_id":"1","project_id":"p","token_uri":"https://oauth2.googleapis.com/token"}"#,
/// )?;
/// let config = Config::new(Credentials::ServiceAccountKey(key)).with_location("europe-west3");
/// assert_eq!(config.project(), Some("p"));
/// assert!(!format!("{config:?}").contains("BEGIN"));
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Config {
    pub(crate) project: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) quota_project: Option<String>,
    pub(crate) credentials: Credentials,
    pub(crate) endpoints: Endpoints,
    pub(crate) access: Access,
    pub(crate) service_account: Option<String>,
    pub(crate) submission: Submission,
    pub(crate) max_instances: u32,
    pub(crate) prices: PriceTable,
    pub(crate) polling: Polling,
    pub(crate) http: ClientConfig,
}

impl Config {
    /// The defaults with these credentials, reading nothing from the environment.
    pub fn new(credentials: Credentials) -> Self {
        Self {
            project: credentials.project().map(str::to_owned),
            location: None,
            quota_project: credentials.quota_project().map(str::to_owned),
            credentials,
            endpoints: Endpoints::default(),
            access: Access::default(),
            service_account: None,
            submission: Submission::default(),
            max_instances: 100,
            prices: PriceTable::default(),
            polling: Polling::default(),
            http: ClientConfig::new(concat!("falco-gcp/", env!("CARGO_PKG_VERSION"))),
        }
    }

    /// What Google's own tools would use: Application Default Credentials, and the variables listed in the
    /// [crate's documentation](crate#configuration).
    ///
    /// It reads variables and files and opens no connection.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names the variable or file that cannot be used, and `Unauthorized` with the list of
    /// what was looked at when there are no credentials at all.
    pub fn from_env() -> Result<Self> {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    /// As [`from_env`](Self::from_env), with variables from `var` instead of the process's environment.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Self> {
        environment::read(&|name| var(name).filter(|value| !value.trim().is_empty()))
    }

    /// The project, as far as it is known without asking the metadata server.
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// The location, as far as it is known without asking the metadata server.
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// The base URLs of Google's services.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Works in `project`.
    pub fn with_project(mut self, project: impl Into<String>) -> Self {
        self.project = Some(project.into());
        self
    }

    /// Works in `location`, such as `europe-west3`.
    pub fn with_location(mut self, location: impl Into<String>) -> Self {
        self.location = Some(location.into());
        self
    }

    /// Charges the quota of API calls to `project`.
    pub fn with_quota_project(mut self, project: impl Into<String>) -> Self {
        self.quota_project = Some(project.into());
        self
    }

    /// Uses `credentials` instead.
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// Uses the credentials to act as the service account `email`.
    ///
    /// They need `roles/iam.serviceAccountTokenCreator` on it.
    pub fn impersonating(mut self, email: impl Into<String>) -> Self {
        self.credentials = Credentials::Impersonated {
            source: Box::new(self.credentials),
            email: email.into(),
            delegates: Vec::new(),
        };
        self
    }

    /// Reaches Google's services at other addresses, such as those of a local server.
    pub fn with_endpoints(mut self, endpoints: Endpoints) -> Self {
        self.endpoints = endpoints;
        self
    }

    /// Sets who may call what is deployed.
    pub fn with_access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Runs functions as the service account `email` instead of the project's default one.
    pub fn with_service_account(mut self, email: impl Into<String>) -> Self {
        self.service_account = Some(email.into());
        self
    }

    /// Sets how invocations are submitted.
    pub fn with_submission(mut self, submission: Submission) -> Self {
        self.submission = submission;
        self
    }

    /// Sets how many instances a function may have when its own scaling does not say; 100 unless set.
    pub fn with_max_instances(mut self, max_instances: u32) -> Self {
        self.max_instances = max_instances;
        self
    }

    /// Reckons costs by other prices.
    pub fn with_prices(mut self, prices: PriceTable) -> Self {
        self.prices = prices;
        self
    }

    /// Sets how patiently deployments and results are awaited.
    pub fn with_polling(mut self, polling: Polling) -> Self {
        self.polling = polling;
        self
    }

    /// Makes HTTP clients by `http`: for a proxy, own certificate authorities, or a client made elsewhere.
    pub fn with_http(mut self, http: ClientConfig) -> Self {
        self.http = http;
        self
    }

    pub(crate) fn validate(&self) -> Result<()> {
        for (setting, value) in [("project", &self.project), ("location", &self.location)] {
            if let Some(value) = value {
                check_segment(setting, value)?;
            }
        }
        if self.max_instances == 0 {
            return Err(invalid("max_instances must not be zero".into()));
        }
        self.submission.validate()
    }
}

/// Project and location become parts of a path, so that nothing else may be smuggled in with them.
pub(crate) fn check_segment(setting: &str, value: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if value.is_empty() || !value.chars().all(plain) || value.contains("..") {
        return Err(invalid(format!("{value:?} is no {setting} of Google Cloud")));
    }
    Ok(())
}

fn invalid(message: String) -> Error {
    Error::invalid_input(message).with_platform(crate::NAME).with_operation("configure")
}

/// Who may call a function that Falco deploys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// The service account that deploys it (and the one that dispatches its tasks): it is granted
    /// `roles/run.invoker` on the function's Run service, and `deploy` waits until the grant acts.
    #[default]
    Caller,
    /// Everybody: `allUsers` is granted `roles/run.invoker`, and calls carry no token.
    Public,
    /// Whoever the project's policies let in: nothing is granted, and `deploy` does not wait.
    Unchanged,
}

/// How patiently Falco waits for Google's long-running operations, for grants, and for results.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Polling {
    /// The first wait between two looks; 1.5 seconds unless set.
    pub first: Duration,
    /// The longest wait between two looks, which grow by half each time; 10 seconds unless set.
    pub longest: Duration,
    /// How long a function may take to be deployed, changed or deleted; 25 minutes unless set.
    pub operation: Duration,
    /// How long a grant of access may take to act; 5 minutes unless set.
    pub grant: Duration,
    /// The wait between two looks for results of submitted invocations; 1 second unless set.
    pub results: Duration,
}

impl Default for Polling {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(1_500),
            longest: Duration::from_secs(10),
            operation: Duration::from_secs(25 * 60),
            grant: Duration::from_secs(5 * 60),
            results: Duration::from_secs(1),
        }
    }
}

impl Polling {
    /// Every wait, and none longer, as `wait`: for servers that answer at once.
    pub fn every(wait: Duration) -> Self {
        Self { first: wait, longest: wait, results: wait, ..Self::default() }
    }

    /// The wait after one of `wait`.
    pub(crate) fn next(&self, wait: Duration) -> Duration {
        wait.mul_f32(1.5).min(self.longest)
    }
}
