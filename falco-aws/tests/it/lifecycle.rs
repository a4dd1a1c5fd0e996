//! Functions in states that are rare, and accounts that do not allow everything.

use std::time::Duration;

use falco_aws::AwsLambda;
use falco_core::{Deployable, ErrorKind, Platform, Scaling};
use falco_fakes::aws::{FakeAws, FakeSettings};
use falco_fakes::http::Reply;
use serde_json::json;

use crate::environment::Environment;
use crate::support::{Aws, echo, echoing, invocation};

#[tokio::test]
async fn the_limits_of_the_account_are_the_platforms() {
    let fake = FakeAws::with(FakeSettings { concurrency: 250, ..echoing() });
    let limits = json!({"AccountLimit": {
        "ConcurrentExecutions": 900, "UnreservedConcurrentExecutions": 250, "CodeSizeZipped": 1234,
        "CodeSizeUnzipped": 5678,
    }});
    fake.script("GetAccountSettings", Reply::json(200, &limits));
    fake.script("GetAccountSettings", Reply::json(200, &limits));
    let direct = AwsLambda::connect(fake.config().build().unwrap()).await.unwrap();
    // What others have reserved is not to be had.
    assert_eq!(direct.capabilities().concurrency, Some(250));
    assert_eq!(direct.capabilities().rate.unwrap().invocations, 2500);
    assert_eq!(direct.capabilities().max_code, Some(1234));
    let through = AwsLambda::connect(fake.config().bucket("uploads").build().unwrap()).await;
    assert_eq!(through.unwrap().capabilities().max_code, Some(5678));
}

#[tokio::test]
async fn limits_that_may_not_be_read_are_left_open_and_nothing_else_suffers() {
    let fake = FakeAws::with(echoing());
    let denied = falco_fakes::aws::lambda_error(
        403,
        "AccessDeniedException",
        "User: ada is not authorized to perform: lambda:GetAccountSettings",
    );
    fake.script("GetAccountSettings", denied);
    let platform = AwsLambda::connect(fake.config().build().unwrap()).await.unwrap();
    let capabilities = platform.capabilities();
    assert_eq!((capabilities.concurrency, capabilities.rate), (None, None));
    assert!(capabilities.submit && capabilities.max_payload.is_some());
    platform.deploy(&echo("f")).await.unwrap();
}

#[tokio::test]
async fn role_and_bucket_come_from_falcos_own_variables() {
    let fake = FakeAws::with(echoing());
    let mut environment = Environment::new();
    environment
        .credentials()
        .set("AWS_REGION", "eu-central-1")
        .set("AWS_ENDPOINT_URL", fake.url())
        .set("FALCO_AWS_ROLE", "arn:aws:iam::123456789012:role/given")
        .set("FALCO_AWS_BUCKET", "uploads");
    let platform = AwsLambda::connect(environment.load().await.unwrap()).await.unwrap();
    let deployment = platform.deploy(&echo("f")).await.unwrap();
    let created = fake.requests_of("CreateFunction")[0].json();
    assert_eq!(created["Role"], "arn:aws:iam::123456789012:role/given");
    platform.remove(&deployment).await.unwrap();
    assert_eq!(fake.requests_of("ListObjectsV2").len(), 1, "it looks for uploads in the bucket");
}

#[tokio::test]
async fn a_role_that_was_given_is_left_where_it_is() {
    let fake = FakeAws::with(echoing());
    // Somebody's own role, of the very name that Falco would give.
    let role = Reply::new(
        200,
        "<GetRoleResponse><GetRoleResult><Role><Path>/</Path><RoleName>f</RoleName><Arn>arn:aws:iam::1:role/f</Arn>\
         </Role></GetRoleResult></GetRoleResponse>",
    );
    let config = fake.config().role("arn:aws:iam::123456789012:role/given").build().unwrap();
    let platform = AwsLambda::connect(config).await.unwrap();
    let deployment = platform.deploy(&echo("f")).await.unwrap();
    fake.script("GetRole", role);
    platform.remove(&deployment).await.unwrap();
    assert!(fake.requests_of("DeleteRole").is_empty());
}

#[tokio::test]
async fn a_function_that_could_not_be_created_is_created_anew() {
    let aws = Aws::with(echoing()).await;
    aws.deploy(&echo("f")).await;
    aws.fake.forget_requests();
    let failed = json!({"Configuration": {
        "FunctionName": "f", "FunctionArn": "arn", "State": "Failed", "StateReason": "out of addresses",
    }});
    aws.fake.script("GetFunction", Reply::json(200, &failed));
    aws.deploy(&echo("f")).await;
    let operations: Vec<_> = aws.fake.requests().into_iter().map(|r| r.operation).collect();
    let place = |name: &str| operations.iter().position(|operation| operation == name).unwrap();
    assert!(place("DeleteFunction") < place("CreateFunction"), "{operations:?}");
}

/// A function `f` whose change to `to` Lambda has taken and could not apply.
async fn with_a_failed_update(to: &Deployable) -> Aws {
    let aws = Aws::with(echoing()).await;
    aws.deploy(&echo("f")).await;
    aws.fake.change(|settings| settings.update_failure = Some("the image is gone".into()));
    let error = aws.platform.deploy(to).await.unwrap_err();
    assert!(error.message().contains("the image is gone"), "{error}");
    aws.fake.change(|settings| settings.update_failure = None);
    aws
}

#[tokio::test]
async fn a_failed_update_is_repaired_by_deploying_again_or_by_going_back() {
    let code = "def main(args):\n    return {}\n";
    let other = Deployable::from_source("f", "python:3".parse().unwrap(), code);
    let larger = echo("f").with_scaling(Scaling::default().with_memory_mib(512));
    for failed in [&other, &larger] {
        for next in [failed, &echo("f")] {
            let aws = with_a_failed_update(failed).await;
            aws.deploy(next).await;
            aws.fake.forget_requests();
            let deployment = aws.deploy(next).await;
            let operations: Vec<_> =
                aws.fake.requests().into_iter().map(|request| request.operation).collect();
            assert_eq!(operations, ["GetFunction"], "all of it has been applied");
            aws.platform.invoke(&deployment, &invocation(json!({}))).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_function_that_lambda_cannot_make_ready_is_reported_with_its_reason() {
    let aws = Aws::with(FakeSettings { looks_while_pending: 0, ..echoing() }).await;
    let failed = json!({"Configuration": {
        "FunctionName": "f", "FunctionArn": "arn", "State": "Failed", "StateReason": "no bootstrap for you",
    }});
    aws.fake.script(
        "GetFunction",
        falco_fakes::aws::lambda_error(404, "ResourceNotFoundException", "none"),
    );
    aws.fake.script("GetFunction", Reply::json(200, &failed));
    let error = aws.platform.deploy(&echo("f")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("no bootstrap for you"), "{error}");
}

/// Invokes a function whose log comes late, removes it, and returns what is there when the log has come.
async fn left_by_a_late_log(role: Option<&str>) -> (FakeAws, Vec<String>) {
    // Far more than the removal takes: the log would not come late otherwise.
    let late = Duration::from_secs(2);
    let fake = FakeAws::with(FakeSettings { log_delay: late, ..echoing() });
    let config = fake.config();
    let config = if let Some(role) = role { config.role(role) } else { config };
    let platform = AwsLambda::connect(config.build().unwrap()).await.unwrap();
    let deployment = platform.deploy(&echo("f")).await.unwrap();
    platform.invoke(&deployment, &invocation(json!({}))).await.unwrap();
    platform.remove(&deployment).await.unwrap();
    assert!(fake.leftovers().is_empty(), "{:?}", fake.leftovers());
    while fake.late_logs() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let left = fake.leftovers();
    (fake, left)
}

#[tokio::test]
async fn a_log_that_lambda_writes_after_the_removal_does_not_bring_the_group_back() {
    let (fake, left) = left_by_a_late_log(None).await;
    assert!(left.is_empty(), "{left:?}");
    let created = fake.requests_of("CreateLogGroup")[0].json();
    assert_eq!(created["tags"]["falco:runtime"], "python:3");
}

#[tokio::test]
async fn a_role_that_may_create_log_groups_does_bring_it_back_as_the_readme_says() {
    let (_, left) = left_by_a_late_log(Some("arn:aws:iam::123456789012:role/given")).await;
    assert_eq!(left, ["log group /aws/lambda/f"]);
    assert!(include_str!("../../README.md").contains("logs:CreateLogGroup"));
}

#[tokio::test]
async fn logs_are_kept_for_as_long_as_configured() {
    let fake = FakeAws::with(echoing());
    let error = fake.config().log_retention_days(2).build().unwrap_err();
    assert!(
        error.message().contains("invalid log_retention_days 2: use one of 1, 3, 5"),
        "{error}"
    );
    let platform = AwsLambda::connect(fake.config().log_retention_days(7).build().unwrap()).await;
    let platform = platform.unwrap();
    platform.deploy(&echo("f")).await.unwrap();
    // A group that is there already gets the retention as well.
    platform.deploy(&echo("f").with_env("OTHER", "1")).await.unwrap();
    let set = fake.requests_of("PutRetentionPolicy");
    assert_eq!(set.len(), 2);
    assert!(set.iter().all(|request| request.json()["retentionInDays"] == 7));
}

#[tokio::test]
async fn without_permission_for_log_groups_only_a_role_that_may_create_them_will_do() {
    let denied =
        || falco_fakes::aws::json_error("AccessDeniedException", "logs:CreateLogGroup is denied");
    let fake = FakeAws::with(echoing());
    let platform = AwsLambda::connect(fake.config().build().unwrap()).await.unwrap();
    fake.script("CreateLogGroup", denied());
    let error = platform.deploy(&echo("f")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(error.hint().unwrap().contains("logs:CreateLogGroup"), "{error}");
    let config = fake.config().role("arn:aws:iam::123456789012:role/given").build().unwrap();
    let platform = AwsLambda::connect(config).await.unwrap();
    fake.script("CreateLogGroup", denied());
    platform.deploy(&echo("g")).await.unwrap();
}

#[tokio::test]
async fn a_log_that_is_written_on_while_the_function_is_removed_goes_too() {
    let aws = Aws::with(echoing()).await;
    let deployment = aws.deploy(&echo("f")).await;
    aws.platform.invoke(&deployment, &invocation(json!({}))).await.unwrap();
    // It is deleted, and at once there again.
    aws.fake.script("DeleteLogGroup", Reply::json(200, &json!({})));
    aws.platform.remove(&deployment).await.unwrap();
    assert!(aws.fake.leftovers().is_empty(), "{:?}", aws.fake.leftovers());
}

#[tokio::test]
async fn reserved_concurrency_can_be_scaled() {
    let aws = Aws::with(echoing()).await;
    let deployment = aws.deploy(&echo("f")).await;
    let few = Scaling::default().with_max_instances(3);
    let scaled = aws.platform.scale(&deployment, &few).await.unwrap();
    assert_eq!(scaled.scaling.max_instances, Some(3));
    let too_many = Scaling::default().with_max_instances(901);
    let error = aws.platform.scale(&deployment, &too_many).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.hint().unwrap().contains("quota"), "{error}");
    let gone = aws.platform.fetch_deployment("no-such").await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}
