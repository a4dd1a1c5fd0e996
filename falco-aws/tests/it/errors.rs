//! Every code that the contract names, of every service: what it becomes, whatever its body looks like.

use falco_aws::{AwsLambda, Limits};
use falco_core::ErrorKind::{
    self, Conflict, Forbidden, InvalidInput, NotFound, Other, PayloadTooLarge, Throttled, Timeout,
    Unauthorized, Unavailable,
};
use falco_core::{AsyncPlatform, Error, Pending, Platform, Result};
use falco_fakes::aws::{FakeAws, FakeSettings};
use falco_fakes::http::Reply;
use serde_json::json;

use crate::support::{Aws, echo, echoing, invocation};

/// A code, and what has to come of it.
struct Row {
    status: u16,
    code: &'static str,
    kind: ErrorKind,
    retryable: bool,
    may_have_run: bool,
    /// Words of the hint; none where the user can change nothing.
    hint: &'static str,
}

const fn row(status: u16, code: &'static str, kind: ErrorKind) -> Row {
    Row { status, code, kind, retryable: false, may_have_run: false, hint: "" }
}

impl Row {
    const fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    const fn may_have_run(mut self) -> Self {
        self.may_have_run = true;
        self
    }

    const fn hint(mut self, words: &'static str) -> Self {
        self.hint = words;
        self
    }

    #[track_caller]
    fn check(&self, error: &Error, operation: &str) {
        let code = self.code;
        assert_eq!(error.kind(), self.kind, "{code}: {error}");
        assert_eq!(error.is_retryable(), self.retryable, "{code}: {error}");
        assert_eq!(error.may_have_run(), self.may_have_run, "{code}: {error}");
        match self.hint {
            "" => assert_eq!(error.hint(), None, "{code}"),
            words => {
                let hint = error.hint().unwrap_or_else(|| panic!("{code} has no hint"));
                assert!(hint.contains(words), "{code}: {hint}");
            }
        }
        assert!(error.message().contains(code), "{code}: {error}");
        assert!(error.message().contains(&self.status.to_string()), "{code}: {error}");
        let found = (error.platform(), error.operation(), error.request_id().is_some());
        assert_eq!(found, (Some("aws"), Some(operation), true), "{code}");
    }
}

/// The forms in which a service reports an error, with the words that have to be found in the message.
type Forms = fn(&Row) -> Vec<(Reply, &'static str)>;

/// Lambda: the code in a header, and the words under one key or another, or nowhere.
fn rest(row: &Row) -> Vec<(Reply, &'static str)> {
    let bodies = [
        (r#"{"Type":"User","Message":"said aloud"}"#, "said aloud"),
        (r#"{"Type":"User","message":"said softly"}"#, "said softly"),
        ("", "an empty body"),
    ];
    let header = |suffix: &str| format!("{}{suffix}", row.code);
    bodies
        .into_iter()
        .zip(["", ":http://internal.amazon.com/coral/", ""])
        .map(|((body, words), suffix)| {
            let reply = Reply::new(row.status, body);
            (reply.with_header("x-amzn-ErrorType", &header(suffix)), words)
        })
        .collect()
}

/// SQS and CloudWatch Logs: the code in the body, behind a namespace or without.
fn in_json(row: &Row) -> Vec<(Reply, &'static str)> {
    let bodies = [
        (
            json!({"__type": format!("com.amazonaws.sqs#{}", row.code), "message": "said softly"}),
            "said softly",
        ),
        (json!({"__type": row.code, "Message": "said aloud"}), "said aloud"),
        (json!({"__type": row.code}), row.code),
    ];
    bodies.into_iter().map(|(body, words)| (Reply::json(row.status, &body), words)).collect()
}

/// IAM and STS: an error within its answer. S3: the error is the answer.
fn in_xml(row: &Row) -> Vec<(Reply, &'static str)> {
    let code = row.code;
    let bodies = [
        (
            format!(
                "<ErrorResponse xmlns=\"x\"><Error><Type>Sender</Type><Code>{code}</Code><Message>said &amp; done</Message></Error><RequestId>r</RequestId></ErrorResponse>"
            ),
            "said & done",
        ),
        (
            format!(
                "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>said at once</Message><RequestId>r</RequestId></Error>"
            ),
            "said at once",
        ),
        (format!("<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>"), code),
    ];
    bodies.into_iter().map(|(body, words)| (Reply::new(row.status, body), words)).collect()
}

/// Gives each row's replies to `requested`, and checks what `call` makes of them.
async fn check_all(
    fake: &FakeAws,
    rows: &[Row],
    (operation, requested): (&str, &str),
    forms: Forms,
    call: impl AsyncFn() -> Result<()>,
) {
    for row in rows {
        for (reply, words) in forms(row) {
            // Refused credentials, a wrong clock and a busy function are each worth a second request.
            fake.script(requested, reply.clone());
            fake.script(requested, reply);
            let error = call().await.unwrap_err();
            row.check(&error, operation);
            assert!(error.message().contains(words), "{}: {error}", row.code);
            fake.heal();
        }
    }
}

const CREDENTIALS: &str = "AWS_ACCESS_KEY_ID";
const POLICY: &str = "in a policy of the caller";

/// Those of Lambda that say the same of every operation.
const LAMBDA: &[Row] = &[
    row(429, "TooManyRequestsException", Throttled).retryable().hint("congestion control"),
    row(502, "EC2ThrottledException", Unavailable).retryable(),
    row(502, "EC2UnexpectedException", Unavailable).retryable(),
    row(502, "ResourceNotReadyException", Unavailable).retryable(),
    row(502, "ENINotReadyException", Unavailable).retryable(),
    row(502, "ENILimitReachedException", Unavailable).retryable().hint("no addresses left"),
    row(502, "SubnetIPAddressLimitReachedException", Unavailable)
        .retryable()
        .hint("no addresses left"),
    row(502, "EC2AccessDeniedException", Forbidden).hint("network interfaces"),
    row(502, "KMSAccessDeniedException", Forbidden).hint("KMS key"),
    row(502, "KMSDisabledException", Other).hint("KMS key"),
    row(502, "KMSNotFoundException", Other).hint("KMS key"),
    row(502, "KMSInvalidStateException", Other).hint("KMS key"),
    row(502, "InvalidSubnetIDException", InvalidInput),
    row(502, "InvalidSecurityGroupIDException", InvalidInput),
    row(502, "InvalidRuntimeException", InvalidInput),
    row(502, "InvalidZipFileException", InvalidInput),
    row(400, "InvalidParameterValueException", InvalidInput),
    row(412, "PreconditionFailedException", Conflict),
    row(404, "ResourceNotFoundException", NotFound),
    row(415, "UnsupportedMediaTypeException", InvalidInput),
    row(400, "CodeStorageExceededException", Other).hint("not used any more"),
    row(402, "ServiceQuotaExceededException", Other).hint("higher quota"),
    row(408, "SnapStartTimeoutException", Timeout).retryable(),
    row(408, "EFSMountTimeoutException", Timeout).retryable(),
    row(408, "EFSMountConnectivityException", Timeout).retryable(),
    row(403, "EFSMountFailureException", Other),
    row(410, "EFSIOException", Other),
    row(400, "RecursiveInvocationException", Other).hint("sets off itself"),
    row(403, "InvalidSignatureException", Unauthorized).hint(CREDENTIALS),
    row(403, "UnrecognizedClientException", Unauthorized).hint(CREDENTIALS),
    row(403, "MissingAuthenticationTokenException", Unauthorized).hint(CREDENTIALS),
    row(403, "ExpiredTokenException", Unauthorized).hint(CREDENTIALS),
    row(400, "IncompleteSignatureException", Unauthorized).hint(CREDENTIALS),
    row(403, "AccessDeniedException", Forbidden).hint(POLICY),
];

/// Those that mean something else, or leave something else open, when it was an invocation.
const INVOKE: &[Row] = &[
    row(409, "ResourceConflictException", Conflict).retryable(),
    row(413, "RequestTooLargeException", PayloadTooLarge).hint("by reference"),
    row(413, "RequestEntityTooLargeException", PayloadTooLarge).hint("by reference"),
    row(400, "InvalidRequestContentException", InvalidInput),
    row(500, "ServiceException", Unavailable).retryable().may_have_run(),
    row(503, "NeverHeardOfException", Unavailable).retryable().may_have_run(),
];

#[tokio::test]
async fn every_code_of_lambda_keeps_its_meaning_in_an_invocation_and_a_submission() {
    let aws = Aws::with(echoing()).await;
    let deployment = aws.deploy(&echo("f")).await;
    let argument = invocation(json!({}));
    for rows in [LAMBDA, INVOKE] {
        check_all(&aws.fake, rows, ("invoke", "Invoke"), rest, async || {
            aws.platform.invoke(&deployment, &argument).await.map(drop)
        })
        .await;
        check_all(&aws.fake, rows, ("submit", "Invoke"), rest, async || {
            aws.platform.submit(&deployment, &argument).await.map(drop)
        })
        .await;
    }
    assert!(aws.fake.bills().is_empty(), "nothing ran, and nothing was sent a third time");
}

#[tokio::test]
async fn every_code_of_lambda_keeps_its_meaning_in_the_control_plane_where_nothing_can_run() {
    let aws = Aws::with(echoing()).await;
    check_all(&aws.fake, LAMBDA, ("fetch_deployment", "GetFunction"), rest, async || {
        aws.platform.fetch_deployment("f").await.map(drop)
    })
    .await;
    let rows = [
        row(500, "ServiceException", Unavailable).retryable(),
        row(413, "RequestEntityTooLargeException", PayloadTooLarge).hint("FALCO_AWS_BUCKET"),
    ];
    check_all(&aws.fake, &rows, ("deploy", "CreateFunction"), rest, async || {
        aws.platform.deploy(&echo("f")).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn every_code_of_sqs_keeps_its_meaning() {
    let aws = Aws::with(echoing()).await;
    let deployment = aws.deploy(&echo("f")).await;
    let rows = [
        row(400, "QueueDoesNotExist", NotFound),
        row(400, "QueueNameExists", Conflict),
        row(400, "QueueDeletedRecently", Conflict).retryable(),
        row(400, "RequestThrottled", Throttled).retryable().hint("congestion control"),
        row(400, "OverLimit", Throttled).retryable().hint("congestion control"),
        row(400, "InvalidAttributeValue", InvalidInput),
        row(403, "AccessDeniedException", Forbidden).hint(POLICY),
    ];
    let pending = [Pending::new("a", std::time::SystemTime::now())];
    check_all(&aws.fake, &rows, ("collect", "GetQueueUrl"), in_json, async || {
        aws.platform.collect(&deployment, &pending).await.map(drop)
    })
    .await;
    // A queue that was deleted just now is waited for, since its name is free again after a minute.
    aws.fake.script(
        "CreateQueue",
        falco_fakes::aws::json_error("QueueDeletedRecently", "wait 60 seconds"),
    );
    aws.platform.submit(&deployment, &invocation(json!({}))).await.unwrap();
    assert_eq!(aws.fake.requests_of("CreateQueue").len(), 2);
}

#[tokio::test]
async fn every_code_of_cloudwatch_logs_keeps_its_meaning_and_a_missing_group_is_not_an_error() {
    let aws = Aws::with(echoing()).await;
    let deployment = aws.deploy(&echo("f")).await;
    let rows = [
        row(400, "ThrottlingException", Throttled).retryable().hint("congestion control"),
        row(400, "InvalidParameterException", InvalidInput),
        row(400, "AccessDeniedException", Forbidden).hint(POLICY),
        row(503, "ServiceUnavailableException", Unavailable).retryable(),
    ];
    let ids = ["a".into()];
    check_all(&aws.fake, &rows, ("activation_log", "FilterLogEvents"), in_json, async || {
        aws.platform.activation_log(&deployment, &ids).await.map(drop)
    })
    .await;
    // The group comes with the first line.
    let missing = falco_fakes::aws::json_error("ResourceNotFoundException", "no such group");
    aws.fake.script("FilterLogEvents", missing);
    assert!(aws.platform.activation_log(&deployment, &ids).await.unwrap().is_empty());
}

#[tokio::test]
async fn every_code_of_iam_keeps_its_meaning() {
    let aws = Aws::with(echoing()).await;
    let rows = [
        row(404, "NoSuchEntity", NotFound),
        row(409, "DeleteConflict", Conflict),
        row(409, "EntityAlreadyExists", Conflict),
        // A conflict by its status; but it is a quota, and no throttle.
        row(409, "LimitExceeded", Other).hint("FALCO_AWS_ROLE"),
        row(409, "ConcurrentModification", Conflict).retryable(),
        row(400, "MalformedPolicyDocument", InvalidInput),
        row(400, "Throttling", Throttled).retryable().hint("congestion control"),
        row(500, "ServiceFailure", Unavailable).retryable(),
        row(403, "SignatureDoesNotMatch", Unauthorized).hint(CREDENTIALS),
        row(403, "InvalidClientTokenId", Unauthorized).hint(CREDENTIALS),
    ];
    check_all(&aws.fake, &rows, ("list_deployments", "ListRoles"), in_xml, async || {
        aws.platform.list_deployments().await.map(drop)
    })
    .await;
    let denied = [row(403, "AccessDenied", Forbidden).hint("FALCO_AWS_ROLE")];
    check_all(&aws.fake, &denied, ("deploy", "CreateRole"), in_xml, async || {
        aws.platform.deploy(&echo("f")).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn every_code_of_sts_keeps_its_meaning() {
    let fake = FakeAws::with(echoing());
    let config = fake.config().role("given/by-name").build().unwrap();
    let platform = AwsLambda::connect(config).await.unwrap();
    let rows = [
        row(403, "SignatureDoesNotMatch", Unauthorized).hint(CREDENTIALS),
        row(403, "InvalidClientTokenId", Unauthorized).hint(CREDENTIALS),
        row(403, "ExpiredToken", Unauthorized).hint(CREDENTIALS),
        row(403, "MissingAuthenticationToken", Unauthorized).hint(CREDENTIALS),
        row(400, "Throttling", Throttled).retryable().hint("congestion control"),
    ];
    check_all(&fake, &rows, ("deploy", "GetCallerIdentity"), in_xml, async || {
        platform.deploy(&echo("f")).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn every_code_of_s3_keeps_its_meaning_and_a_bucket_elsewhere_is_found() {
    let fake = FakeAws::with(FakeSettings { looks_while_updating: 0, ..echoing() });
    let limits = Limits::default().with_direct_upload(500);
    let config = fake.config().bucket("uploads").limits(limits).build().unwrap();
    let platform = AwsLambda::connect(config).await.unwrap();
    let deploy = async || platform.deploy(&echo("f")).await.map(drop);
    let rows = [
        row(301, "PermanentRedirect", InvalidInput).hint("another region"),
        row(404, "NoSuchBucket", NotFound).hint("FALCO_AWS_BUCKET"),
        row(403, "AccessDenied", Forbidden).hint(POLICY),
        row(403, "InvalidAccessKeyId", Unauthorized).hint(CREDENTIALS),
        row(403, "RequestTimeTooSkewed", Unauthorized).hint("clock"),
        row(503, "SlowDown", Throttled).retryable().hint("congestion control"),
        row(500, "InternalError", Unavailable).retryable(),
    ];
    check_all(&fake, &rows, ("deploy", "PutObject"), in_xml, deploy).await;
    let elsewhere = falco_fakes::aws::xml_error(301, "PermanentRedirect", "Use another endpoint.")
        .with_header("x-amz-bucket-region", "eu-north-1");
    fake.script("PutObject", elsewhere);
    let error = deploy().await.unwrap_err();
    assert!(error.message().contains("eu-north-1"), "{error}");
}

#[tokio::test]
async fn a_throttle_without_a_code_is_still_throttling() {
    let aws = Aws::with(echoing()).await;
    aws.fake.script("GetFunction", Reply::new(429, "<html>slow down</html>"));
    let error = aws.platform.fetch_deployment("f").await.unwrap_err();
    assert_eq!(error.kind(), Throttled);
    assert!(error.is_retryable() && !error.may_have_run());
}
