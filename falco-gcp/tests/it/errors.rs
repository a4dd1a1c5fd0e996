//! The meaning of each refusal of each service: kind, whether to try again, whether a function may have run, what to do.

use std::time::Duration;

use falco_core::{AsyncPlatform, Error, ErrorKind, Platform};
use falco_fakes::gcp::FakeGcp;
use falco_fakes::http::Fault;
use falco_gcp::GcpFunctions;
use serde_json::{Value, json};

use crate::support::{ECHO, connect, deployed, echoing, invocation, python, with_tasks};

const HTML: &str = "<html><style>b{}</style><b>Error</b> of the front end</html>";
const GET: &str = "GET /v2/projects/fake-project/locations/us-central1/functions/echo";
const TASKS: &str = "POST /v2/projects/fake-project/locations/us-central1/queues/falco/tasks";

/// An error as Google's APIs write it.
fn api(code: u16, status: &str) -> String {
    json!({"error": {"code": code, "message": "told by Google", "status": status}}).to_string()
}

/// An error as Cloud Storage writes it.
fn storage(code: u16, reason: &str) -> String {
    let errors = json!([{"domain": "global", "reason": reason, "message": "told by Google"}]);
    json!({"error": {"code": code, "message": "told by Google", "errors": errors}}).to_string()
}

fn check(error: &Error, row: &str, kind: ErrorKind, retryable: bool, hint: &str) {
    assert_eq!((error.kind(), error.is_retryable()), (kind, retryable), "{row}: {error:?}");
    assert_eq!(error.platform(), Some("gcp"), "{row}: {error:?}");
    assert!(error.operation().is_some(), "{row}: {error:?}");
    let shown = error.hint().unwrap_or_default();
    assert!(shown.contains(hint), "{row}: {hint:?} in {shown:?}");
    let shown = error.to_string();
    assert!(!shown.contains('\n') && !shown.contains("b{}"), "{row}: {shown}");
}

#[tokio::test]
async fn every_refusal_of_an_api_keeps_its_meaning() {
    use ErrorKind::*;
    let fake = echoing();
    let (platform, _) = deployed(&fake).await;
    let disabled = json!({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "told by Google",
        "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"},
                    {"@type": "type.googleapis.com/google.rpc.Help", "links": [
                        {"description": "Enable it", "url": "https://console/apis"}]}]}})
    .to_string();
    for (status, body, kind, retryable, hint) in [
        (400, api(400, "INVALID_ARGUMENT"), InvalidInput, false, ""),
        (400, api(400, "FAILED_PRECONDITION"), Other, false, ""),
        (400, HTML.into(), InvalidInput, false, ""),
        (401, api(401, "UNAUTHENTICATED"), Unauthorized, false, "check the credentials"),
        (403, api(403, "PERMISSION_DENIED"), Forbidden, false, "role"),
        (403, disabled, Forbidden, false, "Enable it: https://console/apis"),
        (403, storage(403, "forbidden"), Forbidden, false, "role"),
        (403, storage(403, "rateLimitExceeded"), Throttled, true, ""),
        (403, storage(403, "userRateLimitExceeded"), Throttled, true, ""),
        (404, api(404, "NOT_FOUND"), NotFound, false, ""),
        (404, HTML.into(), NotFound, false, "check the endpoint"),
        (408, HTML.into(), Timeout, true, ""),
        (409, api(409, "ALREADY_EXISTS"), Conflict, false, ""),
        (409, api(409, "ABORTED"), Conflict, true, ""),
        (409, storage(409, "conflict"), Conflict, false, ""),
        (410, storage(410, "gone"), NotFound, false, ""),
        (411, HTML.into(), InvalidInput, false, ""),
        (412, storage(412, "conditionNotMet"), Conflict, false, ""),
        (413, HTML.into(), PayloadTooLarge, false, ""),
        (429, api(429, "RESOURCE_EXHAUSTED"), Throttled, true, "deploy fewer"),
        (429, HTML.into(), Throttled, true, ""),
        (500, api(500, "INTERNAL"), Unavailable, true, ""),
        (502, HTML.into(), Unavailable, true, ""),
        (503, api(503, "UNAVAILABLE"), Unavailable, true, ""),
        (504, api(504, "DEADLINE_EXCEEDED"), Timeout, true, ""),
        (302, String::new(), Protocol, false, ""),
        (200, HTML.into(), Protocol, true, ""),
        (200, "{\"name\": ".into(), Protocol, true, ""),
        (200, "[]".into(), Protocol, false, ""),
    ] {
        fake.inject(Fault::answer(GET, status, &body));
        let error = platform.fetch_deployment("echo").await.unwrap_err();
        let row = format!("{status} {body}");
        check(&error, &row, kind, retryable, hint);
        assert!(!error.may_have_run(), "{row}: a look runs nothing: {error:?}");
        assert_eq!(error.function(), Some("echo"), "{row}");
        if body.contains("told by Google") {
            assert!(error.to_string().contains("told by Google"), "{row}: {error}");
        }
        fake.heal();
    }
}

#[tokio::test]
async fn a_refusal_to_take_a_task_says_whether_it_may_run_anyway() {
    let fake = echoing();
    let platform = connect(with_tasks(fake.config())).await;
    let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
    for (status, body, kind, may_have_run) in [
        (400, api(400, "INVALID_ARGUMENT"), ErrorKind::InvalidInput, false),
        (403, api(403, "PERMISSION_DENIED"), ErrorKind::Forbidden, false),
        (429, api(429, "RESOURCE_EXHAUSTED"), ErrorKind::Throttled, false),
        (500, api(500, "INTERNAL"), ErrorKind::Unavailable, true),
        (503, HTML.into(), ErrorKind::Unavailable, true),
        (504, api(504, "DEADLINE_EXCEEDED"), ErrorKind::Timeout, true),
    ] {
        fake.inject(Fault::answer(TASKS, status, &body));
        let error = platform.submit(&deployment, &invocation(&json!({}))).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.may_have_run()),
            (kind, may_have_run),
            "{status}: {error:?}"
        );
        fake.heal();
    }
    // A deleted queue is named, and how long its name is blocked.
    let other = FakeGcp::start();
    let platform = connect(with_tasks(other.config())).await;
    let blocked = api(400, "FAILED_PRECONDITION");
    other.inject(Fault::answer(
        "POST /v2/projects/fake-project/locations/us-central1/queues",
        400,
        &blocked,
    ));
    let error = platform.deploy(&python("echo", ECHO)).await.unwrap_err();
    check(&error, "a deleted queue", ErrorKind::Other, false, "blocked for days");
}

#[tokio::test]
async fn every_code_that_an_operation_may_end_with_keeps_its_meaning() {
    use ErrorKind::*;
    for (code, kind, retryable) in [
        (1, Other, false),
        (2, Other, false),
        (3, InvalidInput, false),
        (4, Timeout, true),
        (5, NotFound, false),
        (7, Forbidden, false),
        (8, Throttled, true),
        (9, InvalidInput, false),
        (10, Conflict, true),
        (11, InvalidInput, false),
        (12, Unsupported, false),
        (13, Unavailable, true),
        (14, Unavailable, true),
        (16, Unauthorized, false),
    ] {
        let fake = echoing();
        let platform = connect(fake.config()).await;
        let help = json!({"@type": "type.googleapis.com/google.rpc.Help",
            "links": [{"description": "Build log", "url": "https://console/build"}]});
        fake.fail_next_operation(
            json!({"code": code, "message": "told by Google", "details": [help]}),
        );
        let error = platform.deploy(&python("echo", ECHO)).await.unwrap_err();
        let row = format!("code {code}");
        check(&error, &row, kind, retryable, "Build log: https://console/build");
        assert!(error.to_string().contains("told by Google") && !error.may_have_run(), "{error:?}");
        // Trying again works, whatever the first try has left.
        let deployment = platform.deploy(&python("echo", ECHO)).await.unwrap();
        platform.remove(&deployment).await.unwrap();
        assert_eq!(fake.leftovers(), Vec::<String>::new(), "{row}");
    }
    // The operation may report as well that the name is taken.
    let fake = echoing();
    fake.fail_next_operation(json!({"code": 6, "message": "already exists"}));
    connect(fake.config()).await.deploy(&python("echo", ECHO)).await.unwrap();
}

async fn connecting(fake: &FakeGcp) -> Error {
    GcpFunctions::connect(fake.config().build().unwrap()).await.unwrap_err()
}

#[tokio::test]
async fn every_refusal_of_the_token_endpoint_keeps_its_meaning() {
    use ErrorKind::*;
    let oauth =
        |error: &str, words: &str| json!({"error": error, "error_description": words}).to_string();
    let short = "Invalid JWT: Token must be a short-lived token (60 minutes)";
    let fake = echoing();
    for (status, body, kind, retryable, hint) in [
        (400, oauth("invalid_grant", "Invalid JWT Signature."), Unauthorized, false, "the key may"),
        (400, oauth("invalid_grant", short), Unauthorized, false, "clock"),
        (400, oauth("invalid_scope", "no such scope"), Unauthorized, false, "credentials"),
        (
            401,
            oauth("invalid_client", "The OAuth client was not found."),
            Unauthorized,
            false,
            "credentials",
        ),
        (403, api(403, "PERMISSION_DENIED"), Forbidden, false, ""),
        (404, HTML.into(), NotFound, false, ""),
        (408, HTML.into(), Timeout, true, ""),
        (429, HTML.into(), Throttled, true, ""),
        (500, HTML.into(), Unavailable, true, ""),
        (503, oauth("temporarily_unavailable", ""), Unavailable, true, ""),
        (504, HTML.into(), Timeout, true, ""),
        (200, "{}".into(), Protocol, false, ""),
    ] {
        fake.inject(Fault::answer("POST /token", status, &body).with_header("retry-after", "2"));
        let error = connecting(&fake).await;
        check(&error, &format!("{status} {body}"), kind, retryable, hint);
        assert!(!error.may_have_run(), "{error:?}");
        if status == 429 || status == 503 {
            assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
        }
        if let Some(words) =
            serde_json::from_str::<Value>(&body).unwrap_or_default()["error_description"].as_str()
        {
            assert!(error.to_string().contains(words), "{error}");
        }
        fake.heal();
    }
}

#[tokio::test]
async fn an_upload_that_is_refused_says_so_in_the_words_of_its_xml() {
    let fake = echoing();
    let platform = connect(fake.config()).await;
    let xml =
        "<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>Too late.</Message></Error>";
    for (status, kind, retryable) in [
        (400, ErrorKind::InvalidInput, false),
        (403, ErrorKind::Forbidden, false),
        (503, ErrorKind::Unavailable, true),
    ] {
        fake.inject(Fault::answer("PUT /upload-signed/", status, xml));
        let error = platform.deploy(&python("echo", ECHO)).await.unwrap_err();
        check(&error, "upload", kind, retryable, "the upload of the code was refused");
        assert!(error.to_string().contains("Too late."), "{error}");
        fake.heal();
    }
    assert!(fake.is_clean(), "nothing was created");
}

#[tokio::test]
async fn an_account_that_may_not_be_impersonated_is_named_with_the_role_that_is_missing() {
    let fake = echoing();
    fake.inject(Fault::answer(":generateAccessToken", 403, &api(403, "PERMISSION_DENIED")));
    let config = fake.config().impersonate("robot@p.iam.gserviceaccount.com").build().unwrap();
    let error = GcpFunctions::connect(config).await.unwrap_err();
    check(
        &error,
        "impersonation",
        ErrorKind::Forbidden,
        false,
        "serviceAccountTokenCreator on robot@p",
    );
}

#[tokio::test]
async fn a_grant_that_is_forbidden_says_which_role_or_setting_helps() {
    let fake = echoing();
    let platform = connect(fake.config()).await;
    for (status, name, kind, hint) in [
        (403, "PERMISSION_DENIED", ErrorKind::Forbidden, "roles/run.admin"),
        (400, "FAILED_PRECONDITION", ErrorKind::Other, "organisation policy"),
    ] {
        fake.inject(Fault::answer(":setIamPolicy", status, &api(status, name)));
        let error = platform.deploy(&python("echo", ECHO)).await.unwrap_err();
        check(&error, name, kind, false, hint);
        fake.heal();
    }
}
