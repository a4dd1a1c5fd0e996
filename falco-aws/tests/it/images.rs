//! Functions that are container images.

use falco_core::{Deployable, Image, Payload, Platform};
use serde_json::{Value, json};

use crate::support::{Aws, echo, echoing, invocation, ownership};

/// An image in the registry of the fake's region.
fn reference(aws: &Aws, rest: &str) -> String {
    let region = aws.fake.config().build().unwrap().region().to_owned();
    format!("123456789012.dkr.ecr.{region}.amazonaws.com/science{rest}")
}

fn operations(aws: &Aws) -> Vec<String> {
    aws.fake.requests().into_iter().map(|request| request.operation).collect()
}

#[tokio::test]
async fn an_image_is_created_with_its_role_architecture_and_entry_point() {
    let aws = Aws::with(echoing()).await;
    let uri = reference(&aws, ":1");
    let function = Deployable::from_image("f", &*uri)
        .with_entry_point("app.handler")
        .with_env("AB", "c")
        .with_ownership(ownership());
    let deployment = aws.deploy(&function).await;
    let created = aws.fake.requests_of("CreateFunction")[0].json();
    assert_eq!(created["PackageType"], "Image");
    assert_eq!(created["Code"], json!({"ImageUri": uri}));
    assert_eq!(created["ImageConfig"], json!({"Command": ["app.handler"]}));
    assert_eq!(created["Architectures"], json!(["x86_64"]));
    assert_eq!(created["Environment"], json!({"Variables": {"AB": "c"}}));
    assert_eq!(
        created["Role"],
        "arn:aws:iam::123456789012:role/falco/eu-central-1/f/f.eu-central-1"
    );
    assert!(created["Runtime"].is_null() && created["Handler"].is_null(), "{created}");
    let activation = aws.platform.invoke(&deployment, &invocation(json!({"n": 1}))).await.unwrap();
    assert_eq!(activation.outcome.unwrap().parse::<Value>().unwrap(), json!({"n": 1}));
    let found = aws.platform.fetch_deployment("f").await.unwrap();
    assert_eq!((&found.runtime, found.ownership.is_some()), (&deployment.runtime, true));
    assert!(aws.platform.capabilities().images);
}

#[tokio::test]
async fn an_image_by_its_digest_is_deployed_once_and_one_by_its_tag_is_looked_up_again() {
    let aws = Aws::with(echoing()).await;
    let by_digest = reference(&aws, &format!("@sha256:{}", "1".repeat(64)));
    aws.deploy(&Deployable::from_image("f", by_digest)).await;
    aws.fake.forget_requests();
    aws.deploy(&Deployable::from_image(
        "f",
        reference(&aws, &format!("@sha256:{}", "1".repeat(64))),
    ))
    .await;
    assert_eq!(operations(&aws), ["GetFunction"]);
    aws.fake.forget_requests();
    let tag = reference(&aws, ":1");
    aws.deploy(&Deployable::from_image("f", &*tag)).await;
    let updated = aws.fake.requests_of("UpdateFunctionCode");
    assert_eq!(updated[0].json(), json!({"ImageUri": tag, "Architectures": ["x86_64"]}));
    // Where the tag leads is known to Lambda only.
    aws.fake.forget_requests();
    aws.deploy(&Deployable::from_image("f", &*tag)).await;
    assert_eq!(aws.fake.requests_of("UpdateFunctionCode").len(), 1);
}

#[tokio::test]
async fn arguments_that_changed_are_changed_and_those_that_are_gone_are_gone() {
    let aws = Aws::with(echoing()).await;
    let image = Image::new(reference(&aws, &format!("@sha256:{}", "1".repeat(64))));
    aws.deploy(&Deployable::from_image("f", image.clone().with_arguments(["a"]))).await;
    for (image, config) in [
        (image.clone().with_arguments(["b", "c"]), json!({"Command": ["b", "c"]})),
        (image, json!({})),
    ] {
        aws.fake.forget_requests();
        aws.deploy(&Deployable::from_image("f", image)).await;
        let updated = aws.fake.requests_of("UpdateFunctionConfiguration");
        assert_eq!(updated[0].json()["ImageConfig"], config);
    }
}

#[tokio::test]
async fn an_archive_that_becomes_an_image_is_made_anew_since_lambda_changes_none_into_the_other() {
    let aws = Aws::with(echoing()).await;
    let image = Deployable::from_image("f", reference(&aws, ":1"));
    aws.deploy(&echo("f")).await;
    for function in [image, echo("f")] {
        aws.fake.forget_requests();
        let deployment = aws.deploy(&function).await;
        let done = operations(&aws);
        let place = |name: &str| done.iter().position(|operation| operation == name).unwrap();
        assert!(place("DeleteFunction") < place("CreateFunction"), "{done:?}");
        let answer = aws.platform.invoke(&deployment, &invocation(json!({}))).await.unwrap();
        assert!(answer.is_success());
    }
}

#[tokio::test]
async fn an_image_elsewhere_and_code_or_arguments_in_one_are_refused_before_anything_is_sent() {
    let aws = Aws::with(echoing()).await;
    aws.fake.forget_requests();
    for function in [
        Deployable::from_image("f", "python:3.12-slim"),
        echo("f").with_image(reference(&aws, ":1")),
        Deployable::from_image("f", reference(&aws, ":1")).with_arguments(Payload::empty()),
    ] {
        let error = aws.platform.deploy(&function).await.unwrap_err();
        assert!(error.hint().is_some() && error.function() == Some("f"), "{error}");
    }
    assert_eq!(operations(&aws), Vec::<String>::new());
}
