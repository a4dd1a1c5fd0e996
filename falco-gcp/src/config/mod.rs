//! How to reach Google Cloud: project, location, credentials, endpoints, and how Falco uses them.

mod access;
mod builder;
mod credentials;
mod endpoints;
mod environment;
mod submission;
mod waits;

use std::time::Duration;

use falco_core::{Error, Operation, Result};
use falco_http::ClientConfig;

pub use access::Access;
pub use builder::GcpConfigBuilder;
pub(crate) use builder::START_TIMEOUT;
pub use credentials::{AuthorizedUser, Credentials, ServiceAccountKey};
pub(crate) use endpoints::Endpoints;
pub use endpoints::Service;
pub use submission::{CloudTasks, Submission};
pub use waits::GcpWaits;

use crate::price::PriceTable;

/// How to reach Google Cloud Functions, and how Falco uses them. `Debug` shows no secret.
///
/// A project or location that is missing is asked of the metadata server by
/// [`GcpFunctions::connect`](crate::GcpFunctions::connect), when the credentials are the metadata server's.
///
/// # Examples
///
/// Everything named here:
///
/// ```
/// use falco_gcp::{Credentials, GcpConfig};
///
/// let key = Credentials::from_json(
///     r#"{"type":"service_account","client_email":"falco@p.iam.gserviceaccount.com","private_key":"-----BEGIN...",
///         "private_key_id":"1","project_id":"p","token_uri":"https://oauth2.googleapis.com/token"}"#,
/// )?;
/// let config = GcpConfig::builder().credentials(key).location("europe-west3").build()?;
/// assert_eq!(config.project(), Some("p"));
/// assert!(!format!("{config:?}").contains("BEGIN"));
/// # Ok::<(), falco_core::Error>(())
/// ```
///
/// The configuration of Google's own tools, in another location:
///
/// ```no_run
/// # use falco_gcp::GcpConfig;
/// let config = GcpConfig::builder().location("europe-west3").build_with_env()?;
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct GcpConfig {
    pub(crate) project: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) quota_project: Option<String>,
    pub(crate) credentials: Credentials,
    pub(crate) endpoints: Endpoints,
    pub(crate) access: Access,
    pub(crate) service_account: Option<String>,
    pub(crate) submission: Submission,
    pub(crate) max_instances: u32,
    pub(crate) start_timeout: Duration,
    pub(crate) prices: PriceTable,
    pub(crate) waits: GcpWaits,
    pub(crate) http: ClientConfig,
}

impl GcpConfig {
    /// Begins a configuration in which nothing is set.
    pub fn builder() -> GcpConfigBuilder {
        GcpConfigBuilder::new()
    }

    /// The configuration of Google's own tools: Application Default Credentials, and the variables listed in the
    /// [crate's documentation](crate#configuration).
    ///
    /// It reads variables and files and opens no connection.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names the variable or file that cannot be used, and `Unauthorized` with the list of
    /// what was looked at when there are no credentials at all.
    pub fn from_env() -> Result<Self> {
        Self::builder().build_with_env()
    }

    /// The project, as far as it is known without asking the metadata server.
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// The location, as far as it is known without asking the metadata server.
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }
}

/// No name of Google's that is configured is longer.
const MAX_SEGMENT: usize = 500;

/// Project and location become parts of a path, so that nothing else may be smuggled in with them.
pub(crate) fn check_segment(setting: &str, value: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if value.is_empty()
        || value.len() > MAX_SEGMENT
        || !value.chars().all(plain)
        || value.contains("..")
    {
        return Err(invalid(format!(
            "invalid {setting} {value:?}: use letters, digits, '-', '_', '.' or ':'"
        )));
    }
    Ok(())
}

/// A whole number of seconds, as Google counts, never less than asked for.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn invalid(message: String) -> Error {
    Error::invalid_input(message).at(Operation::new(crate::NAME, "configure"))
}
