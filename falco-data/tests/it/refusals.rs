//! Refusals of a store, at the driver and in functions, each with the reason and with what to do.

use falco_core::{Deployable, ErrorKind, Invocation, Payload, Platform};
use falco_data::{Data, DataPolicy, Splits};
use falco_fakes::FakeS3;
use falco_testkit::InMemory;
use futures_util::TryStreamExt;
use serde_json::json;

use crate::local::World;
use crate::server::store;

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
