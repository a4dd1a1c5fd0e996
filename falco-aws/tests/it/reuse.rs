//! Functions that are deployed already are not uploaded again.

use falco_core::{Ownership, Payload, Scaling};

use crate::support::{Aws, echo, ownership};

/// How often functions were looked at, and the requests that change something.
fn requests(aws: &Aws) -> (usize, Vec<String>) {
    let all = aws.fake.requests();
    let looks = all.iter().filter(|request| request.method == "GET").count();
    let others = all.iter().filter(|request| request.method != "GET");
    (looks, others.map(|request| request.target.clone()).collect())
}

#[tokio::test]
async fn a_function_that_is_there_is_looked_at_once_and_not_uploaded() {
    let aws = Aws::start().await;
    let arguments = Payload::from_bytes(r#"{"n":7}"#).unwrap();
    let scaling = Scaling::default().with_memory_mib(512).with_max_instances(3);
    let function = echo("f").with_env("KEY", "marked-secret").with_arguments(arguments);
    let function = function.with_scaling(scaling).with_ownership(ownership());
    let first = aws.deploy(&function).await;
    let (looks, changes) = requests(&aws);
    let second = aws.deploy(&function).await;
    assert_eq!((requests(&aws), second), ((looks + 1, changes.clone()), first));

    // Another owner is written down.
    let tomorrow = ownership().expires_at;
    let other = function.clone().with_ownership(Ownership::new("another", "ada", tomorrow));
    let third = aws.deploy(&other).await;
    let (now, written) = requests(&aws);
    assert_eq!((now, written.len()), (looks + 2, changes.len() + 1));
    assert!(written.last().unwrap().contains("/tags/"), "{written:?}");
    assert_eq!(third.ownership.unwrap().run, "another");
}

#[tokio::test]
async fn a_deployment_that_differs_is_updated_where_it_differs() {
    let aws = Aws::start().await;
    let function = echo("f").with_env("KEY", "1");
    aws.deploy(&function).await;
    let arguments = Payload::from_bytes(r#"{"n":7}"#).unwrap();
    for (other, operation) in [
        (function.clone().with_env("KEY", "2"), "UpdateFunctionConfiguration"),
        (function.clone().with_env("KEY", "2").with_arguments(arguments), "UpdateFunctionCode"),
        (
            function.clone().with_scaling(Scaling::default().with_memory_mib(512)),
            "UpdateFunctionConfiguration",
        ),
    ] {
        let before = aws.fake.requests_of(operation).len();
        aws.deploy(&other).await;
        assert_eq!(aws.fake.requests_of(operation).len(), before + 1, "{other:?}");
    }
}

#[tokio::test]
async fn the_tag_of_the_content_names_the_code_so_that_code_replaced_by_others_is_found_out() {
    let aws = Aws::start().await;
    let deployment = aws.deploy(&echo("f")).await;
    let tagged = aws.fake.requests_of("TagResource").pop().unwrap();
    let tags: serde_json::Value = serde_json::from_slice(&tagged.body).unwrap();
    let content = tags["Tags"]["falco:content"].as_str().unwrap();
    assert!(content.ends_with(deployment.attribute("code_sha256").unwrap()), "{content}");
}
