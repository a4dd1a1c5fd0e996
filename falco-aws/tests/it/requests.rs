//! Every kind of request as it goes over the wire: method, target, headers, body.

use std::collections::BTreeSet;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use falco_aws::{AwsLambda, Limits};
use falco_core::{AsyncPlatform, Deployable, Platform, Release, Scaling};
use falco_fakes::aws::FakeAws;
use falco_fakes::http::{Reply, Request};
use serde_json::{Value, json};

use crate::support::{Aws, collect, echo, echoing, invocation, ownership, submit};

const ARN: &str = "arn:aws:lambda:eu-central-1:123456789012:function:f";
const QUEUE: &str = "https://sqs.elsewhere.example/123456789012/falco-f";
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

/// Does all that a platform can, each request of which the fake keeps.
async fn everything() -> Vec<Request> {
    let aws = Aws::with(echoing()).await;
    let few = Scaling::default().with_max_instances(7);
    let function = echo("f").with_env("AB", "c").with_scaling(few);
    let deployment = aws.deploy(&function).await;
    let changed =
        Deployable::from_source("f", "python:3".parse().unwrap(), "def main(a): return a");
    aws.deploy(&changed.with_ownership(ownership())).await;
    let sizes = Scaling::default().with_memory_mib(512);
    aws.platform.scale(&deployment, &sizes).await.unwrap();
    aws.platform.invoke(&deployment, &invocation(json!({"n": 1}))).await.unwrap();
    let pending = [submit(&aws, &deployment, json!({"n": 2})).await];
    collect(&aws, &deployment, &pending).await;
    let ids = [pending[0].id.clone()];
    aws.platform.release(&deployment, &ids, Release::Taken);
    let other = [falco_core::Pending::new("other", SystemTime::now())];
    while aws.fake.messages_in("falco-f") > 0 {
        aws.platform.collect(&deployment, &other).await.unwrap();
    }
    aws.platform.activation_log(&deployment, &ids).await.unwrap();
    // Role and queue of a function that is not there are known by their tags.
    aws.fake
        .script("ListFunctions", Reply::json(200, &json!({"Functions": [], "NextMarker": "f"})));
    aws.fake.script("ListFunctions", Reply::json(200, &json!({"Functions": []})));
    aws.platform.list_deployments().await.unwrap();
    aws.platform.remove(&deployment).await.unwrap();
    aws.fake.requests()
}

/// Does what needs a bucket and a role that was given by its name.
async fn everything_through_a_bucket() -> Vec<Request> {
    let fake = FakeAws::with(echoing());
    let limits = Limits::default().with_direct_upload(500);
    let config = fake.config().bucket("uploads").limits(limits).role("given/role");
    let platform = AwsLambda::connect(config.build().unwrap()).await.unwrap();
    let deployment = platform.deploy(&echo("f")).await.unwrap();
    platform.remove(&deployment).await.unwrap();
    fake.requests()
}

/// The first request of `operation`, once it has been compared.
fn find<'a>(requests: &'a [Request], operation: &str) -> &'a Request {
    let found = requests.iter().find(|request| request.operation == operation);
    found.unwrap_or_else(|| panic!("there was no {operation}"))
}

#[track_caller]
fn on_the_wire(request: &Request, method: &str, target: &str, content_type: &str) {
    let operation = &request.operation;
    assert_eq!((request.method.as_str(), request.target.as_str()), (method, target), "{operation}");
    assert_eq!(request.header("content-type").unwrap_or_default(), content_type, "{operation}");
    assert_eq!(request.header("x-amz-date").unwrap_or_default().len(), 16, "{operation}");
    assert!(
        request
            .header("authorization")
            .unwrap_or_default()
            .starts_with("AWS4-HMAC-SHA256 Credential=AKID")
    );
    assert_eq!(
        request.header("x-amz-security-token").unwrap_or_default(),
        "fake-session-token",
        "{operation}"
    );
}

const JSON: &str = "application/json";

#[tokio::test]
async fn every_request_to_lambda_is_as_the_contract_has_it() {
    let requests = everything().await;
    let function = |rest: &str| format!("/2015-03-31/functions/f{rest}");
    let expected = [
        ("GetAccountSettings", "GET", "/2016-08-19/account-settings".into(), Value::Null),
        ("GetFunction", "GET", function(""), Value::Null),
        ("ListFunctions", "GET", "/2015-03-31/functions?MaxItems=50".into(), Value::Null),
        (
            "CreateFunction",
            "POST",
            "/2015-03-31/functions".into(),
            json!({
                "FunctionName": "f", "Description": "Deployed by Falco", "Runtime": "python3.14",
                "Handler": "falco_handler.main", "Role": "arn:aws:iam::123456789012:role/falco/eu-central-1/f/f.eu-central-1",
                "MemorySize": 256, "Timeout": 60, "EphemeralStorage": {"Size": 512},
                "Environment": {"Variables": {"AB": "c"}}, "Architectures": ["x86_64"], "PackageType": "Zip",
                "Code": {"ZipFile": "a zip"}, "Tags": {"falco:runtime": "python:3"},
            }),
        ),
        (
            "UpdateFunctionCode",
            "PUT",
            function("/code"),
            json!({"ZipFile": "a zip", "Architectures": ["x86_64"]}),
        ),
        (
            "UpdateFunctionConfiguration",
            "PUT",
            function("/configuration"),
            json!({
                "Description": "Deployed by Falco", "Runtime": "python3.14", "Handler": "falco_handler.main",
                "Role": "arn:aws:iam::123456789012:role/falco/eu-central-1/f/f.eu-central-1", "MemorySize": 256, "Timeout": 60,
                "EphemeralStorage": {"Size": 512}, "Environment": {"Variables": {}},
            }),
        ),
        (
            "TagResource",
            "POST",
            format!("/2017-03-31/tags/{}", ARN.replace(':', "%3A")),
            json!({"Tags": {
                "falco:runtime": "python:3", "falco:run": "6553f100-0000beef", "falco:owner": "ada@workstation",
                "falco:expires": "1800000000",
            }}),
        ),
        (
            "PutFunctionConcurrency",
            "PUT",
            "/2017-10-31/functions/f/concurrency".into(),
            json!({"ReservedConcurrentExecutions": 7}),
        ),
        ("Invoke", "POST", function("/invocations"), json!({"n": 1})),
        (
            "PutFunctionEventInvokeConfig",
            "PUT",
            "/2019-09-25/functions/f/event-invoke-config".into(),
            json!({
                "MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 3600,
                "DestinationConfig": {
                    "OnSuccess": {"Destination": "arn:aws:sqs:eu-central-1:123456789012:falco-f"},
                    "OnFailure": {"Destination": "arn:aws:sqs:eu-central-1:123456789012:falco-f"},
                },
            }),
        ),
        (
            "DeleteFunctionEventInvokeConfig",
            "DELETE",
            "/2019-09-25/functions/f/event-invoke-config".into(),
            Value::Null,
        ),
        ("DeleteFunction", "DELETE", function(""), Value::Null),
    ];
    for (operation, method, target, body) in expected {
        let request = match operation {
            // The first says only what was deployed.
            "TagResource" => {
                let is_owners = |request: &&Request| {
                    request.operation == operation
                        && request.json()["Tags"]["falco:run"].is_string()
                };
                requests.iter().find(is_owners).unwrap()
            }
            _ => find(&requests, operation),
        };
        on_the_wire(request, method, &target, if body.is_null() { "" } else { JSON });
        let mut sent = request.json();
        if let Some(tags) = sent.get_mut("Tags").and_then(Value::as_object_mut) {
            tags.remove("falco:content");
        }
        for zip in ["/ZipFile", "/Code/ZipFile"] {
            if let Some(zip) = sent.pointer_mut(zip) {
                // Base64 of "PK\x03".
                assert!(zip.as_str().unwrap().starts_with("UEsD"), "{operation}");
                *zip = "a zip".into();
            }
        }
        assert_eq!(sent, body, "{operation}");
        assert_eq!(request.body.is_empty(), body.is_null(), "{operation}");
    }
    let more: Vec<_> = requests.iter().filter(|r| r.operation == "ListFunctions").collect();
    assert_eq!(more[1].target, "/2015-03-31/functions?Marker=f&MaxItems=50");
    let resized = requests.iter().filter(|r| r.operation == "UpdateFunctionConfiguration").nth(1);
    assert_eq!(resized.unwrap().json(), json!({"MemorySize": 512}), "what is not named stays");
}

#[tokio::test]
async fn an_invocation_and_an_event_differ_by_their_headers_and_where_the_trace_context_is() {
    let requests = everything().await;
    let invokes: Vec<_> = requests.iter().filter(|r| r.operation == "Invoke").collect();
    let headers = |request: &Request| {
        ["x-amz-invocation-type", "x-amz-log-type"]
            .map(|name| request.header(name).unwrap_or_default().to_owned())
    };
    assert_eq!(headers(invokes[0]), ["RequestResponse", "Tail"]);
    // The log of an event is reported to nobody, and asking for it is an error.
    assert_eq!(headers(invokes[1]), ["Event", ""]);
    assert_eq!(invokes[1].target, invokes[0].target);
    let context = STANDARD.decode(invokes[0].header("x-amz-client-context").unwrap()).unwrap();
    let context: Value = serde_json::from_slice(&context).unwrap();
    let trace = context["custom"]["traceparent"].as_str().unwrap();
    let event = invokes[1].json();
    assert_eq!(event["falco:args"], json!({"n": 2}));
    let other = event["falco:tp"].as_str().unwrap();
    assert_eq!((trace.len(), other.len(), &trace[..3]), (55, 55, "00-"));
    assert_eq!(invokes[1].header("x-amz-client-context"), None);
}

#[tokio::test]
async fn every_request_to_sqs_and_cloudwatch_logs_is_as_the_contract_has_it() {
    let requests = everything().await;
    let queue = |members: Value| {
        let mut body = json!({"QueueUrl": QUEUE});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        body
    };
    let expected = [
        (
            "CreateQueue",
            json!({
                "QueueName": "falco-f",
                "Attributes": {"VisibilityTimeout": "10", "MessageRetentionPeriod": "345600"},
                "tags": {"falco:runtime": "python:3"},
            }),
        ),
        ("GetQueueUrl", json!({"QueueName": "falco-f"})),
        (
            "ReceiveMessage",
            queue(
                json!({"MaxNumberOfMessages": 10, "WaitTimeSeconds": 1, "VisibilityTimeout": 10}),
            ),
        ),
        (
            "DeleteMessageBatch",
            queue(json!({"Entries": [{"Id": "0", "ReceiptHandle": "a receipt"}]})),
        ),
        ("ListQueues", json!({"QueueNamePrefix": "falco-", "MaxResults": 1000})),
        ("ListQueueTags", queue(json!({}))),
        ("DeleteQueue", queue(json!({}))),
        (
            "CreateLogGroup",
            json!({"logGroupName": "/aws/lambda/f", "tags": {"falco:runtime": "python:3"}}),
        ),
        ("PutRetentionPolicy", json!({"logGroupName": "/aws/lambda/f", "retentionInDays": 1})),
        ("DeleteLogGroup", json!({"logGroupName": "/aws/lambda/f"})),
        (
            "FilterLogEvents",
            json!({
                "logGroupName": "/aws/lambda/f", "filterPattern": "an id", "startTime": "a time", "endTime": "a time",
                "limit": 10_000,
            }),
        ),
    ];
    for (operation, body) in expected {
        let request = find(&requests, operation);
        let (version, target) = match operation {
            "CreateLogGroup" | "PutRetentionPolicy" | "DeleteLogGroup" | "FilterLogEvents" => {
                ("1.1", "Logs_20140328")
            }
            _ => ("1.0", "AmazonSQS"),
        };
        on_the_wire(request, "POST", "/", &format!("application/x-amz-json-{version}"));
        assert_eq!(
            request.header("x-amz-target").unwrap_or_default(),
            format!("{target}.{operation}")
        );
        let mut sent = request.json();
        for (place, is_right, what) in [
            ("/Entries/0/ReceiptHandle", Value::is_string as fn(&Value) -> bool, "a receipt"),
            ("/filterPattern", |v| v.as_str().is_some_and(|v| v.starts_with('"')), "an id"),
            ("/startTime", Value::is_u64, "a time"),
            ("/endTime", Value::is_u64, "a time"),
        ] {
            if let Some(value) = sent.pointer_mut(place) {
                assert!(is_right(value), "{operation}: {value}");
                *value = what.into();
            }
        }
        assert_eq!(sent, body, "{operation}");
    }
}

#[tokio::test]
async fn every_request_to_iam_and_sts_is_as_the_contract_has_it() {
    let mut requests = everything().await;
    requests.extend(everything_through_a_bucket().await);
    // Not `logs:CreateLogGroup`: a log that is written late would bring the group back.
    let policy = concat!(
        r#"{"Statement":[{"Action":["logs:CreateLogStream","logs:PutLogEvents"],"Effect":"Allow","#,
        r#""Resource":"arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/f:*"},"#,
        r#"{"Action":"sqs:SendMessage","Effect":"Allow","#,
        r#""Resource":"arn:aws:sqs:eu-central-1:123456789012:falco-f"}],"Version":"2012-10-17"}"#,
    );
    let role = ("RoleName", "f.eu-central-1");
    let expected: [(&str, &[(&str, &str)]); 8] = [
        (
            "CreateRole",
            &[
                role,
                ("Path", "/falco/eu-central-1/f/"),
                ("AssumeRolePolicyDocument", TRUST),
                ("Tags.member.1.Key", "falco:runtime"),
                ("Tags.member.1.Value", "python:3"),
            ],
        ),
        ("GetRole", &[role]),
        ("ListRoles", &[("PathPrefix", "/falco/")]),
        ("ListRoleTags", &[role]),
        ("PutRolePolicy", &[role, ("PolicyName", "falco"), ("PolicyDocument", policy)]),
        ("DeleteRolePolicy", &[role, ("PolicyName", "falco")]),
        ("DeleteRole", &[role]),
        ("GetCallerIdentity", &[]),
    ];
    for (operation, parameters) in expected {
        let request = find(&requests, operation);
        on_the_wire(request, "POST", "/", "application/x-www-form-urlencoded; charset=utf-8");
        let is_sts = operation == "GetCallerIdentity";
        let version = if is_sts { "2011-06-15" } else { "2010-05-08" };
        assert_eq!(request.form("Version").as_deref(), Some(version));
        // IAM is one for the whole partition, wherever the function runs.
        let region = if is_sts { "eu-central-1/sts" } else { "us-east-1/iam" };
        assert!(
            request
                .header("authorization")
                .unwrap_or_default()
                .contains(&format!("/{region}/aws4_request"))
        );
        for (name, value) in parameters {
            assert_eq!(request.form(name).as_deref(), Some(*value), "{operation} {name}");
        }
        let pairs = String::from_utf8_lossy(&request.body).split('&').count();
        assert_eq!(pairs, parameters.len() + 2, "{operation} has no others");
    }
}

#[tokio::test]
async fn every_request_to_s3_is_as_the_contract_has_it() {
    let requests = everything_through_a_bucket().await;
    let put = find(&requests, "PutObject");
    let target = put.target.clone();
    assert!(target.starts_with("/uploads/falco/f/") && target.ends_with(".zip"), "{target}");
    on_the_wire(put, "PUT", &target, "application/zip");
    assert!(put.body.starts_with(b"PK"));
    let updated = find(&requests, "UpdateFunctionCode").json();
    assert_eq!(
        updated,
        json!({"S3Bucket": "uploads", "S3Key": target.trim_start_matches("/uploads/"), "Architectures": ["x86_64"]})
    );
    on_the_wire(find(&requests, "DeleteObject"), "DELETE", &target, "");
    let listing = find(&requests, "ListObjectsV2");
    on_the_wire(listing, "GET", "/uploads/?list-type=2&prefix=falco%2Ff%2F", "");
    for request in [put, listing] {
        assert_eq!(
            request.header("x-amz-content-sha256").unwrap_or_default().len(),
            64,
            "S3 wants the hash of the body"
        );
    }
}

#[tokio::test]
async fn there_is_no_request_but_those_of_these_tests_and_the_readme_names_the_permission_of_each()
{
    let mut requests = everything().await;
    requests.extend(everything_through_a_bucket().await);
    let seen: BTreeSet<_> = requests.iter().map(|request| request.operation.as_str()).collect();
    assert_eq!(seen.len(), 12 + 11 + 8 + 3, "{seen:?}");
    let readme = include_str!("../../README.md");
    for operation in seen {
        let action = match operation {
            "Invoke" => "InvokeFunction",
            "DeleteMessageBatch" => "DeleteMessage",
            "ListObjectsV2" => "ListBucket",
            // Everybody may ask who they are.
            "GetCallerIdentity" => continue,
            same => same,
        };
        let named = [format!("`{action}`"), format!(":{action}`")];
        assert!(named.iter().any(|name| readme.contains(name)), "the README misses {action}");
    }
}
