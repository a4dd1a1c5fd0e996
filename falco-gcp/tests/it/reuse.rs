//! Functions that are deployed already are neither uploaded nor built again.

use std::time::{Duration, UNIX_EPOCH};

use falco_core::{Deployable, Ownership, Payload, Platform, Scaling};
use falco_fakes::gcp::FakeGcp;
use serde_json::json;

use crate::support::{ECHO, connect, echoing, python};

fn owned(function: &Deployable, run: &str) -> Deployable {
    let expires_at = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    function.clone().with_ownership(Ownership::new(run, "ada", expires_at))
}

/// How many uploads and changes of functions there were.
fn changes(fake: &FakeGcp) -> (usize, usize) {
    (fake.requests_to("PUT /upload-signed/").len(), fake.requests_to("PATCH").len())
}

#[tokio::test]
async fn a_function_that_is_there_is_looked_at_and_not_uploaded() {
    let fake = echoing();
    let platform = connect(fake.config()).await;
    let arguments = Payload::from_bytes(r#"{"n":7}"#).unwrap();
    let function = python("echo", ECHO)
        .with_env("KEY", "marked-secret")
        .with_arguments(arguments)
        .with_scaling(Scaling::default().with_memory_mib(512));
    let first = platform.deploy(&owned(&function, "one")).await.unwrap();
    assert_eq!(changes(&fake), (1, 0));
    let second = platform.deploy(&owned(&function, "one")).await.unwrap();
    assert_eq!((changes(&fake), second), ((1, 0), first));

    // Another owner is written down, without a build.
    let third = platform.deploy(&owned(&function, "two")).await.unwrap();
    assert_eq!(changes(&fake), (1, 1));
    let patch = &fake.requests_to("PATCH")[0];
    assert_eq!(patch.query("updateMask"), Some("labels"));
    assert_eq!(third.ownership.unwrap().run, "two");
    let variables = &fake.function("echo").unwrap()["serviceConfig"]["environmentVariables"];
    assert_eq!(variables["KEY"], json!("marked-secret"));
}

#[tokio::test]
async fn a_function_that_differs_in_anything_is_uploaded_again() {
    let fake = echoing();
    let platform = connect(fake.config()).await;
    let function = python("echo", ECHO).with_env("KEY", "1");
    platform.deploy(&function).await.unwrap();
    for other in [
        function.clone().with_env("KEY", "2"),
        function.clone().with_env("KEY", "2").with_arguments(Payload::empty()),
        function.clone().with_scaling(Scaling::default().with_memory_mib(512)),
        function,
    ] {
        let (uploads, patches) = changes(&fake);
        platform.deploy(&other).await.unwrap();
        assert_eq!(changes(&fake), (uploads + 1, patches + 1), "{other:?}");
    }
}
