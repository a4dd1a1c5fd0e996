//! Functions of one name in two regions of an account, whose roles IAM has once for all regions.

use std::sync::Arc;

use falco_aws::AwsLambda;
use falco_core::Platform;
use falco_fakes::aws::FakeAws;
use serde_json::json;

use crate::support::{Aws, collect, echo, echoing, invocation, ownership, submit};

/// The same account's fake in another region, and a platform that is connected to it.
async fn beside(aws: &Aws) -> Aws {
    let fake = aws.fake.beside("us-east-1");
    let platform = AwsLambda::connect(fake.config().build().unwrap()).await.unwrap();
    Aws { fake, platform: Arc::new(platform) }
}

fn policy(region: &str) -> String {
    let queue = format!("arn:aws:sqs:{region}:123456789012:falco-f");
    let statement = json!({"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": queue});
    json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
}

/// A role as earlier versions of Falco made it for `f`, last deployed in `region`.
fn place_old_role(fake: &FakeAws, region: &str) {
    fake.place_role("/falco/", "f", &[("falco", &policy(region))]);
}

#[tokio::test]
async fn a_function_keeps_its_role_when_one_of_its_name_comes_and_goes_in_another_region() {
    let here = Aws::with(echoing()).await;
    let there = beside(&here).await;
    let first = here.deploy(&echo("f").with_ownership(ownership())).await;
    let second = there.deploy(&echo("f").with_ownership(ownership())).await;
    let pending = [submit(&here, &first, json!({"n": 1})).await];
    assert_eq!(collect(&here, &first, &pending).await.len(), 1);
    let found = there.platform.list_deployments().await.unwrap();
    assert_eq!(found, std::slice::from_ref(&second));
    there.platform.remove(&second).await.unwrap();
    assert!(
        there.platform.list_deployments().await.unwrap().is_empty(),
        "the role of the first region is not a part of a deployment here"
    );
    here.platform.invoke(&first, &invocation(json!({}))).await.unwrap();
    let pending = [submit(&here, &first, json!({"n": 2})).await];
    assert_eq!(collect(&here, &first, &pending).await.len(), 1);
    assert!(here.fake.leftovers().contains(&"role f.eu-central-1".to_owned()));
    here.platform.remove(&first).await.unwrap();
    assert!(here.fake.leftovers().is_empty(), "{:?}", here.fake.leftovers());
}

#[tokio::test]
async fn a_function_under_an_old_role_gets_its_own_and_both_are_removed() {
    let aws = Aws::with(echoing()).await;
    place_old_role(&aws.fake, "eu-central-1");
    let old = aws.fake.config().role("arn:aws:iam::123456789012:role/falco/f").build().unwrap();
    AwsLambda::connect(old).await.unwrap().deploy(&echo("f")).await.unwrap();
    let deployment = aws.deploy(&echo("f")).await;
    let updated = aws.fake.requests_of("UpdateFunctionConfiguration");
    assert_eq!(
        updated[0].json()["Role"],
        "arn:aws:iam::123456789012:role/falco/eu-central-1/f/f.eu-central-1"
    );
    aws.platform.remove(&deployment).await.unwrap();
    assert!(aws.fake.leftovers().is_empty(), "{:?}", aws.fake.leftovers());
}

#[tokio::test]
async fn an_old_role_without_a_function_is_found_and_removed_in_the_region_of_its_policy() {
    let here = Aws::with(echoing()).await;
    let there = beside(&here).await;
    place_old_role(&here.fake, "eu-central-1");
    assert!(there.platform.list_deployments().await.unwrap().is_empty());
    let deployment = there.deploy(&echo("f")).await;
    there.platform.remove(&deployment).await.unwrap();
    let found = here.platform.list_deployments().await.unwrap();
    assert_eq!(found.len(), 1, "it is still there");
    assert_eq!(found[0].name, "f");
    here.platform.remove(&found[0]).await.unwrap();
    assert!(here.fake.leftovers().is_empty(), "{:?}", here.fake.leftovers());
}

#[tokio::test]
async fn an_old_role_whose_policy_may_not_be_read_is_left_alone() {
    let aws = Aws::with(echoing()).await;
    place_old_role(&aws.fake, "eu-central-1");
    let denied = falco_fakes::aws::xml_error(
        403,
        "AccessDenied",
        "not authorized to perform: iam:GetRolePolicy",
    );
    aws.fake.script("GetRolePolicy", denied);
    assert!(aws.platform.list_deployments().await.unwrap().is_empty());
    assert_eq!(aws.fake.leftovers(), ["role f"]);
}

#[tokio::test]
async fn an_old_role_that_never_got_its_policy_is_removed() {
    let aws = Aws::with(echoing()).await;
    aws.fake.place_role("/falco/", "f", &[]);
    let found = aws.platform.list_deployments().await.unwrap();
    aws.platform.remove(&found[0]).await.unwrap();
    assert!(aws.fake.leftovers().is_empty(), "{:?}", aws.fake.leftovers());
}
