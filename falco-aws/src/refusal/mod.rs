//! AWS's statuses and error codes: the one place where they become Falco's errors.

mod error_body;
mod request_error;
mod service_error;

use std::time::Duration;

use falco_core::{Error, ErrorKind};

pub(crate) use request_error::RequestError;
pub(crate) use service_error::ServiceError;

impl ServiceError {
    /// The kind of error.
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
            | "ResourceAlreadyExistsException"
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
            "SnapStartTimeoutException"
            | "EFSMountTimeoutException"
            | "EFSMountConnectivityException" => Kind::Timeout,
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

    /// Whether the same request may succeed later, where the kind alone does not say.
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
        const BEFORE_RUNNING: [&str; 9] = [
            "EC2ThrottledException",
            "EC2UnexpectedException",
            "ResourceNotReadyException",
            "ENINotReadyException",
            "ENILimitReachedException",
            "SubnetIPAddressLimitReachedException",
            "SnapStartTimeoutException",
            "EFSMountTimeoutException",
            "EFSMountConnectivityException",
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
            (ErrorKind::Unauthorized, _) if self.is_about_time() => "set this machine's clock",
            (ErrorKind::Unauthorized, _) => {
                "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the profile"
            }
            (
                _,
                "KMSAccessDeniedException"
                | "KMSDisabledException"
                | "KMSNotFoundException"
                | "KMSInvalidStateException",
            ) => "look at the KMS key of the function, and whether the execution role may use it",
            (_, "EC2AccessDeniedException") => {
                "allow the execution role to make the network interfaces of the function's VPC"
            }
            (ErrorKind::Forbidden, _) => "allow the action that is named in a policy of the caller",
            (ErrorKind::PayloadTooLarge, _) if self.is_invocation() => {
                "pass long data by reference, such as an object in S3"
            }
            (ErrorKind::PayloadTooLarge, _) => {
                "name a bucket in the same region (FALCO_AWS_BUCKET) to upload through"
            }
            (_, "ServiceQuotaExceededException") => "ask AWS for a higher quota",
            (_, "LimitExceeded") => {
                "remove roles that are not used any more, or set one role for all functions (AwsConfigBuilder::role, FALCO_AWS_ROLE)"
            }
            (_, "NoSuchBucket") => "name a bucket that is there (FALCO_AWS_BUCKET)",
            (_, "RecursiveInvocationException") => {
                "the function sets off itself: look at what it writes to and what triggers it"
            }
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

    /// Whether other credentials might be accepted.
    pub(crate) fn is_about_credentials(&self) -> bool {
        matches!(
            self.code.as_str(),
            "ExpiredTokenException"
                | "ExpiredToken"
                | "UnrecognizedClientException"
                | "InvalidClientTokenId"
        )
    }

    /// Whether the signature's time, by this machine's clock, was not accepted.
    pub(crate) fn is_about_time(&self) -> bool {
        match self.code.as_str() {
            "RequestTimeTooSkewed" | "RequestExpired" => true,
            "InvalidSignatureException" | "SignatureDoesNotMatch" => {
                self.message.contains("expired") || self.message.contains("not yet current")
            }
            _ => false,
        }
    }

    /// Whether something before AWS answered, such as a proxy: AWS's own errors have a code.
    fn is_from_a_gateway(&self) -> bool {
        self.code.is_empty() && matches!(self.status, 502..=504)
    }

    /// Whether it is an invocation that was refused; only then something may have run.
    fn is_invocation(&self) -> bool {
        self.operation == "Invoke"
    }

    pub(super) fn into_error(self) -> Error {
        let mut message = self.to_string();
        if let Some(reason) = &self.reason {
            message = format!("{message} ({reason})");
        }
        let may_have_run = self.may_have_run();
        let mut error = Error::new(self.kind(), message)
            .with_platform(crate::NAME)
            .with_may_have_run(may_have_run)
            .with_unreachable(self.is_from_a_gateway());
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
