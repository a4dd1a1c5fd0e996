//! Refusals of a store, at the driver and in functions, each with the reason and with what to do.

use falco_core::{Deployable, ErrorKind, Invocation, Payload, Platform};
use falco_data::{Data, DataPolicy, Splits, Store};
use falco_fakes::FakeS3;
use falco_testkit::InMemory;
use futures_util::TryStreamExt;
use serde_json::json;

use crate::local::World;
use crate::s3::local;
use crate::server::{store, store_at};

/// Status and code of the store; the kind of the error, and a part of its hint.
const REFUSALS: [(u16, &str, ErrorKind, &str); 7] = [
    (404, "NoSuchBucket", ErrorKind::NotFound, "create the bucket"),
    (301, "PermanentRedirect", ErrorKind::InvalidInput, "region of the bucket"),
    (400, "AuthorizationHeaderMalformed", ErrorKind::InvalidInput, "region of the bucket"),
    (403, "RequestTimeTooSkewed", ErrorKind::Forbidden, "set the clock"),
    (403, "AccessDenied", ErrorKind::Forbidden, "grant reading"),
    (403, "InvalidAccessKeyId", ErrorKind::Forbidden, "check the access key"),
    (400, "ExpiredToken", ErrorKind::Forbidden, "renew the credentials"),
];

#[tokio::test]
async fn planning_names_the_reason_of_a_refusal_and_what_to_do() {
    let s3 = FakeS3::start();
    s3.put("in/a.txt", "1\n2\n");
    for (status, code, kind, hint) in REFUSALS {
        s3.refuse_all(status, code);
        let splits = Splits::lines(&store(&s3, "bucket/in"), "");
        let error = splits.stream().try_collect::<Vec<_>>().await.unwrap_err();
        let text = format!("{error:#?}");
        assert!(error.kind() == kind && text.contains(hint), "{status} {code}: {text}");
        assert!(text.contains("s3://bucket/in") && !text.contains("Signature="), "{text}");
    }
}

#[tokio::test]
async fn the_first_deployment_names_the_reason_of_a_refusal_and_deploys_nothing() {
    let s3 = FakeS3::start();
    let function = Deployable::python("f", "def main(args): return {}");
    for (status, code, kind, hint) in REFUSALS {
        s3.refuse_all(status, code);
        let platform = std::sync::Arc::new(InMemory::default());
        let scratch = store(&s3, "bucket/scratch");
        let data = Data::new(platform.clone(), scratch, DataPolicy::default()).unwrap();
        let error = data.deploy(&function).await.unwrap_err();
        let text = format!("{error:#?}");
        assert!(error.kind() == kind && text.contains(hint), "{status} {code}: {text}");
        assert!(text.contains(code) && !text.contains("Signature="), "{text}");
        assert!(platform.list_deployments().await.unwrap().is_empty());
        // A check that failed is made again.
        s3.heal();
        data.deploy(&function).await.unwrap();
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named_before_anything_is_deployed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let place = folder.path().join("file/scratch");
    let platform = std::sync::Arc::new(InMemory::default());
    let policy = DataPolicy::default().with_shared_folders(true);
    let data = Data::new(platform.clone(), Store::folder(&place).unwrap(), policy).unwrap();
    let error =
        data.deploy(&Deployable::python("f", "def main(args): return {}")).await.unwrap_err();
    let text = error.to_string();
    assert!(error.kind() == ErrorKind::InvalidInput && !error.is_retryable(), "{error:#?}");
    assert!(text.contains("file/scratch") && text.contains("use a folder"), "{text}");
    assert!(platform.list_deployments().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_store_at_a_wrong_address_is_named_with_what_to_check() {
    let s3 = FakeS3::start();
    // Nobody listens on a port that was given back.
    let url = s3.url().to_owned();
    drop(s3);
    let scratch = store_at(&url, "bucket/scratch", "secret");
    let data = Data::new(InMemory::default(), scratch, DataPolicy::default()).unwrap();
    let error = data.check().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable, "{error:#?}");
    let text = format!("{error:#?}");
    assert!(text.contains("check the address of the store"), "{text}");
    assert!(!text.contains("X-Amz-Signature"), "{text}");
}

#[tokio::test]
async fn a_check_whose_second_request_fails_leaves_no_object() {
    let s3 = FakeS3::start();
    let data = Data::new(InMemory::default(), s3.store("scratch"), DataPolicy::default()).unwrap();
    s3.fail_every(2);
    let error = data.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:#?}");
    s3.fail_every(0);
    assert!(s3.objects("scratch").is_empty());
    data.check().await.unwrap();
}

/// Reads or writes one object.
const EITHER_PYTHON: &str = "
def main(args):
    if 'out' not in args:
        return {'text': args['input'].read().decode()}
    args['out'].write(b'x')
    return {'out': args['out'].close()}
";

const EITHER_NODE: &str = "
exports.main = async (args) => {
  if (!args.out) return { text: (await args.input.read()).toString() };
  args.out.write('x');
  return { out: await args.out.close() };
};
";

/// Status and code of the store, whether the function writes, and its error with a part of the text.
const IN_FUNCTIONS: [(u16, &str, bool, &str, &str); 8] = [
    (404, "NoSuchBucket", true, "StoreRefused", "create the bucket"),
    (404, "NoSuchBucket", false, "StoreRefused", "create the bucket"),
    (404, "NoSuchKey", false, "ObjectMissing", "is not there"),
    (301, "PermanentRedirect", false, "StoreRefused", "set the region"),
    (400, "AuthorizationHeaderMalformed", true, "StoreRefused", "set the region"),
    (403, "AccessDenied", true, "StoreRefused", "allow the account that signs"),
    (403, "AccessDenied", false, "StoreRefused", "allow the account that signs"),
    (400, "EntityTooLarge", true, "StoreRefused", "write more and smaller ones"),
];

#[tokio::test]
async fn a_refusal_in_a_function_names_the_object_the_reason_and_what_to_do() {
    let (s3, folder) = (FakeS3::start(), tempfile::tempdir().unwrap());
    let input = store(&s3, "bucket/in");
    let data = Data::new(local(&folder, 1), store(&s3, "bucket/scratch"), DataPolicy::default());
    let data = data.unwrap().with_store(input.clone());
    for function in
        [Deployable::python("either", EITHER_PYTHON), Deployable::nodejs("either", EITHER_NODE)]
    {
        s3.heal();
        let deployment = data.deploy(&function).await.unwrap();
        for (status, code, writes, error_type, text) in IN_FUNCTIONS {
            s3.refuse_all(status, code);
            let argument = match writes {
                true => json!({"out": falco_data::Sink::scratch()}),
                false => json!({"input": input.object("a.txt")}),
            };
            let payload = Payload::json(&argument).unwrap();
            let invocation = Invocation::new("run", "either", "1", payload);
            let activation = data.invoke(&deployment, &invocation).await.unwrap();
            let error = activation.outcome.unwrap_err();
            let shown = format!("{status} {code}: {error:#?}");
            assert_eq!(error.error_type.as_deref(), Some(error_type), "{shown}");
            assert!(error.message.contains(text) && shown.contains("/bucket/"), "{shown}");
            assert!(!shown.contains("X-Amz-Signature"), "{shown}");
        }
        data.remove(&deployment).await.unwrap();
    }
}

#[tokio::test]
async fn an_object_that_changed_is_not_read_from_a_store_that_does_not_heed_if_match() {
    // The version of "hello", as a listing writes it.
    const VERSION: &str = "5d41402abc4b2a76b9719d911017c592";
    let (s3, folder) = (FakeS3::start(), tempfile::tempdir().unwrap());
    let input = store(&s3, "bucket/in");
    let data = Data::new(local(&folder, 1), store(&s3, "bucket/scratch"), DataPolicy::default());
    let data = data.unwrap().with_store(input.clone());
    let object = input.object("a.txt").with_etag(Some(VERSION.to_owned()));
    let payload = Payload::json(&json!({ "input": object })).unwrap();
    let invocation = Invocation::new("run", "either", "1", payload);
    for function in
        [Deployable::python("either", EITHER_PYTHON), Deployable::nodejs("either", EITHER_NODE)]
    {
        let deployment = data.deploy(&function).await.unwrap();
        s3.put("in/a.txt", "hello");
        let activation = data.invoke(&deployment, &invocation).await.unwrap();
        assert_eq!(activation.outcome.unwrap().as_str(), r#"{"text":"hello"}"#);
        // As long as before.
        s3.put("in/a.txt", "HELLO");
        let activation = data.invoke(&deployment, &invocation).await.unwrap();
        let error = activation.outcome.unwrap_err();
        assert_eq!(error.error_type.as_deref(), Some("ObjectChanged"), "{error:#?}");
        data.remove(&deployment).await.unwrap();
    }
    let error = input.read(&object).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    s3.put("in/a.txt", "hello");
    assert!(input.read(&object).await.is_ok());
}

/// Writes 100 KB beyond its memory, where no file may have more than 64 KB.
const FULL_NODE: &str = r#"
const { execFileSync } = require('child_process');

async function main(args) {
  process.on('SIGXFSZ', () => {});
  execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=65536:']);
  args.out.bound = 1000;
  for (let number = 0; number < 10_000; number += 1) args.out.emit(`key${number}`, 'x'.repeat(100));
  return { out: await args.out.close() };
}
"#;

#[tokio::test]
async fn a_full_temporary_folder_is_an_error_by_name_in_node_too() {
    let world = World::new(&[]);
    let data = world.data(DataPolicy::default());
    let deployment = data.deploy(&Deployable::nodejs("full", FULL_NODE)).await.unwrap();
    let argument = json!({"out": falco_data::Sink::scratch().partitions(2)});
    let payload = Payload::json(&argument).unwrap();
    let invocation = Invocation::new("run", "emit", "1", payload);
    let activation = data.invoke(&deployment, &invocation).await.unwrap();
    let error = activation.outcome.unwrap_err();
    assert_eq!(error.error_type.as_deref(), Some("TemporaryFolderFull"), "{error:#?}");
    let written = world.files("scratch/runs");
    assert!(written.iter().all(|file| file.ends_with("falco.json")), "{written:?}");
    data.remove(&deployment).await.unwrap();
}
