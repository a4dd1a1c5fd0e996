//! The deployed artefact is run: unpacked, and started as Lambda starts it.

use std::sync::Arc;
use std::time::Duration;

use falco_aws::{Architecture, AwsLambda};
use falco_core::{
    Activation, AsyncPlatform, Deployable, Deployment, ErrorKind, FunctionErrorKind, Platform,
    Scaling,
};
use falco_fakes::aws::FakeAws;
use falco_package::Archive;
use serde_json::{Value, json};

use crate::support::{Aws, collect, has_ended, invocation, submit};

const PYTHON: &str = r#"
import os

def main(args):
    do = args.get("do")
    if do == "raise":
        raise ValueError("boom ä")
    if do == "exit":
        os._exit(3)
    if do == "list":
        return [1]
    if do == "nan":
        return {"x": float("nan")}
    if do == "error":
        return {"error": "mine"}
    if do == "print":
        print("out ä")
        os.system("echo from a child")
    return {"got": args}
"#;

const NODE: &str = r#"
async function main(args) {
  switch (args.do) {
    case 'raise': throw new RangeError('boom ä');
    case 'string': throw 'boom ä';
    case 'exit': process.exit(3);
    case 'list': return [1];
    case 'nothing': return undefined;
    case 'error': return { error: { code: 7 } };
    case 'print': console.log('out ä'); console.error('oops');
  }
  return { got: args };
}
"#;

/// An ActionLoop executable, in a language that this machine has: the protocol is the same for any.
const NATIVE: &str = r#"#!/usr/bin/env python3
import json, os, sys
results = os.fdopen(3, "w", 1)
for line in sys.stdin:
    args = json.loads(line)["value"]
    do = args.get("do")
    if do == "raise":
        results.write('{"error":"boom ä"}\n')
    elif do == "exit":
        os._exit(3)
    elif do == "killed":
        os.kill(os.getpid(), 9)
    elif do == "list":
        results.write("[1]\n")
    else:
        if do == "print":
            print("out ä", flush=True)
            print("oops", file=sys.stderr, flush=True)
        results.write(json.dumps({"got": args}, ensure_ascii=False) + "\n")
    results.flush()
"#;

async fn run(aws: &Aws, deployment: &Deployment, argument: Value) -> Activation {
    aws.platform.invoke(deployment, &invocation(argument)).await.unwrap()
}

async fn deploy(aws: &Aws, runtime: &str, source: &str) -> Deployment {
    let function = Deployable::from_source("f", runtime.parse().unwrap(), source);
    aws.deploy(&function).await
}

/// Checks the behaviour that all runtimes share.
async fn passes_values_and_distinguishes_failures(aws: &Aws, deployment: &Deployment) {
    for argument in [
        json!({}),
        json!({"größe": {"tief": [1, 2.5, null, {"a": "日本"}]}, "quote": "\"\\\n"}),
        json!({"long": "x".repeat(300_000)}),
    ] {
        let activation = run(aws, deployment, argument.clone()).await;
        let result: Value = activation.outcome.unwrap().parse().unwrap();
        assert_eq!(result["got"], argument);
    }
    let raised = run(aws, deployment, json!({"do": "raise"})).await.outcome.unwrap_err();
    assert_eq!((raised.kind, raised.message.as_str()), (FunctionErrorKind::Raised, "boom ä"));
    let bad = run(aws, deployment, json!({"do": "list"})).await.outcome.unwrap_err();
    assert_eq!(bad.kind, FunctionErrorKind::BadResult, "{bad}");
    let exited = run(aws, deployment, json!({"do": "exit"})).await.outcome.unwrap_err();
    assert_eq!((exited.kind, exited.exit_status), (FunctionErrorKind::Crashed, Some(3)));
    // The next one has an instance of its own.
    let next = run(aws, deployment, json!({"do": "print"})).await;
    assert_eq!(next.cold_start, Some(true));
    assert!(next.cost.is_some() && next.billed >= next.execution);
    let log =
        aws.platform.activation_log(deployment, std::slice::from_ref(&next.id)).await.unwrap();
    let texts: Vec<_> = log[0].lines.iter().map(|line| line.text.as_str()).collect();
    assert!(texts.contains(&"out ä"), "{texts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_function_runs_behind_its_handler() {
    let aws = Aws::start().await;
    let deployment = deploy(&aws, "python:3", PYTHON).await;
    passes_values_and_distinguishes_failures(&aws, &deployment).await;
    let raised = run(&aws, &deployment, json!({"do": "raise"})).await.outcome.unwrap_err();
    assert_eq!(raised.error_type.as_deref(), Some("ValueError"));
    assert!(raised.trace.unwrap().contains("main__.py"));
    let own = run(&aws, &deployment, json!({"do": "error"})).await.outcome.unwrap_err();
    assert_eq!((own.kind, own.message.as_str()), (FunctionErrorKind::Raised, "mine"));
    let nan = run(&aws, &deployment, json!({"do": "nan"})).await.outcome.unwrap_err();
    assert_eq!(nan.kind, FunctionErrorKind::BadResult, "{nan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_function_runs_behind_its_handler() {
    let aws = Aws::start().await;
    let deployment = deploy(&aws, "nodejs:22", NODE).await;
    passes_values_and_distinguishes_failures(&aws, &deployment).await;
    let raised = run(&aws, &deployment, json!({"do": "raise"})).await.outcome.unwrap_err();
    assert_eq!(raised.error_type.as_deref(), Some("RangeError"));
    let thrown = run(&aws, &deployment, json!({"do": "string"})).await.outcome.unwrap_err();
    assert_eq!((thrown.kind, thrown.message.as_str()), (FunctionErrorKind::Raised, "boom ä"));
    let own = run(&aws, &deployment, json!({"do": "error"})).await.outcome.unwrap_err();
    assert_eq!(own.message, r#"{"code":7}"#);
    let nothing = run(&aws, &deployment, json!({"do": "nothing"})).await.outcome.unwrap();
    assert_eq!(nothing.as_str(), "{}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_function_is_driven_by_its_bootstrap() {
    let aws = Aws::start().await;
    let deployment = deploy(&aws, "native", NATIVE).await;
    passes_values_and_distinguishes_failures(&aws, &deployment).await;
    let killed = run(&aws, &deployment, json!({"do": "killed"})).await.outcome.unwrap_err();
    assert_eq!(killed.kind, FunctionErrorKind::OutOfMemory, "{killed}");
}

/// A real executable for this machine, made by the compiler that made this test.
fn compiled() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let executable = directory.path().join("action");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/action.rs");
    let status = std::process::Command::new(compiler)
        .args(["--edition=2024", "-Cstrip=symbols", source, "-o"])
        .arg(&executable)
        .status();
    assert!(status.unwrap().success(), "the fixture compiles");
    std::fs::read(executable).unwrap()
}

fn action(executable: &[u8]) -> Deployable {
    let archive = Archive::new().with_executable("exec", executable.to_vec()).unwrap();
    Deployable::from_archive("f", "native".parse().unwrap(), archive.to_zip().unwrap())
}

async fn on(architecture: Architecture) -> Aws {
    let fake = FakeAws::start();
    let config = fake.config().architecture(architecture).build().unwrap();
    let platform = Arc::new(AwsLambda::connect(config).await.unwrap());
    Aws { fake, platform }
}

/// The architecture of this machine, and the other one.
const fn architectures() -> (Architecture, Architecture) {
    if cfg!(target_arch = "aarch64") {
        (Architecture::Arm64, Architecture::X86_64)
    } else {
        (Architecture::X86_64, Architecture::Arm64)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executable_from_a_compiler_runs_in_the_artefact_that_is_deployed() {
    let aws = on(architectures().0).await;
    let deployment = aws.deploy(&action(&compiled())).await;
    passes_values_and_distinguishes_failures(&aws, &deployment).await;
    let panicked = run(&aws, &deployment, json!({"do": "panic"})).await.outcome.unwrap_err();
    assert_eq!((panicked.kind, panicked.exit_status), (FunctionErrorKind::Crashed, Some(101)));
    for expected in 1..=2 {
        let activation = run(&aws, &deployment, json!({})).await;
        let result: Value = activation.outcome.unwrap().parse().unwrap();
        assert_eq!(result["calls"], expected, "one process takes event after event");
    }
    // The same when it is submitted.
    let pending = [submit(&aws, &deployment, json!({"größe": 1})).await];
    let found = collect(&aws, &deployment, &pending).await;
    let result: Value = found[0].outcome.as_ref().unwrap().parse().unwrap();
    assert_eq!(result, json!({"got": {"größe": 1}, "calls": 3}));
}

#[tokio::test]
async fn an_executable_that_cannot_start_there_is_refused_before_anything_is_sent() {
    let (here, other) = architectures();
    let real = compiled();
    let mut for_another = real.clone();
    for_another[18..20].copy_from_slice(&243_u16.to_le_bytes());
    for (executable, architecture, words) in [
        (real.clone(), other, format!("built for {}", here.as_str())),
        (for_another, here, "built for machine 243".into()),
        (real[..10].to_vec(), here, "headers cannot be read".into()),
        (b"MZ\x90\0 a program for Windows".to_vec(), here, "not an executable".into()),
        (b"\xcf\xfa\xed\xfe a program for macOS".to_vec(), here, "not an executable".into()),
        (b"def main(args): return args\n".to_vec(), here, "not an executable".into()),
        (Vec::new(), here, "not an executable".into()),
    ] {
        let aws = on(architecture).await;
        aws.fake.forget_requests();
        let error = aws.platform.deploy(&action(&executable)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.message().contains(&words), "{words}: {error}");
        assert!(error.hint().is_some(), "{error}");
        assert!(aws.fake.requests().is_empty(), "nothing was sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executable_is_kept_warm_between_events() {
    let aws = Aws::start().await;
    let counting =
        "#!/bin/bash\nn=0\nwhile read -r line; do n=$((n+1)); echo \"{\\\"n\\\":$n}\" >&3; done\n";
    let deployment = deploy(&aws, "native", counting).await;
    for expected in 1..=3 {
        let activation = run(&aws, &deployment, json!({})).await;
        assert_eq!(activation.cold_start, Some(expected == 1));
        assert_eq!(activation.outcome.unwrap().as_str(), format!("{{\"n\":{expected}}}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ecmascript_module_runs_too() {
    let aws = Aws::start().await;
    let zip = Archive::new()
        .with_file("package.json", r#"{"type":"module","main":"app.mjs"}"#)
        .unwrap()
        .with_file("app.mjs", "export function main(args) { return { module: args }; }\n")
        .unwrap()
        .to_zip()
        .unwrap();
    let function = Deployable::from_archive("f", "nodejs:22".parse().unwrap(), zip);
    let deployment = aws.deploy(&function).await;
    let result = run(&aws, &deployment, json!({"a": 1})).await.outcome.unwrap();
    assert_eq!(result.as_str(), r#"{"module":{"a":1}}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_cannot_be_loaded_says_why() {
    let aws = Aws::start().await;
    for (runtime, source, words) in [
        ("python:3", "def main(args)\n    return {}\n", "SyntaxError"),
        ("python:3", "import no_such_module\ndef main(args): return {}\n", "no_such_module"),
        ("python:3", "x = 1\n", "main"),
        ("nodejs:22", "function main( { return {} }\n", "SyntaxError"),
        ("nodejs:22", "const x = 1;\n", "main is not a function"),
    ] {
        let deployment = deploy(&aws, runtime, source).await;
        let error = run(&aws, &deployment, json!({})).await.outcome.unwrap_err();
        assert_eq!(error.kind, FunctionErrorKind::Initialization, "{error}");
        assert!(format!("{error} {:?}", error.error_type).contains(words), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_runs_too_long_is_ended() {
    let aws = Aws::start().await;
    let source = "import time\ndef main(args):\n    time.sleep(60)\n";
    let function = Deployable::from_source("f", "python:3".parse().unwrap(), source)
        .with_scaling(Scaling::default().with_timeout(Duration::from_secs(1)));
    let deployment = aws.deploy(&function).await;
    let error = run(&aws, &deployment, json!({})).await.outcome.unwrap_err();
    assert_eq!(error.kind, FunctionErrorKind::Timeout, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_while_it_is_idle_fails_no_call() {
    let source = "
import os, threading, time

def end_once_told(path):
    while not os.path.exists(path):
        time.sleep(0.01)
    os._exit(3)

def main(args):
    threading.Thread(target=end_once_told, args=[args['path']]).start()
    return {'pid': os.getpid()}
";
    let aws = Aws::start().await;
    let deployment = deploy(&aws, "python:3", source).await;
    let folder = tempfile::tempdir().unwrap();
    for n in 0..3 {
        let path = folder.path().join(n.to_string());
        let activation = run(&aws, &deployment, json!({"path": path})).await;
        assert_eq!(activation.cold_start, Some(true));
        let result: Value = activation.outcome.unwrap().parse().unwrap();
        std::fs::write(&path, "").unwrap();
        has_ended(result["pid"].as_u64().unwrap()).await;
    }
}
