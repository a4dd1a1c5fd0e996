//! A line to the store that is cut and mended while functions use it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use falco_core::{Deployable, Deployment, ErrorKind, Invocation, Payload, Platform, Result};
use falco_data::{Data, DataPolicy};
use falco_fakes::FakeS3;
use falco_fakes::s3::SECRET_KEY;
use falco_local::{LocalConfig, LocalPlatform};
use falco_testkit::{Line, TcpProxy};
use serde_json::json;

use crate::server::store_at;

/// More than the sockets between server and function hold.
const SIZE: usize = 32 << 20;

/// Reads the beginning, says so, waits, reads the rest, and writes an object.
const PYTHON: &str = r#"
import os, time


def main(args):
    stream = args["input"].open()
    read = len(stream.read(1 << 20))
    open(args["begun"], "w").close()
    while not os.path.exists(args["go"]):
        time.sleep(0.01)
    for piece in iter(lambda: stream.read(1 << 20), b""):
        read += len(piece)
    with args["out"] as out:
        out.write(b"%d" % read)
    return {"out": out.close(), "read": read}
"#;

const NODE: &str = r#"
const fs = require('fs');
exports.main = async (args) => {
  let read = 0;
  for await (const piece of args.input.chunks()) {
    if (read === 0) fs.writeFileSync(args.begun, '');
    while (!fs.existsSync(args.go)) await new Promise((resolve) => setTimeout(resolve, 10));
    read += piece.length;
  }
  args.out.write(String(read));
  return { out: await args.out.close(), read };
};
"#;

struct World {
    s3: FakeS3,
    proxy: TcpProxy,
    folder: tempfile::TempDir,
    data: Arc<Data<LocalPlatform>>,
}

impl World {
    async fn new() -> Self {
        let (s3, folder) = (FakeS3::start(), tempfile::tempdir().unwrap());
        s3.put("in/a.bin", vec![7; SIZE]);
        let proxy = TcpProxy::start(s3.url()).await.unwrap();
        let store = |place| store_at(&proxy.url(), place, SECRET_KEY);
        let config = LocalConfig::builder().directory(folder.path().join("local"));
        let local = LocalPlatform::connect(config.build().unwrap()).await.unwrap();
        let data = Data::new(local, store("bucket/scratch"), DataPolicy::default()).unwrap();
        let data = Arc::new(data.with_store(store("bucket/in")));
        Self { s3, proxy, folder, data }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// A call whose function has read the beginning of its object.
    async fn begun(&self, deployment: &Deployment) -> tokio::task::JoinHandle<Result<Payload>> {
        let (begun, go) = (self.path("begun"), self.path("go"));
        for file in [&begun, &go] {
            // It may be of the call before.
            let _ = std::fs::remove_file(file);
        }
        let argument = json!({
            "input": {"falco:object": {"url": "s3://bucket/in/a.bin", "size": SIZE}},
            "out": falco_data::Sink::scratch(),
            "begun": begun,
            "go": go,
        });
        let invocation = Invocation::new("run", "read", "1", Payload::json(&argument).unwrap());
        let (data, deployment) = (self.data.clone(), deployment.clone());
        let call = tokio::spawn(async move {
            let activation = data.invoke(&deployment, &invocation).await?;
            Ok(activation.outcome.expect("the function succeeds"))
        });
        appears(&begun, &call).await;
        call
    }
}

async fn appears(path: &Path, call: &tokio::task::JoinHandle<Result<Payload>>) {
    while !path.exists() {
        assert!(!call.is_finished(), "the call ended before it read");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_goes_on_where_the_line_was_cut_and_the_store_may_be_away_for_a_moment() {
    let world = World::new().await;
    for function in [Deployable::python("f", PYTHON), Deployable::nodejs("f", NODE)] {
        let deployment = world.data.deploy(&function).await.unwrap();
        let call = world.begun(&deployment).await;
        let before = world.s3.requests();
        world.proxy.set(Line::Cut);
        std::fs::write(world.path("go"), "").unwrap();
        // Long enough that the first attempt to go on is refused.
        tokio::time::sleep(Duration::from_millis(150)).await;
        world.proxy.set(Line::Up);
        let result: serde_json::Value = call.await.unwrap().unwrap().parse().unwrap();
        assert_eq!(result["read"], SIZE);
        // The rest by another request, and the object by one.
        assert!(world.s3.requests() - before >= 2, "nothing was cut");
        let written = world.s3.objects("scratch/runs/run/read");
        let written: Vec<_> = written.iter().map(|(_, content)| content.as_slice()).collect();
        assert_eq!(written.last().unwrap(), &SIZE.to_string().as_bytes());
        world.data.remove(&deployment).await.unwrap();
    }
}

/// Reads over eight connections at once, which are kept.
const EIGHT: &str = r#"
def main(args):
    streams = [args["input"].open() for _ in range(8)]
    for stream in streams:
        stream.read(1)
    return {"read": sum(1 + len(stream.read()) for stream in streams)}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_store_has_closed_between_two_calls_fail_none() {
    let world = World::new().await;
    world.s3.put("in/b.bin", vec![7; 1 << 20]);
    let deployment = world.data.deploy(&Deployable::python("f", EIGHT)).await.unwrap();
    let object = json!({"falco:object": {"url": "s3://bucket/in/b.bin", "range": [0, 1 << 20]}});
    let payload = Payload::json(&json!({ "input": object })).unwrap();
    for number in 0..2 {
        let invocation = Invocation::new("run", "read", number.to_string(), payload.clone());
        let activation = world.data.invoke(&deployment, &invocation).await.unwrap();
        assert_eq!(activation.outcome.unwrap().as_str(), r#"{"read":8388608}"#);
        world.proxy.set(Line::Cut);
        world.proxy.set(Line::Up);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_stays_away_is_unavailable_and_the_call_may_be_repeated() {
    let world = World::new().await;
    let deployment = world.data.deploy(&Deployable::python("f", PYTHON)).await.unwrap();
    let call = world.begun(&deployment).await;
    world.proxy.set(Line::Cut);
    std::fs::write(world.path("go"), "").unwrap();
    let error = call.await.unwrap().unwrap_err();
    let text = format!("{error:#?}");
    assert!(error.kind() == ErrorKind::Unavailable && error.is_retryable(), "{text}");
    assert!(error.may_have_run(), "{text}");
    assert!(text.contains("/bucket/in/a.bin") && !text.contains("X-Amz-Signature"), "{text}");
    assert!(world.s3.objects("scratch/runs/run/read").is_empty());
}
