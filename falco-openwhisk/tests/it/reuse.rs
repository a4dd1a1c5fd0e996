//! Functions that are deployed already are not sent again.

use std::time::{Duration, UNIX_EPOCH};

use falco_core::{Deployable, Ownership, Payload, Platform, Scaling};
use falco_fakes::openwhisk::FakeOpenWhisk;
use serde_json::Value;

use crate::support::{connect, echo, python};

fn owned(function: &Deployable, run: &str) -> Deployable {
    let expires_at = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    function.clone().with_ownership(Ownership::new(run, "ada", expires_at))
}

/// The methods of the requests since there were so many, and the bodies of those that change something.
fn since(fake: &FakeOpenWhisk, before: usize) -> (Vec<String>, Vec<Value>) {
    let requests = fake.requests().split_off(before);
    let bodies = requests.iter().filter(|request| request.method == "PUT");
    let bodies = bodies.map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
    (requests.iter().map(|request| request.method.to_string()).collect(), bodies)
}

#[tokio::test]
async fn a_function_that_is_there_is_looked_at_and_not_sent() {
    let (fake, platform) = connect(echo()).await;
    let arguments = Payload::from_bytes(r#"{"table":[1,2.50],"n":7}"#).unwrap();
    let function = python()
        .with_env("KEY", "marked-secret")
        .with_arguments(arguments)
        .with_scaling(Scaling::default().with_memory_mib(128));
    let first = platform.deploy(&owned(&function, "one")).await.unwrap();
    let before = fake.requests().len();
    let second = platform.deploy(&owned(&function, "one")).await.unwrap();
    assert_eq!(since(&fake, before), (vec!["GET".to_owned()], vec![]));
    assert_eq!(second, first);

    // Another owner is written down, without the code.
    let before = fake.requests().len();
    let third = platform.deploy(&owned(&function, "two")).await.unwrap();
    let (methods, bodies) = since(&fake, before);
    assert_eq!(methods, ["GET", "PUT"]);
    assert!(bodies[0].get("exec").is_none() && bodies[0].get("parameters").is_none());
    assert_eq!(third.ownership.unwrap().run, "two");
    let stored = fake.action(&function.name).unwrap();
    assert_eq!(stored["parameters"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn an_action_that_differs_in_anything_is_sent_again() {
    let (fake, platform) = connect(echo()).await;
    let function = python().with_env("KEY", "1");
    platform.deploy(&function).await.unwrap();
    let arguments = Payload::from_bytes(r#"{"n":7}"#).unwrap();
    for other in [
        function.clone().with_env("KEY", "2"),
        function.clone().with_env("KEY", "2").with_arguments(arguments),
        function.clone().with_env("KEY", "2").with_entry_point("main"),
        function.clone().with_scaling(Scaling::default().with_memory_mib(512)),
        function,
    ] {
        let before = fake.requests().len();
        platform.deploy(&other).await.unwrap();
        let (methods, bodies) = since(&fake, before);
        assert_eq!(methods, ["GET", "PUT"], "{other:?}");
        assert!(bodies[0]["exec"]["code"].is_string(), "{other:?}");
    }
}

#[tokio::test]
async fn an_image_gets_its_arguments_as_parameters_and_is_not_sent_again() {
    let (fake, platform) = connect(echo()).await;
    let arguments = Payload::from_bytes(r#"{"n":7}"#).unwrap();
    let image = Deployable::from_image("f", "me/own:1").with_arguments(arguments);
    platform.deploy(&image).await.unwrap();
    let stored = fake.action("f").unwrap();
    assert_eq!(stored["exec"]["image"], "me/own:1");
    assert_eq!(stored["parameters"], serde_json::json!([{"key": "n", "value": 7}]));
    let other = Deployable::from_image("f", "me/own:2").with_arguments(image.arguments.clone());
    for (again, methods) in [(image, &["GET"][..]), (other, &["GET", "PUT"])] {
        let before = fake.requests().len();
        platform.deploy(&again).await.unwrap();
        assert_eq!(since(&fake, before).0, methods);
    }
}
