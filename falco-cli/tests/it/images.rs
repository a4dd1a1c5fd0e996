//! Images that are functions.

use std::sync::Arc;

use falco_fakes::{FakeAws, FakeOpenWhisk, aws, openwhisk};
use serde_json::{Value, json};

use crate::program::Machine;
use crate::remote::Remote;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_code_is_a_function_on_aws_with_role_architecture_and_entry_point() {
    let echoing =
        aws::FakeSettings { function: Some(Arc::new(Value::clone)), ..Default::default() };
    let remote = Remote::of_aws(FakeAws::with(echoing));
    let machine = Machine::new();
    let image = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/science:1";
    let handler = ["--entry-point", "app.handler"];
    let invoke = [&["invoke", "-q", "--image", image][..], &handler, &[r#"{"n": 1}"#]].concat();
    let printed = remote.run(&machine, &invoke).await.ok();
    assert_eq!(printed.parse::<Value>().unwrap(), json!({"n": 1}));
    let created = remote.fake_aws().requests_of("CreateFunction")[0].json();
    assert_eq!(created["PackageType"], "Image");
    assert_eq!(created["Code"], json!({"ImageUri": image}));
    assert_eq!(created["ImageConfig"], json!({"Command": ["app.handler"]}));
    assert_eq!(created["Architectures"].as_array().map(Vec::len), Some(1), "{created}");
    assert!(created["Role"].as_str().unwrap().contains(":role/"), "{created}");
    assert_eq!(remote.fake_aws().leftovers(), Vec::<String>::new());
    let elsewhere = ["invoke", "-q", "--image", "me/science:1"];
    let error = remote.run(&machine, &elsewhere).await.error();
    assert!(error.contains("me/science:1") && error.contains("registry"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_code_is_a_blackbox_action_on_openwhisk() {
    let function: openwhisk::FakeFunction = Arc::new(|argument| json!({"got": argument["n"]}));
    let echoing = openwhisk::FakeSettings { function: Some(function), ..Default::default() };
    let remote = Remote::of_openwhisk(FakeOpenWhisk::with(echoing));
    let machine = Machine::new();
    let invoke = ["invoke", "-q", "--keep", "--image", "me/science:1", r#"{"n": 1}"#];
    let printed = remote.run(&machine, &invoke).await.ok();
    assert_eq!(printed.parse::<Value>().unwrap(), json!({"got": 1}));
    let fake = remote.fake_openwhisk();
    let exec = fake.action(&fake.actions()[0]).unwrap()["exec"].clone();
    assert_eq!((&exec["kind"], &exec["image"]), (&json!("blackbox"), &json!("me/science:1")));
    assert!(matches!(exec["code"].as_str(), None | Some("")), "{exec}");
}
