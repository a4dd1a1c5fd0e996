//! The mistakes of a naive client: the list of the contract, point by point. All codes are in `errors`.

mod requests;

use std::time::{Duration, SystemTime};

use falco_aws::{AwsConfig, AwsLambda, AwsWaits, Service};
use falco_core::{
    AsyncPlatform, Deployable, ErrorKind, FunctionErrorKind, Pending, Platform, Release, Scaling,
};
use falco_fakes::aws::{FakeAws, FakeSettings};
use falco_fakes::http::Reply;
use falco_package::Archive;
use serde_json::json;

use crate::support::{Aws, collect, echo, echoing, invocation, ownership, submit};

#[tokio::test]
async fn n1_a_failed_function_is_http_200_and_only_a_header_says_so() {
    let aws = Aws::with(echoing()).await;
    let deployment = aws.deploy(&echo("f")).await;
    let body = json!({"errorMessage": "boom", "errorType": "ValueError"});
    let reply = Reply::json(200, &body).with_header("x-amzn-RequestId", "r-1");
    aws.fake.script("Invoke", reply.clone().with_header("X-Amz-Function-Error", "Unhandled"));
    aws.fake.script("Invoke", reply);
    let failed = aws.platform.invoke(&deployment, &invocation(json!({}))).await.unwrap();
    assert_eq!(failed.outcome.unwrap_err().kind, FunctionErrorKind::Raised);
    let succeeded = aws.platform.invoke(&deployment, &invocation(json!({}))).await.unwrap();
    assert!(succeeded.is_success(), "the same body without the header is a result");
}

#[tokio::test]
async fn n2_nothing_is_invoked_or_updated_before_a_function_is_active_and_updated() {
    let settings = FakeSettings {
        looks_while_pending: 3,
        looks_while_updating: 3,
        role_unknown_for: 0,
        ..echoing()
    };
    let aws = Aws::with(settings).await;
    let deployment = aws.deploy(&echo("f")).await;
    aws.platform.invoke(&deployment, &invocation(json!({}))).await.unwrap();
    let larger = Scaling::default().with_memory_mib(1024);
    let source = "def main(args):\n    return {}\n";
    let changed = Deployable::from_source("f", "python:3".parse().unwrap(), source);
    aws.deploy(&changed.with_scaling(larger)).await;
    for operation in ["CreateFunction", "UpdateFunctionCode", "UpdateFunctionConfiguration"] {
        assert_eq!(aws.fake.requests_of(operation).len(), 1, "{operation} was not refused");
    }
}

#[tokio::test]
async fn n2_a_function_that_is_found_pending_is_waited_for() {
    let aws = Aws::with(echoing()).await;
    let deployment = aws.deploy(&echo("f")).await;
    let message = "The operation cannot be performed at this time. The function is currently in the \
                   following state: Pending";
    let conflict = falco_fakes::aws::lambda_error(409, "ResourceConflictException", message);
    aws.fake.script("Invoke", conflict.clone());
    aws.platform.invoke(&deployment, &invocation(json!({}))).await.unwrap();
    aws.fake.script("UpdateFunctionConfiguration", conflict);
    let larger = Scaling::default().with_memory_mib(512);
    let scaled = aws.platform.scale(&deployment, &larger).await.unwrap();
    assert_eq!(scaled.scaling.memory_mib, Some(512));
}

#[tokio::test]
async fn n3_an_arn_in_a_path_is_encoded_and_its_signature_holds() {
    let aws = Aws::with(echoing()).await;
    aws.deploy(&echo("f")).await;
    // The tags of a function that is there are changed by its ARN; the fake checks the signature.
    aws.deploy(&echo("f").with_ownership(ownership())).await;
    let tagging = aws.fake.requests_of("TagResource");
    assert!(tagging[0].target.contains("arn%3Aaws%3Alambda%3A"), "{}", tagging[0].target);
    let fetched = aws.platform.fetch_deployment("f").await.unwrap();
    assert_eq!(fetched.ownership, Some(ownership()));
}

#[tokio::test]
async fn n4_each_operation_has_the_date_of_its_own_path() {
    let aws = Aws::with(echoing()).await;
    let few = Scaling::default().with_max_instances(7);
    let deployment = aws.deploy(&echo("f").with_scaling(few)).await;
    submit(&aws, &deployment, json!({})).await;
    aws.platform.invoke(&deployment, &invocation(json!({}))).await.unwrap();
    aws.platform.list_deployments().await.unwrap();
    aws.platform.remove(&deployment).await.unwrap();
    for (operation, method, target) in [
        ("GetAccountSettings", "GET", "/2016-08-19/account-settings"),
        ("CreateFunction", "POST", "/2015-03-31/functions"),
        ("GetFunction", "GET", "/2015-03-31/functions/f"),
        ("ListFunctions", "GET", "/2015-03-31/functions?MaxItems=50"),
        ("Invoke", "POST", "/2015-03-31/functions/f/invocations"),
        ("PutFunctionConcurrency", "PUT", "/2017-10-31/functions/f/concurrency"),
        ("PutFunctionEventInvokeConfig", "PUT", "/2019-09-25/functions/f/event-invoke-config"),
        (
            "DeleteFunctionEventInvokeConfig",
            "DELETE",
            "/2019-09-25/functions/f/event-invoke-config",
        ),
        ("DeleteFunction", "DELETE", "/2015-03-31/functions/f"),
    ] {
        let requests = aws.fake.requests_of(operation);
        let request = requests.first().unwrap_or_else(|| panic!("no {operation}"));
        assert_eq!((request.method.as_str(), request.target.as_str()), (method, target));
    }
}

#[tokio::test]
async fn n5_code_stands_at_the_top_of_an_update_and_under_code_of_a_creation() {
    let aws = Aws::with(echoing()).await;
    aws.deploy(&echo("f")).await;
    let other = Deployable::from_source("f", "python:3".parse().unwrap(), "def main(a): return a");
    aws.deploy(&other).await;
    let created = aws.fake.requests_of("CreateFunction")[0].json();
    assert!(created["Code"]["ZipFile"].is_string() && created["ZipFile"].is_null());
    let updated = aws.fake.requests_of("UpdateFunctionCode")[0].json();
    assert!(updated["ZipFile"].is_string() && updated["Code"].is_null());
}

#[tokio::test]
async fn n6_messages_are_read_whatever_their_key_and_a_missing_one_causes_no_panic() {
    let aws = Aws::with(echoing()).await;
    for (body, words) in [
        (r#"{"Type":"User","Message":"said aloud"}"#, "said aloud"),
        (r#"{"Type":"User","message":"said softly"}"#, "said softly"),
        ("", "an empty body"),
        ("{}", "{}"),
        ("<html><head><title>502 Bad Gateway</title></head></html>", "502 Bad Gateway"),
    ] {
        aws.fake.script("GetFunction", Reply::new(500, body));
        let error = aws.platform.fetch_deployment("f").await.unwrap_err();
        assert!(error.message().contains(words), "{error}");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn n7_a_502_that_is_a_fault_of_the_configuration_is_not_worth_a_retry() {
    let aws = Aws::with(echoing()).await;
    let deployment = aws.deploy(&echo("f")).await;
    for (status, code, retryable, may_have_run) in [
        (502, "KMSDisabledException", false, false),
        (502, "InvalidZipFileException", false, false),
        (502, "InvalidRuntimeException", false, false),
        (502, "EC2ThrottledException", true, false),
        (502, "ENILimitReachedException", true, false),
        (500, "ServiceException", true, true),
        (503, "", true, true),
    ] {
        aws.fake.script("Invoke", falco_fakes::aws::lambda_error(status, code, "words"));
        let error = aws.platform.invoke(&deployment, &invocation(json!({}))).await.unwrap_err();
        assert_eq!(
            (error.is_retryable(), error.may_have_run()),
            (retryable, may_have_run),
            "{code}: {error:?}"
        );
        assert_eq!(error.platform(), Some("aws"));
    }
}

#[tokio::test]
async fn n7_only_a_role_that_was_just_made_is_waited_for() {
    let aws = Aws::with(FakeSettings { role_unknown_for: 3, ..echoing() }).await;
    aws.deploy(&echo("f")).await;
    assert_eq!(aws.fake.requests_of("CreateFunction").len(), 4);

    let config = aws.fake.config().role("arn:aws:iam::123456789012:role/hopeless");
    let given = AwsLambda::connect(config.build().unwrap()).await.unwrap();
    aws.fake.forget_requests();
    let error = given.deploy(&echo("g")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.hint().unwrap().contains("trust policy"), "{error}");
    assert_eq!(aws.fake.requests_of("CreateFunction").len(), 1);
}

#[tokio::test]
async fn n7_a_function_that_exists_after_all_is_brought_up_to_date() {
    let aws = Aws::with(FakeSettings { role_unknown_for: 0, ..echoing() }).await;
    aws.deploy(&echo("f")).await;
    // Its answer was lost: it is not seen, and creating it again is refused.
    let missing = falco_fakes::aws::lambda_error(404, "ResourceNotFoundException", "not yet");
    aws.fake.script("GetFunction", missing);
    aws.deploy(&echo("f")).await;
    assert_eq!(aws.fake.requests_of("CreateFunction").len(), 2);
    assert!(aws.fake.requests_of("UpdateFunctionCode").is_empty(), "it is the same code");
}

#[tokio::test]
async fn n8_a_202_is_not_a_result_and_the_queue_brings_it() {
    let aws = Aws::with(echoing()).await;
    let deployment = aws.deploy(&echo("f")).await;
    let pending = [submit(&aws, &deployment, json!({"n": 1})).await];
    let found = collect(&aws, &deployment, &pending).await;
    assert_eq!(found[0].id, pending[0].id);
    assert_eq!(found[0].outcome.as_ref().unwrap().as_str(), r#"{"n":1}"#);
}

#[tokio::test]
async fn n9_records_may_come_early_and_twice_and_are_deleted_once_taken() {
    let settings = FakeSettings { records_come_early: true, records_come_twice: true, ..echoing() };
    let aws = Aws::with(settings).await;
    let deployment = aws.deploy(&echo("f")).await;
    let mut pending = Vec::new();
    for n in 0..30 {
        pending.push(submit(&aws, &deployment, json!({"n": n})).await);
    }
    let found = collect(&aws, &deployment, &pending).await;
    let ids: Vec<_> = found.iter().map(|activation| activation.id.clone()).collect();
    aws.platform.release(&deployment, &ids, Release::Taken);
    while aws.fake.messages_in("falco-f") > 0 {
        let unknown = [Pending::new("unknown", SystemTime::now())];
        let collected = aws.platform.collect(&deployment, &unknown).await.unwrap();
        assert!(collected.finished.is_empty());
        tokio::time::sleep(collected.poll_after).await;
    }
}

#[tokio::test]
async fn n9_a_result_that_does_not_fit_the_queue_is_reported_and_not_waited_for() {
    let aws = Aws::with(FakeSettings { longest_message: 2000, ..echoing() }).await;
    let deployment = aws.deploy(&echo("f")).await;
    let pending = [submit(&aws, &deployment, json!({"x": "y".repeat(2000)})).await];
    let found = collect(&aws, &deployment, &pending).await;
    let error = found[0].outcome.as_ref().unwrap_err();
    assert_eq!(error.kind, FunctionErrorKind::BadResult);
    assert!(error.message.contains("too long"), "{error}");
}

#[tokio::test]
async fn n9_an_event_that_never_answers_is_gone_once_lambda_has_dropped_it() {
    let aws = Aws::with(FakeSettings { loses_every: Some(1), ..echoing() }).await;
    let deployment = aws.deploy(&echo("f")).await;
    let fresh = submit(&aws, &deployment, json!({})).await;
    let hours_ago = SystemTime::now() - Duration::from_secs(2 * 3600);
    let old = Pending::new("long-lost", hours_ago);
    let collected = aws.platform.collect(&deployment, &[fresh, old]).await.unwrap();
    let (id, error) = &collected.gone[0];
    assert_eq!((id.as_str(), error.kind()), ("long-lost", ErrorKind::Lost));
}

#[tokio::test(flavor = "multi_thread")]
async fn n10_an_invocation_may_take_longer_than_any_other_request() {
    let fake = FakeAws::with(FakeSettings {
        longest_poll: Duration::from_millis(1700),
        ..FakeSettings::default()
    });
    let waits = AwsWaits::default()
        .with_request_timeout(Duration::from_millis(1500))
        .with_queue_poll(Duration::from_secs(2))
        .with_state_interval(Duration::from_millis(5))
        .with_role_interval(Duration::from_millis(5));
    let platform = AwsLambda::connect(fake.config().waits(waits).build().unwrap()).await.unwrap();
    let source = "import time\ndef main(args):\n    time.sleep(1.8)\n    return {}\n";
    let slow = Deployable::from_source("f", "python:3".parse().unwrap(), source);
    let deployment = platform.deploy(&slow).await.unwrap();
    platform.invoke(&deployment, &invocation(json!({}))).await.unwrap();
    // Nor does a poll that stays open for its full time count as unanswered.
    let pending = [platform.submit(&deployment, &invocation(json!({}))).await.unwrap()];
    platform.collect(&deployment, &pending).await.unwrap();
}

#[tokio::test]
async fn n11_logs_are_filtered_by_quoted_ids_in_milliseconds_past_empty_pages() {
    let aws = Aws::with(echoing()).await;
    let deployment = aws.deploy(&echo("f")).await;
    let mut ids = Vec::new();
    for n in 0..40 {
        let activation = aws.platform.invoke(&deployment, &invocation(json!({"n": n}))).await;
        ids.push(activation.unwrap().id);
    }
    // The last one's lines stand behind pages that hold none of them.
    let last = &ids[39..];
    let logs = aws.platform.activation_log(&deployment, last).await.unwrap();
    assert_eq!(logs.len(), 1);
    let requests = aws.fake.requests_of("FilterLogEvents");
    let first = requests[0].json();
    assert_eq!(first["filterPattern"], format!("\"{}\"", last[0]));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let until = u128::from(first["endTime"].as_u64().unwrap());
    assert!(until.abs_diff(now) < 120_000, "{until} is in milliseconds");
    // All of them take as many requests as there are pages, not one for each.
    aws.fake.forget_requests();
    let logs = aws.platform.activation_log(&deployment, &ids).await.unwrap();
    assert_eq!(logs.iter().map(|log| log.id.clone()).collect::<Vec<_>>(), ids);
    assert!(aws.fake.requests_of("FilterLogEvents").len() <= 4);
}

#[tokio::test]
async fn n12_nothing_is_left_behind() {
    let aws = Aws::with(echoing()).await;
    let deployment = aws.deploy(&echo("f").with_ownership(ownership())).await;
    let pending = [submit(&aws, &deployment, json!({})).await];
    collect(&aws, &deployment, &pending).await;
    let mut made = aws.fake.leftovers();
    made.sort();
    assert_eq!(
        made,
        ["function f", "log group /aws/lambda/f", "queue falco-f", "role f.eu-central-1"]
    );
    aws.platform.remove(&deployment).await.unwrap();
    assert!(aws.fake.leftovers().is_empty(), "{:?}", aws.fake.leftovers());
    let again = aws.platform.remove(&deployment).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn n12_what_cannot_be_removed_is_named_and_the_rest_goes() {
    let aws = Aws::with(echoing()).await;
    let deployment = aws.deploy(&echo("f")).await;
    submit(&aws, &deployment, json!({})).await;
    let denied = falco_fakes::aws::xml_error(
        403,
        "AccessDenied",
        "not authorized to perform: iam:DeleteRole",
    );
    aws.fake.script("DeleteRole", denied);
    let error = aws.platform.remove(&deployment).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(error.message().contains("left behind: role f.eu-central-1"), "{error}");
    assert!(error.message().contains("iam:DeleteRole"), "{error}");
    assert_eq!(aws.fake.leftovers(), ["role f.eu-central-1"]);
    // It is found again, and goes when it may.
    let listed = aws.platform.list_deployments().await.unwrap();
    assert_eq!(listed[0].name, "f");
    aws.platform.remove(&listed[0]).await.unwrap();
    assert!(aws.fake.leftovers().is_empty());
}
