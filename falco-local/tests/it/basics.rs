//! The portable convention: `main(args) -> result`, in every runtime.

use std::time::Duration;

use crate::support::{Local, has, native, node, python};

#[tokio::test]
async fn a_python_function_gets_its_argument_and_gives_its_result() {
    if !has("python3") {
        return;
    }
    let local = Local::new();
    let source = "def main(args):\n    return {'greeting': 'Hello ' + args['name'] + '! ä'}\n";
    let hello = local.deploy(&python(source)).await;
    assert_eq!(local.result(&hello, r#"{"name":"Ada"}"#).await, r#"{"greeting":"Hello Ada! ä"}"#);
}

#[tokio::test]
async fn a_node_function_gets_its_argument_and_gives_its_result() {
    if !has("node") {
        return;
    }
    let local = Local::new();
    for source in [
        "function main(args) { return {n: args.n + 1}; }",
        "exports.main = async (args) => ({n: args.n + 1});",
        "const main = (args) => new Promise((done) => setTimeout(() => done({n: args.n + 1}), 1));",
    ] {
        let function = local.deploy(&node(source)).await;
        assert_eq!(local.result(&function, r#"{"n":1}"#).await, r#"{"n":2}"#, "{source}");
        assert_eq!(local.result(&function, r#"{"n":2}"#).await, r#"{"n":3}"#, "{source}");
    }
}

#[tokio::test]
async fn a_native_function_gets_the_envelope_of_the_action_loop() {
    let local = Local::new();
    // The envelope itself is the result: it is a JSON object.
    let function = local.deploy(&native("printf '%s\\n' \"$line\" >&3")).await;
    let activation = local.invoke(&function, r#"{"n":1}"#).await;
    let envelope: serde_json::Value = activation.outcome.unwrap().parse().unwrap();
    assert_eq!(envelope["value"]["n"], 1);
    assert_eq!(envelope["activation_id"], activation.id.as_str());
    assert_eq!(envelope["action_name"], "/_/native-function");
    assert!(envelope["deadline"].as_str().unwrap().parse::<u64>().is_ok());
}

#[tokio::test]
async fn a_worker_is_kept_warm_and_its_cold_start_is_recorded() {
    if !has("python3") {
        return;
    }
    let local = Local::new();
    let source = "count = 0\ndef main(args):\n    global count\n    count += 1\n    return {'count': count}\n";
    let function = local.deploy(&python(source)).await;
    let first = local.invoke(&function, "{}").await;
    let second = local.invoke(&function, "{}").await;
    assert_eq!(first.outcome.unwrap().as_str(), r#"{"count":1}"#);
    assert_eq!(second.outcome.unwrap().as_str(), r#"{"count":2}"#);
    assert_eq!((first.cold_start, second.cold_start), (Some(true), Some(false)));
    assert!(first.init.unwrap() > Duration::ZERO && second.init.is_none());
    assert_eq!(first.container, second.container);
    assert!(first.started_at.unwrap() <= first.ended_at.unwrap());
    assert!(first.execution.is_some() && first.wait.is_some());
    assert_eq!(first.code_version.as_deref(), function.attribute("version"));
}
