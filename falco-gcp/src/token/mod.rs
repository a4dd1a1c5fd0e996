//! Tokens: access tokens for Google's APIs, ID tokens for private functions.

mod cache;
mod file;
mod impersonation;
mod key;
mod metadata;
mod reply;
mod signer;
mod user;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use falco_core::{Error, ErrorKind, Operation, Result};
use falco_http::Secret;
use reqwest::header::HeaderValue;

pub(crate) use cache::TokenCache;
pub(crate) use metadata::Metadata;

use crate::config::{Credentials, Endpoints};
use crate::http::Http;

/// The scope of every token of Falco's.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Where tokens come from.
///
/// Implement it to bring another library, such as google-cloud-auth, and hand it over as
/// [`Credentials::Source`](crate::Credentials::Source).
///
/// # For implementers
///
/// - No caching is needed: Falco keeps each token until shortly before it expires, and asks once for all callers
///   that wait.
/// - A dropped future must not leave a later call waiting for it.
///
/// # Examples
///
/// ```
/// use falco_core::{Result, async_trait};
/// use falco_gcp::{Credentials, GcpConfig, Token, TokenSource};
/// use std::{sync::Arc, time::Duration};
///
/// #[derive(Debug)]
/// struct Fixed;
///
/// #[async_trait]
/// impl TokenSource for Fixed {
///     async fn access_token(&self) -> Result<Token> {
///         Ok(Token::new("ya29.access", Duration::from_secs(3600)))
///     }
///     async fn id_token(&self, audience: &str) -> Result<Token> {
///         Ok(Token::new(format!("header.for-{audience}.signature"), Duration::from_secs(3600)))
///     }
///     async fn email(&self) -> Result<String> {
///         Ok("falco@p.iam.gserviceaccount.com".into())
///     }
/// }
///
/// let source = Credentials::Source(Arc::new(Fixed));
/// let config = GcpConfig::builder().credentials(source).project("p").location("us-central1").build()?;
/// # Ok::<(), falco_core::Error>(())
/// ```
#[async_trait]
pub trait TokenSource: fmt::Debug + Send + Sync + 'static {
    /// A fresh access token of the scope `cloud-platform`.
    ///
    /// # Errors
    ///
    /// `Unauthorized` when the credentials are refused; `Unavailable` or `Timeout` when asking again may help.
    async fn access_token(&self) -> Result<Token>;

    /// A fresh ID token for `audience`, which is a function's URL as Google reports it.
    ///
    /// # Errors
    ///
    /// As [`access_token`](Self::access_token); `Unsupported` when these credentials cannot mint one.
    async fn id_token(&self, audience: &str) -> Result<Token>;

    /// The service account whose ID tokens these are: it is let in to the functions that Falco deploys.
    ///
    /// # Errors
    ///
    /// As [`id_token`](Self::id_token).
    async fn email(&self) -> Result<String>;
}

/// A bearer token and how long it is good for. `Debug` shows the latter only.
#[derive(Clone)]
pub struct Token {
    secret: Secret,
    valid_for: Duration,
}

impl Token {
    /// A token that is good for `valid_for` from now on.
    pub fn new(secret: impl Into<String>, valid_for: Duration) -> Self {
        Self { secret: Secret::from(secret), valid_for }
    }

    /// How long it was good for when it was made.
    pub fn valid_for(&self) -> Duration {
        self.valid_for
    }

    pub(crate) fn expose(&self) -> &str {
        self.secret.expose()
    }

    /// The value of an `Authorization` header.
    pub(crate) fn bearer(&self) -> Result<HeaderValue> {
        self.secret.to_header("Bearer ")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("valid_for", &self.valid_for).finish_non_exhaustive()
    }
}

/// The source that `credentials` describe.
pub(crate) fn source(
    credentials: &Credentials,
    endpoints: &Endpoints,
    http: &Http,
) -> Result<Arc<dyn TokenSource>> {
    Ok(match credentials {
        Credentials::ServiceAccountKey(key) => {
            Arc::new(key::KeySource::new(key.clone(), http.clone())?)
        }
        Credentials::AuthorizedUser(user) => {
            Arc::new(user::UserSource::new(user.clone(), http.clone()))
        }
        Credentials::Metadata => Arc::new(Metadata::new(endpoints.metadata.clone(), http.clone())),
        Credentials::Impersonated { source: inner, email, delegates } => {
            Arc::new(impersonation::ImpersonatedSource::new(
                source(inner, endpoints, http)?,
                email,
                delegates,
                endpoints.iam_credentials.clone(),
                http.clone(),
            )?)
        }
        Credentials::File { path, content } => {
            let content = source(content, endpoints, http)?;
            Arc::new(file::FileSource::new(path.clone(), content, endpoints.clone(), http.clone()))
        }
        Credentials::Source(source) => Arc::clone(source),
    })
}

/// An error about credentials: no function has run, whatever went wrong.
fn refused(kind: ErrorKind, message: impl Into<String>) -> Error {
    Error::new(kind, message)
        .at(Operation::new(crate::NAME, "authenticate"))
        .with_may_have_run(false)
}
