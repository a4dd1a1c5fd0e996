//! A process that goes on with what another one has submitted and completed.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{
    AsyncPlatform, Deployable, Deployment, Invocation, InvocationId, Payload, Pending, Platform,
    RunId,
};
use falco_data::{Data, DataPolicy, Store, commit};
use falco_testkit::{InMemory, Reply, Settings};
use serde_json::json;

/// The result of a submitted activation, which is released then.
async fn result_of(
    data: &Data<Arc<InMemory>>,
    deployment: &Deployment,
    pending: &Pending,
) -> Payload {
    loop {
        let collected = data.collect(deployment, std::slice::from_ref(pending)).await.unwrap();
        assert!(collected.gone.is_empty(), "{:?}", collected.gone);
        if let Some(activation) = collected.finished.first() {
            let released = std::slice::from_ref(&activation.id);
            data.release(deployment, released, falco_core::Release::Taken);
            return activation.outcome.clone().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_value_that_an_earlier_process_asked_for_is_there_in_full_for_derivations() {
    let folder = tempfile::tempdir().unwrap();
    let value = folder.path().join("runs/run/value");
    std::fs::create_dir_all(value.parent().unwrap()).unwrap();
    std::fs::write(&value, r#"{"text":"long"}"#).unwrap();
    let reference =
        json!({"falco:value": {"url": format!("file://{}", value.display()), "size": 15}});
    let reference = Payload::json(&reference).unwrap();
    let answer = reference.clone();
    let inner = InMemory::new(Settings::default())
        .with_function("python", move |_| Reply::succeeded(answer.clone()));
    let inner = Arc::new(inner);
    let scratch = Store::folder(folder.path()).unwrap();
    let process = || {
        let policy = DataPolicy::default().with_shared_folders(true);
        Data::new(inner.clone(), scratch.clone(), policy).unwrap()
    };
    let first = process();
    let function = Deployable::python("long", "def main(args): return {}");
    let deployment = first.deploy(&function).await.unwrap();
    let invocation = |id: &str, is_read| {
        Invocation::new("run", "map", id, Payload::empty()).with_result_read(is_read)
    };
    let full = Payload::from_bytes(r#"{"text":"long"}"#).unwrap();
    let mut pending = Vec::new();
    for (id, is_read) in [("1", true), ("2", false)] {
        let pending_here = first.submit(&deployment, &invocation(id, is_read)).await.unwrap();
        let expected = if is_read { &full } else { &reference };
        assert_eq!(result_of(&first, &deployment, &pending_here).await, *expected);
        pending.push(first.submit(&deployment, &invocation(id, is_read)).await.unwrap());
    }
    drop(first);
    // Which of them a derivation looks into died with the first process.
    let second = process();
    for pending in pending {
        assert_eq!(result_of(&second, &deployment, &pending).await, full);
    }
}

#[tokio::test]
async fn a_run_completes_its_output_again_and_no_other_run_does() {
    let folder = tempfile::tempdir().unwrap();
    let output = Store::folder(folder.path()).unwrap();
    std::fs::write(folder.path().join("part-0-run-1-a"), "winner").unwrap();
    let url = output.object("part-0-run-1-a").url;
    let result = Payload::json(&json!({"out": {"falco:object": {"url": url, "size": 6}}})).unwrap();
    let results = [(InvocationId::from("0"), result)];
    let run = RunId::from("run");
    let manifest = commit(&output, &run, &results).await.unwrap();
    // A process that dies after it leaves it to the next one to find out that all is done.
    assert_eq!(commit(&output, &run, &results).await.unwrap(), manifest);
    std::fs::remove_file(folder.path().join("_SUCCESS")).unwrap();
    assert_eq!(commit(&output, &run, &results).await.unwrap(), manifest);
    let error = commit(&output, &RunId::from("other"), &results).await.unwrap_err();
    assert!(error.message().contains("holds a complete output already"), "{error}");
}
