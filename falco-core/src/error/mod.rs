//! The one error of Falco: what failed, where, whether it may be repeated, and what to do about it.

mod format;

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error_kind::ErrorKind;
use crate::operation::Operation;

/// A `Result` whose error is Falco's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call to Falco or to a platform failed.
///
/// An error of a *function* is not an `Error`: it comes back as an [`Activation`](crate::Activation) whose
/// outcome is a [`FunctionError`](crate::FunctionError).
///
/// Two questions decide whether a call may be repeated, and they are independent:
/// [`is_retryable`](Self::is_retryable) (is there hope?) and [`may_have_run`](Self::may_have_run) (is it safe?).
/// Both have a default that follows from the kind; a caller that knows better says so.
///
/// `Display` is one line; it never holds a secret, and implementers must keep it so. `Debug` is what a `main` prints
/// that returns an error: the same line, and the [traceback](Self::trace) below it; `{:#?}` shows every field.
///
/// # Examples
///
/// ```
/// use falco_core::{Error, ErrorKind};
/// use std::time::Duration;
///
/// let error = Error::new(ErrorKind::Throttled, "120 invocations a minute are allowed")
///     .with_platform("openwhisk")
///     .with_operation("invoke")
///     .with_function("wordcount-map")
///     .with_retry_after(Duration::from_secs(12))
///     .with_hint("lower Stack::with_max_rate, or ask for a higher quota");
/// assert!(error.is_retryable() && !error.may_have_run());
/// assert_eq!(
///     error.to_string(),
///     "openwhisk: invoke wordcount-map: throttled: 120 invocations a minute are allowed \
///      (lower Stack::with_max_rate, or ask for a higher quota)",
/// );
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Error(Box<Inner>);

#[derive(Clone, Serialize, Deserialize)]
struct Inner {
    kind: ErrorKind,
    message: String,
    retryable: bool,
    may_have_run: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unreachable: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    exhausted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    /// The chain of causes, outermost first. Text, so that an error can be cloned, stored and sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    causes: Vec<String>,
}

impl Error {
    /// An error of `kind`; retryability and doubt follow from the kind until set otherwise.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            retryable: kind.usually_passes(),
            may_have_run: kind.leaves_doubt(),
            unreachable: false,
            exhausted: false,
            retry_after: None,
            platform: None,
            operation: None,
            function: None,
            request_id: None,
            hint: None,
            trace: None,
            causes: Vec::new(),
        }))
    }

    /// Shorthand for [`ErrorKind::InvalidInput`].
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// Shorthand for [`ErrorKind::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// Says what the error is about, in front of its message. All else stays: kind, causes, hint, and whether it may be
    /// repeated.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_core::Error;
    ///
    /// let error = Error::invalid_input("not an object").with_hint("wrap it in an object");
    /// let error = error.context("input 7 of stage map");
    /// assert_eq!(error.message(), "input 7 of stage map: not an object");
    /// assert_eq!(error.hint(), Some("wrap it in an object"));
    /// ```
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Self {
        self.map_message(|message| format!("{what}: {message}"))
    }

    /// Replaces the message by what `map` makes of it. All else stays.
    #[must_use]
    pub fn map_message(mut self, map: impl FnOnce(&str) -> String) -> Self {
        self.0.message = map(&self.0.message);
        self
    }

    /// Replaces the kind, and keeps message, causes, hint and where it happened. Whether it may be repeated follows
    /// from the new kind.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self.0.retryable = kind.usually_passes();
        self.0.may_have_run = kind.leaves_doubt();
        self
    }

    /// Says in which call it happened: platform, operation and function.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_core::{Error, ErrorKind, Operation};
    ///
    /// let operation = Operation::new("openwhisk", "scale").on("wordcount-map");
    /// let error = Error::new(ErrorKind::NotFound, "there is no such function").at(operation);
    /// assert_eq!(
    ///     error.to_string(),
    ///     "openwhisk: scale wordcount-map: not found: there is no such function",
    /// );
    /// ```
    #[must_use]
    pub fn at(self, operation: Operation<'_>) -> Self {
        let error = self.with_platform(operation.platform).with_operation(operation.name);
        match operation.function {
            Some(function) => error.with_function(function),
            None => error,
        }
    }

    /// Names the platform, such as `openwhisk`.
    #[must_use]
    pub fn with_platform(mut self, platform: impl Into<String>) -> Self {
        self.0.platform = Some(platform.into());
        self
    }

    /// Names the operation: the method of [`Platform`](crate::Platform) or [`AsyncPlatform`](crate::AsyncPlatform) that
    /// failed, such as `fetch_deployment`.
    #[must_use]
    pub fn with_operation(mut self, operation: impl Into<String>) -> Self {
        self.0.operation = Some(operation.into());
        self
    }

    /// Names the function or deployment that the operation was about.
    #[must_use]
    pub fn with_function(mut self, function: impl Into<String>) -> Self {
        self.0.function = Some(function.into());
        self
    }

    /// Keeps the provider's id of the request, for its support desk.
    #[must_use]
    pub fn with_request_id(mut self, request_id: impl Into<String>) -> Self {
        self.0.request_id = Some(request_id.into());
        self
    }

    /// Says what the user can do: which setting to change, which permission to grant.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the traceback of the function that failed, or the tail of its stderr: any number of lines.
    #[must_use]
    pub fn with_trace(mut self, trace: impl Into<String>) -> Self {
        self.0.trace = Some(trace.into());
        self
    }

    /// Overrides what [`is_retryable`](Self::is_retryable) says.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = retryable;
        self
    }

    /// Overrides what [`may_have_run`](Self::may_have_run) says.
    #[must_use]
    pub fn with_may_have_run(mut self, may_have_run: bool) -> Self {
        self.0.may_have_run = may_have_run;
        self
    }

    /// Says whether nobody answered for the platform; see [`is_unreachable`](Self::is_unreachable).
    #[must_use]
    pub fn with_unreachable(mut self, unreachable: bool) -> Self {
        self.0.unreachable = unreachable;
        self
    }

    /// The wait that the platform suggests before the next try.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Adds the chain of causes of `source`, as text.
    #[must_use]
    pub fn with_source(mut self, source: &(dyn StdError + 'static)) -> Self {
        let mut next = Some(source);
        while let Some(cause) = next {
            self.0.causes.push(cause.to_string());
            next = cause.source();
        }
        self
    }

    /// Marks that retries were made and did not help, so that no outer layer retries again.
    #[must_use]
    pub fn into_exhausted(mut self) -> Self {
        self.0.exhausted = true;
        self
    }

    /// The kind of error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message, without platform, operation, function and hint.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the same call may succeed later. False once retries are [exhausted](Self::is_exhausted).
    pub fn is_retryable(&self) -> bool {
        self.0.retryable && !self.0.exhausted
    }

    /// Whether the function may have run, or may still run, although the call failed.
    ///
    /// Repeating such a call is safe for idempotent invocations only.
    pub fn may_have_run(&self) -> bool {
        self.0.may_have_run
    }

    /// Whether nobody answered for the platform: no address, no route, connection refused, reset or closed, TLS cut off,
    /// or a gateway's own 502, 503 or 504.
    ///
    /// It says something about the platform and nothing about this call: all other calls meet the same. So layers treat
    /// it as a pause of the platform, and spend no attempt on it. An error that the platform itself sent is not of this
    /// sort, however ill the platform is.
    pub fn is_unreachable(&self) -> bool {
        self.0.unreachable
    }

    /// Whether a retry layer has given up on it already.
    pub fn is_exhausted(&self) -> bool {
        self.0.exhausted
    }

    /// The wait that the platform suggests before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The platform that answered, such as `openwhisk`.
    pub fn platform(&self) -> Option<&str> {
        self.0.platform.as_deref()
    }

    /// The operation that failed, such as `invoke`.
    pub fn operation(&self) -> Option<&str> {
        self.0.operation.as_deref()
    }

    /// The function or deployment that the operation was about.
    pub fn function(&self) -> Option<&str> {
        self.0.function.as_deref()
    }

    /// The provider's id of the request.
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// The hint: a setting to change, or another remedy.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The traceback of the function that failed, or the tail of its stderr.
    pub fn trace(&self) -> Option<&str> {
        self.0.trace.as_deref()
    }

    /// The causes, outermost first, as text.
    pub fn causes(&self) -> &[String] {
        &self.0.causes
    }
}

impl Operation<'_> {
    /// An error of this call.
    pub fn error(self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::new(kind, message).at(self)
    }
}

impl StdError for Error {}

#[cfg(test)]
mod tests;
