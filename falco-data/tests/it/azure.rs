//! Azure Blob Storage, by azurite, which checks signatures.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use falco_core::{Deployable, ErrorKind, Invocation, Payload, Platform, RuntimeName, Stage};
use falco_data::{Data, DataPolicy, Exchange, Sink, Splits, Store};
use falco_executors::{DriverExt, ParallelExecutor, RunOptions};
use falco_local::{LocalConfig, LocalPlatform};
use falco_testkit::InMemory;
use futures_util::TryStreamExt;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::{ObjectStoreExt, PutPayload};
use serde_json::{Value, json};

use crate::local::{COUNT_PYTHON, Plan, TOTAL_NODE};

const ACCOUNT: &str = "devstoreaccount1";
/// Azurite's, which its documentation prints.
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Makes the container: no signed URL can.
const CREATE: &str = r#"
import base64, hashlib, hmac, sys, urllib.request
from email.utils import formatdate
url, account, key = sys.argv[1:]
date = formatdate(usegmt=True)
lines = ["PUT"] + [""] * 11 + ["x-ms-date:" + date, "x-ms-version:2021-08-06", f"/{account}/{account}/container", "restype:container"]
signature = base64.b64encode(hmac.new(base64.b64decode(key), "\n".join(lines).encode(), hashlib.sha256).digest()).decode()
headers = {"x-ms-date": date, "x-ms-version": "2021-08-06", "Authorization": f"SharedKey {account}:{signature}", "Content-Length": "0"}
urllib.request.urlopen(urllib.request.Request(f"{url}/{account}/container?restype=container", method="PUT", headers=headers))
"#;

struct Azurite {
    process: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Azurite {
    fn start() -> Option<Self> {
        let program = falco_testkit::runtimes::find("azurite")?
            .join("node_modules/azurite/dist/src/blob/main.js");
        let folder = tempfile::tempdir().unwrap();
        let mut process = Command::new("node")
            .arg(program)
            .args([
                "--blobHost",
                "127.0.0.1",
                "--blobPort",
                "0",
                "--skipApiVersionCheck",
                "--disableTelemetry",
            ])
            .arg("--location")
            .arg(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let line = output.find(|line| line.contains("successfully listen"));
        // It ends when nobody reads what it prints.
        std::thread::spawn(move || output.for_each(drop));
        let line = line.expect("azurite says where it listens");
        let url = line[line.find("http://").unwrap()..].trim().to_owned();
        let created = Command::new("python3").args(["-c", CREATE, &url, ACCOUNT, KEY]).status();
        assert!(created.unwrap().success());
        Some(Self { process, url, _folder: folder })
    }

    fn client(&self, key: &str) -> object_store::azure::MicrosoftAzure {
        MicrosoftAzureBuilder::new()
            .with_account(ACCOUNT)
            .with_access_key(key)
            .with_endpoint(format!("{}/{ACCOUNT}", self.url))
            .with_allow_http(true)
            .with_container_name("container")
            .build()
            .unwrap()
    }

    fn store(&self, prefix: &str) -> Store {
        Store::new(&format!("az://container/{prefix}"), self.client(KEY)).unwrap()
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads a blob and writes it, with a long result.
const COPY_PYTHON: &str = r#"
def main(args):
    text = args["input"].read().decode()
    with args["out"] as out:
        out.write(text.encode())
    return {"out": out.close(), "text": text + args["text"]}
"#;

const COPY_NODE: &str = r#"
async function main(args) {
  const text = (await args.input.read()).toString();
  args.out.write(text);
  return { out: await args.out.close(), text: text + args.text };
}
"#;

async fn connected(folder: &std::path::Path) -> LocalPlatform {
    let config = LocalConfig::builder().directory(folder).build().unwrap();
    LocalPlatform::connect(config).await.unwrap()
}

#[tokio::test]
async fn signed_urls_of_blobs_are_refused_when_they_are_altered_or_expired_or_used_otherwise() {
    let Some(azurite) = Azurite::start() else { return };
    let content = PutPayload::from_static(b"0123456789");
    azurite.client(KEY).put(&"in/a.txt".into(), content).await.unwrap();
    let input = azurite.store("in");
    let echo = Deployable::from_source("f", RuntimeName::python(), "def main(args): return args");
    let argument = json!({"input": input.object("a.txt"), "out": Sink::scratch()});
    let payload = Payload::json(&argument).unwrap();
    let sent_with = async |policy| -> Value {
        let data = Data::new(InMemory::default(), azurite.store("scratch"), policy).unwrap();
        let data = data.with_store(input.clone());
        let deployment = data.deploy(&echo).await.unwrap();
        let invocation = Invocation::new("r", "s", "1", payload.clone());
        let activation = data.invoke(&deployment, &invocation).await;
        activation.unwrap().outcome.unwrap().parse().unwrap()
    };
    let short = DataPolicy::default().with_url_lifetime(Duration::from_secs(1));
    let expiring = sent_with(short).await;
    let sent = sent_with(DataPolicy::default()).await;
    let get = sent["input"]["falco:object"]["get"].as_str().unwrap();
    let sink = &sent["out"]["falco:sink"];
    let put = sink["put"].as_str().unwrap();
    let client = reqwest::Client::new();
    let write = |url: &str| {
        let headers = sink["headers"].as_object().unwrap().iter();
        headers.fold(client.put(url), |request, (name, value)| {
            request.header(name, value.as_str().unwrap())
        })
    };
    let status = |request: reqwest::RequestBuilder| async {
        request.send().await.unwrap().status().as_u16()
    };

    assert_eq!(status(client.get(get).header("Range", "bytes=2-4")).await, 206);
    assert_eq!(status(write(put).body("x")).await, 201);
    assert_eq!(status(client.get(get.replace("a.txt", "b.txt"))).await, 403);
    assert_eq!(status(client.get(get.replace("sig=", "sig=A"))).await, 403);
    assert_eq!(status(write(get).body("x")).await, 403);
    assert_eq!(status(client.get(put)).await, 403);
    let until = expiring["input"]["falco:object"]["until"].as_u64().unwrap();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    while now() <= until + 1 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let expired = expiring["input"]["falco:object"]["get"].as_str().unwrap();
    assert_eq!(status(client.get(expired)).await, 403);
    assert_eq!(status(client.get(get)).await, 200);
}

#[tokio::test]
async fn functions_read_and_write_blobs_and_refusals_name_the_reason() {
    let Some(azurite) = Azurite::start() else { return };
    let content = PutPayload::from_static(b"to be or not to be\nthat is\n");
    azurite.client(KEY).put(&"in/a.txt".into(), content).await.unwrap();
    let (input, output) = (azurite.store("in"), azurite.store("out"));
    let folder = tempfile::tempdir().unwrap();
    let local = connected(folder.path()).await;
    let data = Data::new(local, azurite.store("scratch"), DataPolicy::default()).unwrap();
    let data = data.with_store(input.clone()).with_store(output.clone());
    let splits = Splits::lines(&input, "").target(10).with_sink(Sink::scratch().partitions(2));
    let exchange = Exchange::of_field("out").with_sink(output.sink("part"));
    let plan = Plan(vec![
        Stage::new("map", Deployable::python("c", COUNT_PYTHON), move || splits.inputs()),
        Stage::derived("reduce", Deployable::nodejs("t", TOTAL_NODE), ["map"], exchange),
    ]);
    let strategy = std::sync::Arc::new(ParallelExecutor::new());
    let outcome = plan.run(RunOptions::new(std::sync::Arc::new(data), strategy)).await.unwrap();
    assert!(outcome.is_success(), "{}", outcome.report);
    let mut words = Vec::new();
    for (_, result) in outcome.results("reduce").unwrap() {
        let result: serde_json::Value = result.parse().unwrap();
        let object = serde_json::from_value(result["out"].clone()).unwrap();
        let pieces: Vec<_> = output.read(&object).await.unwrap().try_collect().await.unwrap();
        words.extend(String::from_utf8(pieces.concat()).unwrap().lines().map(str::to_owned));
    }
    words.sort();
    assert_eq!(words, ["be\t2", "is\t1", "not\t1", "or\t1", "that\t1", "to\t2"]);

    // A blob that changes after the plan is not read, whatever its length.
    let splits = Splits::lines(&input, "");
    let planned: Vec<_> = splits.inputs().try_collect().await.unwrap();
    let content = PutPayload::from_static(b"TO BE OR NOT TO BE\nTHAT IS\n");
    azurite.client(KEY).put(&"in/a.txt".into(), content).await.unwrap();
    let local = connected(&folder.path().join("changed")).await;
    let data = Data::new(local, azurite.store("scratch"), DataPolicy::default()).unwrap();
    let data = data.with_store(input.clone());
    let read = "def main(args): return {'text': args['input'].read().decode()}";
    let read_node =
        "exports.main = async (args) => ({ text: (await args.input.read()).toString() });";
    for function in [Deployable::python("read", read), Deployable::nodejs("read", read_node)] {
        let deployment = data.deploy(&function).await.unwrap();
        let invocation = Invocation::new("run", "read", "1", planned[0].payload.clone());
        let activation = data.invoke(&deployment, &invocation).await.unwrap();
        let error = activation.outcome.unwrap_err();
        assert_eq!(error.error_type.as_deref(), Some("ObjectChanged"), "{error:#?}");
        assert!(error.message.contains("plan the run again"), "{error:#?}");
    }

    // Names that object_store and Azure sign differently are refused while planning.
    let content = PutPayload::from_static(b"x");
    azurite.client(KEY).put(&"odd/a b.txt".into(), content).await.unwrap();
    let odd = azurite.store("odd");
    let error = Splits::lines(&odd, "").stream().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");

    let wrong = "d3Jvbmc=";
    let store = Store::new("az://container/scratch", azurite.client(wrong)).unwrap();
    let local = connected(&folder.path().join("2")).await;
    let error = Data::new(local, store, DataPolicy::default()).unwrap().check().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Forbidden && !error.to_string().contains("sig="), "{error}");
}

#[tokio::test]
async fn calls_at_once_read_write_and_spill_blobs_of_their_own() {
    const CALLS: usize = 16;
    let Some(azurite) = Azurite::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (input, scratch) = (azurite.store("in"), azurite.store("scratch"));
    let local = connected(folder.path()).await;
    let policy = DataPolicy::default().with_inline(1000);
    let data = Data::new(local, scratch.clone(), policy).unwrap().with_store(input.clone());
    for function in [Deployable::python("copy", COPY_PYTHON), Deployable::nodejs("copy", COPY_NODE)]
    {
        let deployment = data.deploy(&function).await.unwrap();
        let calls = (0..CALLS).map(|number| {
            let (data, deployment, input) = (&data, &deployment, &input);
            let (scratch, client) = (&scratch, azurite.client(KEY));
            async move {
                // Text of its own, so that the answer of another call shows.
                let content = format!("{number}-").repeat(400);
                let text = format!("{number}+").repeat(400);
                let key = format!("{number}.txt");
                let blob = PutPayload::from(content.clone());
                client.put(&format!("in/{key}").into(), blob).await.unwrap();
                let argument =
                    json!({"input": input.object(&key), "out": Sink::scratch(), "text": text});
                let argument = Payload::json(&argument).unwrap();
                let invocation = Invocation::new("run", "copy", number.to_string(), argument);
                let activation = data.invoke(deployment, &invocation).await.unwrap();
                let result = activation.outcome.unwrap();
                assert!(result.as_str().starts_with(r#"{"falco:value":"#), "{result:?}");
                let result: Value = data.value(&result).await.unwrap().parse().unwrap();
                assert_eq!(result["text"], content.clone() + &text);
                let object = serde_json::from_value(result["out"].clone()).unwrap();
                let pieces = scratch.read(&object).await.unwrap();
                let pieces: Vec<_> = pieces.try_collect().await.unwrap();
                assert_eq!(pieces.concat(), content.as_bytes());
            }
        });
        futures_util::future::join_all(calls).await;
        data.remove(&deployment).await.unwrap();
    }
}
