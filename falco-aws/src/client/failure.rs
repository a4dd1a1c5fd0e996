//! What a reply that is no success means: the one place where AWS's errors become Falco's.

use std::fmt;
use std::time::Duration;

use aws_credential_types::Credentials;
use falco_core::{Error, ErrorKind};
use falco_http::{Reply, excerpt, redact};
use serde::Deserialize;
use serde_json::Value;

use super::Call;

/// Why a request has no answer that is of use.
#[derive(Debug)]
pub(crate) enum Failure {
    /// AWS answered, and said no.
    Refused(Box<Fault>),
    /// Anything else: no credentials, no connection, an answer that makes no sense.
    Other(Error),
}

impl Failure {
    /// AWS's own code, when it answered.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(fault) => Some(&fault.code),
            Self::Other(_) => None,
        }
    }

    /// Whether AWS said that the thing asked for is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(fault) if fault.kind() == ErrorKind::NotFound)
    }

    /// Whether the credentials are not allowed to do this.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused(fault) if fault.kind() == ErrorKind::Forbidden)
    }

    /// Whether AWS refused because of a rate or concurrency limit.
    pub(crate) fn is_throttled(&self) -> bool {
        matches!(self, Self::Refused(fault) if fault.kind() == ErrorKind::Throttled)
    }

    /// Whether the function is still being created or updated.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Self::Refused(fault) if fault.is_conflict_of_state())
    }

    /// Whether AWS's message contains one of `words`.
    pub(crate) fn says(&self, words: &[&str]) -> bool {
        matches!(self, Self::Refused(fault) if words.iter().any(|word| fault.message.contains(word)))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error.with_platform(crate::PLATFORM))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(fault) => fault.into_error(),
            Failure::Other(error) => error,
        }
    }
}

/// An answer of AWS that is no success.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) operation: &'static str,
    pub(crate) status: u16,
    /// AWS's code, such as `ResourceNotFoundException`; empty when the answer has none.
    pub(crate) code: String,
    pub(crate) message: String,
    /// Why a request was throttled.
    pub(crate) reason: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) retry_after: Option<Duration>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered {}", self.operation, self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// What an error's body says, whichever of AWS's protocols it is in.
#[derive(Default)]
struct Said {
    code: Option<String>,
    message: Option<String>,
    reason: Option<String>,
    request_id: Option<String>,
}

impl Fault {
    pub(super) fn read(call: &Call<'_>, reply: &Reply, credentials: &Credentials) -> Self {
        let said = Said::read(&reply.body);
        let code = reply
            .header("x-amzn-errortype")
            .map(str::to_owned)
            .or(said.code)
            .map(|code| plain_code(&code).to_owned())
            .unwrap_or_default();
        let message = said.message.unwrap_or_else(|| excerpt(&reply.body));
        let request_id = ["x-amzn-requestid", "x-amz-request-id"]
            .into_iter()
            .find_map(|name| reply.header(name))
            .map(str::to_owned)
            .or(said.request_id);
        Self {
            operation: call.operation,
            status: reply.status.as_u16(),
            code,
            message: harmless(&message, credentials),
            reason: said.reason,
            request_id,
            retry_after: retry_after(reply),
        }
    }

    /// Whether other credentials might be accepted.
    pub(super) fn is_about_credentials(&self) -> bool {
        matches!(
            self.code.as_str(),
            "ExpiredTokenException"
                | "ExpiredToken"
                | "UnrecognizedClientException"
                | "InvalidClientTokenId"
        )
    }

    /// Whether the signature's time, by this machine's clock, was not accepted.
    pub(super) fn is_about_time(&self) -> bool {
        match self.code.as_str() {
            "RequestTimeTooSkewed" | "RequestExpired" => true,
            "InvalidSignatureException" | "SignatureDoesNotMatch" => {
                self.message.contains("expired") || self.message.contains("not yet current")
            }
            _ => false,
        }
    }

    /// Whether it is an invocation that was refused; only then something may have run.
    fn is_invocation(&self) -> bool {
        self.operation == "Invoke"
    }

    /// What kind of error it is.
    ///
    /// The code says more than the status: some of Lambda's 502s are faults of the configuration that no retry helps.
    pub(crate) fn kind(&self) -> ErrorKind {
        use ErrorKind as Kind;
        match self.code.as_str() {
            "TooManyRequestsException"
            | "Throttling"
            | "ThrottlingException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "RequestLimitExceeded"
            | "SlowDown"
            | "OverLimit" => Kind::Throttled,
            "ExpiredTokenException"
            | "ExpiredToken"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignatureException"
            | "IncompleteSignature"
            | "MissingAuthenticationTokenException"
            | "MissingAuthenticationToken"
            | "InvalidAccessKeyId"
            | "RequestTimeTooSkewed"
            | "RequestExpired" => Kind::Unauthorized,
            "AccessDeniedException"
            | "AccessDenied"
            | "KMSAccessDeniedException"
            | "EC2AccessDeniedException" => Kind::Forbidden,
            "ResourceNotFoundException"
            | "NoSuchEntity"
            | "QueueDoesNotExist"
            | "NoSuchKey"
            | "NoSuchBucket" => Kind::NotFound,
            "ResourceConflictException"
            | "EntityAlreadyExists"
            | "DeleteConflict"
            | "ConcurrentModification"
            | "PreconditionFailedException"
            | "QueueNameExists"
            | "QueueDeletedRecently"
            | "OperationAbortedException" => Kind::Conflict,
            "RequestTooLargeException" | "RequestEntityTooLargeException" | "EntityTooLarge" => {
                Kind::PayloadTooLarge
            }
            "InvalidParameterValueException"
            | "InvalidRequestContentException"
            | "UnsupportedMediaTypeException"
            | "InvalidRuntimeException"
            | "InvalidZipFileException"
            | "InvalidSubnetIDException"
            | "InvalidSecurityGroupIDException"
            | "MalformedPolicyDocument"
            | "PermanentRedirect" => Kind::InvalidInput,
            "KMSDisabledException"
            | "KMSNotFoundException"
            | "KMSInvalidStateException"
            | "CodeStorageExceededException"
            | "ServiceQuotaExceededException"
            | "LimitExceeded"
            | "EFSMountFailureException"
            | "EFSIOException"
            | "RecursiveInvocationException" => Kind::Other,
            "SnapStartTimeoutException" | "EFSMountTimeoutException" => Kind::Timeout,
            _ => match self.status {
                401 => Kind::Unauthorized,
                403 => Kind::Forbidden,
                404 => Kind::NotFound,
                408 => Kind::Timeout,
                409 | 412 => Kind::Conflict,
                413 => Kind::PayloadTooLarge,
                429 => Kind::Throttled,
                400..=499 => Kind::InvalidInput,
                500..=599 => Kind::Unavailable,
                _ => Kind::Protocol,
            },
        }
    }

    /// Whether the same request may succeed later, where the kind alone does not tell.
    fn is_retryable(&self) -> Option<bool> {
        match self.code.as_str() {
            "ResourceConflictException" => Some(self.is_conflict_of_state()),
            "ConcurrentModification" | "QueueDeletedRecently" | "OperationAbortedException" => {
                Some(true)
            }
            _ => None,
        }
    }

    /// Whether a function is only busy: still being created or updated. The same code also says that it exists.
    pub(crate) fn is_conflict_of_state(&self) -> bool {
        self.code == "ResourceConflictException" && !self.message.contains("already exist")
    }

    /// Whether an invocation may have run although it was answered with this.
    fn may_have_run(&self) -> bool {
        const BEFORE_RUNNING: [&str; 8] = [
            "EC2ThrottledException",
            "EC2UnexpectedException",
            "ResourceNotReadyException",
            "ENINotReadyException",
            "ENILimitReachedException",
            "SubnetIPAddressLimitReachedException",
            "SnapStartTimeoutException",
            "EFSMountTimeoutException",
        ];
        let open = matches!(
            self.kind(),
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Protocol
        );
        self.is_invocation() && open && !BEFORE_RUNNING.contains(&self.code.as_str())
    }

    fn hint(&self) -> Option<&'static str> {
        let reason = self.reason.as_deref().unwrap_or_default();
        Some(match (self.kind(), self.code.as_str()) {
            (ErrorKind::Throttled, _) => match reason {
                "ConcurrentInvocationLimitExceeded" => {
                    "the account's concurrency is used up: lower the concurrency, or ask AWS for a higher quota"
                }
                "ReservedFunctionConcurrentInvocationLimitExceeded"
                | "ReservedFunctionInvocationRateLimitExceeded" => {
                    "the function's reserved concurrency is used up: raise max_instances, or lower the concurrency"
                }
                "FunctionInvocationRateLimitExceeded" => {
                    "a function takes ten invocations a second for each unit of concurrency: give each more to do"
                }
                "CallerRateLimitExceeded" => {
                    "requests come too fast for the account: lower the rate"
                }
                _ => "lower the rate, or add congestion control",
            },
            (ErrorKind::Unauthorized, "RequestTimeTooSkewed" | "RequestExpired") => {
                "set this machine's clock"
            }
            (ErrorKind::Unauthorized, _) => {
                "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the profile"
            }
            (ErrorKind::Forbidden, _) => "allow the action that is named in a policy of the caller",
            (_, "CodeStorageExceededException") => {
                "remove functions or versions that are not used any more"
            }
            (_, "PermanentRedirect") => "the bucket is in another region than the functions",
            (_, "ENILimitReachedException" | "SubnetIPAddressLimitReachedException") => {
                "the function's network has no addresses left"
            }
            _ => return None,
        })
    }

    fn into_error(self) -> Error {
        let mut message = self.to_string();
        if let Some(reason) = &self.reason {
            message = format!("{message} ({reason})");
        }
        let may_have_run = self.may_have_run();
        let mut error = Error::new(self.kind(), message)
            .with_platform(crate::PLATFORM)
            .with_may_have_run(may_have_run);
        if let Some(retryable) = self.is_retryable() {
            error = error.with_retryable(retryable);
        }
        if let Some(hint) = self.hint() {
            error = error.with_hint(hint);
        }
        // The network of a function frees its addresses within minutes, not seconds.
        let slow = matches!(
            self.code.as_str(),
            "ENILimitReachedException" | "SubnetIPAddressLimitReachedException"
        );
        let wait = self.retry_after.or(slow.then_some(Duration::from_secs(30)));
        if let Some(wait) = wait.filter(|_| error.is_retryable()) {
            error = error.with_retry_after(wait);
        }
        match self.request_id {
            Some(id) => error.with_request_id(id),
            None => error,
        }
    }
}

impl Said {
    fn read(body: &[u8]) -> Self {
        match body.trim_ascii_start().first() {
            Some(b'{') => Self::from_json(body),
            Some(b'<') => Self::from_xml(body),
            _ => Self::default(),
        }
    }

    fn from_json(body: &[u8]) -> Self {
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
            return Self::default();
        };
        // `Message` in some errors and `message` in others, of the same service.
        let text = |names: &[&str]| {
            let found = fields
                .iter()
                .find(|(name, _)| names.iter().any(|wanted| name.eq_ignore_ascii_case(wanted)));
            found.and_then(|(_, value)| value.as_str()).map(str::to_owned)
        };
        Self {
            code: text(&["__type", "code"]),
            message: text(&["message", "errorMessage"]),
            reason: text(&["reason"]),
            request_id: None,
        }
    }

    fn from_xml(body: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        struct Body {
            code: Option<String>,
            message: Option<String>,
        }
        /// The root of IAM's and STS's errors holds an `Error`; that of S3's is one.
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        struct Root {
            error: Option<Body>,
            code: Option<String>,
            message: Option<String>,
            request_id: Option<String>,
        }
        let text = String::from_utf8_lossy(body);
        let root: Root = quick_xml::de::from_str(&text).unwrap_or_default();
        let inner = root.error.unwrap_or(Body { code: root.code, message: root.message });
        Self { code: inner.code, message: inner.message, reason: None, request_id: root.request_id }
    }
}

/// A code without what may stand around it: a namespace in front, a URL behind.
fn plain_code(code: &str) -> &str {
    let code = code.rsplit('#').next().unwrap_or(code);
    code.split(':').next().unwrap_or(code).trim()
}

/// A message without secrets: a wrong signature is answered with the canonical request, session token included.
fn harmless(message: &str, credentials: &Credentials) -> String {
    const SHOWN: usize = 1000;
    let message = message.split("The Canonical String").next().unwrap_or(message).trim();
    let message = &message[..message.floor_char_boundary(SHOWN)];
    let secrets = [Some(credentials.secret_access_key()), credentials.session_token()];
    redact(message, secrets.into_iter().flatten())
}

/// The wait that AWS asks for: in its own header in milliseconds, or in the usual one.
fn retry_after(reply: &Reply) -> Option<Duration> {
    let own = reply.header("x-amz-retry-after").and_then(|text| text.trim().parse().ok());
    own.map(Duration::from_millis).or_else(|| reply.retry_after())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn codes_are_read_in_every_protocol() {
        for (body, code, message) in [
            (
                r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"m"}"#,
                "QueueDoesNotExist",
                "m",
            ),
            (
                r#"{"__type":"ResourceNotFoundException","Message":"m"}"#,
                "ResourceNotFoundException",
                "m",
            ),
            (
                "<ErrorResponse xmlns=\"https://iam\"><Error><Type>Sender</Type><Code>NoSuchEntity</Code>\
                 <Message>a &amp; b</Message></Error><RequestId>r</RequestId></ErrorResponse>",
                "NoSuchEntity",
                "a & b",
            ),
            (
                "<?xml version=\"1.0\"?>\n<Error><Code>NoSuchBucket</Code><Message>m</Message></Error>",
                "NoSuchBucket",
                "m",
            ),
        ] {
            let said = Said::read(body.as_bytes());
            assert_eq!(said.code.as_deref().map(plain_code), Some(code), "{body}");
            assert_eq!(said.message.as_deref(), Some(message), "{body}");
        }
        assert_eq!(
            plain_code("ResourceNotFoundException:http://internal.amazon.com/"),
            "ResourceNotFoundException"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn arbitrary_bodies_are_survived(
            start in prop::sample::select(vec!["", "{", "<", "<Error><Code>", "{\"message\":"]),
            rest in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut body = start.as_bytes().to_vec();
            body.extend(rest);
            let _ = Said::read(&body);
        }
    }
}
