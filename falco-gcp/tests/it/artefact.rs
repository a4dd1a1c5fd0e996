//! The deployed artefact is run: unpacked, and called with the framework's convention.

use std::time::Duration;

use falco_core::{
    Activation, AsyncPlatform, Deployable, Deployment, FunctionErrorKind, LogStream, Platform,
    Scaling,
};
use falco_fakes::gcp::FakeGcp;
use falco_gcp::GcpFunctions;
use falco_package::Archive;
use serde_json::{Value, json};

use crate::submission::collected;
use crate::support::{connect, invocation, python, with_tasks};

/// An executable that speaks the ActionLoop, in Python since it has many ways to end.
const NATIVE: &str = r#"#!/usr/bin/env python3
import json, os, subprocess, sys, time
out = os.fdopen(3, "w")
count = 0
for line in sys.stdin:
    args = json.loads(line)["value"]
    count += 1
    do = args.get("do")
    if do == "exit":
        print("going down", file=sys.stderr, flush=True)
        os._exit(args["status"])
    if do == "kill":
        os.kill(os.getpid(), 9)
    if do == "sleep":
        time.sleep(30)
    if do == "print":
        print("one", flush=True)
        subprocess.run(["echo", "two"])
        print("three", file=sys.stderr, flush=True)
        sys.stdout.write("no line break")
        sys.stdout.flush()
    answer = {"raise": {"error": "größe"}, "no object": 42}.get(do, {"value": args, "count": count})
    out.write(json.dumps(answer) + "\n")
    out.flush()
"#;

fn native(name: &str) -> Deployable {
    let zip = Archive::new().with_executable("exec", NATIVE).unwrap().to_zip().unwrap();
    Deployable::from_archive(name, "native".parse().unwrap(), zip)
}

async fn call(platform: &GcpFunctions, deployment: &Deployment, args: Value) -> Activation {
    platform.invoke(deployment, &invocation(&args)).await.unwrap()
}

async fn log(
    platform: &GcpFunctions,
    deployment: &Deployment,
    activation: &Activation,
    lines: usize,
) -> Vec<(String, Option<LogStream>)> {
    loop {
        let ids = std::slice::from_ref(&activation.id);
        let log = platform.activation_log(deployment, ids).await.unwrap().pop();
        if let Some(log) = log.filter(|log| log.lines.len() >= lines) {
            return log.lines.into_iter().map(|line| (line.text, line.stream)).collect();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_native_executable_is_kept_warm_and_each_way_of_ending_is_distinguished() {
    let fake = FakeGcp::start();
    let platform = connect(fake.config()).await;
    let deployment = platform.deploy(&native("native")).await.unwrap();
    let value = json!({"nested": [{"größe": "世界 🦅"}, null, 1.5]});
    for count in 1..4 {
        let activation = call(&platform, &deployment, value.clone()).await;
        assert_eq!(activation.cold_start, Some(count == 1));
        let result: Value = activation.outcome.unwrap().parse().unwrap();
        assert_eq!(result, json!({"value": value, "count": count}), "the same process");
    }
    let large = json!({"x": "y".repeat(2 << 20)});
    let result: Value =
        call(&platform, &deployment, large.clone()).await.outcome.unwrap().parse().unwrap();
    assert_eq!(result["value"], large);

    let printing = call(&platform, &deployment, json!({"do": "print"})).await;
    let printed = log(&platform, &deployment, &printing, 4).await;
    let out = |text: &str| (text.to_owned(), Some(LogStream::Stdout));
    for line in
        [out("one"), out("two"), out("no line break"), ("three".into(), Some(LogStream::Stderr))]
    {
        assert!(printed.contains(&line), "{line:?} in {printed:?}");
    }
    for (args, kind, words) in [
        (json!({"do": "raise"}), FunctionErrorKind::Raised, "größe"),
        (json!({"do": "no object"}), FunctionErrorKind::BadResult, "it is 42"),
        (json!({"do": "exit", "status": 3}), FunctionErrorKind::Crashed, "ended"),
        (json!({"do": "kill"}), FunctionErrorKind::OutOfMemory, "killed"),
    ] {
        let error = call(&platform, &deployment, args).await.outcome.unwrap_err();
        assert!(error.kind == kind && error.message.contains(words), "{error:?}");
        if kind == FunctionErrorKind::Crashed {
            assert_eq!(error.exit_status, Some(3));
            assert!(error.trace.unwrap().contains("going down"));
        }
    }
    let after = call(&platform, &deployment, json!({})).await;
    assert_eq!(after.cold_start, Some(true), "a fresh process");

    let second = Scaling::default().with_timeout(Duration::from_secs(1));
    let scaled = platform.scale(&deployment, &second).await.unwrap();
    let error = call(&platform, &scaled, json!({"do": "sleep"})).await.outcome.unwrap_err();
    assert_eq!(error.kind, FunctionErrorKind::Timeout, "{error:?}");
}

#[tokio::test]
async fn python_functions_may_exit_read_start_processes_and_print_bytes() {
    let fake = FakeGcp::start();
    let platform = connect(fake.config()).await;
    let source = r#"
import os, subprocess, sys

def main(args):
    if args.get("exit"):
        sys.exit("leaving")
    if args.get("nan"):
        return {"x": float("nan")}
    subprocess.run(["sh", "-c", "echo from a child; cat"])
    os.write(1, b"raw \xff bytes\n")
    print("no line break", end="")
    return {"stdin": sys.stdin.read()}
"#;
    let deployment = platform.deploy(&python("odd-python", source)).await.unwrap();
    let activation = call(&platform, &deployment, json!({})).await;
    let printed = log(&platform, &deployment, &activation, 3).await;
    let texts: Vec<_> = printed.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(texts, ["from a child", "raw \u{fffd} bytes", "no line break"]);
    assert_eq!(
        activation.outcome.unwrap().as_str(),
        r#"{"stdin":""}"#,
        "the protocol is not the function's"
    );

    let error = call(&platform, &deployment, json!({"exit": true})).await.outcome.unwrap_err();
    assert!(error.kind == FunctionErrorKind::Raised && error.message == "leaving", "{error:?}");
    let error = call(&platform, &deployment, json!({"nan": true})).await.outcome.unwrap_err();
    assert_eq!(error.kind, FunctionErrorKind::BadResult);
    assert_eq!(
        call(&platform, &deployment, json!({})).await.cold_start,
        Some(false),
        "it is still warm"
    );
}

#[tokio::test]
async fn node_functions_may_be_packages_and_fail_in_every_way() {
    let fake = FakeGcp::start();
    let platform = connect(fake.config()).await;
    let zip = Archive::new()
        .with_file("package.json", r#"{"main":"lib/start.js","dependencies":{}}"#)
        .and_then(|a| a.with_file("lib/start.js", "exports.main = require('./other').main;"))
        .and_then(|a| {
            a.with_file(
                "lib/other.js",
                "exports.main = async (args) => {
                   if (args.reject) return Promise.reject({ code: 7 });
                   if (args.undefined) return undefined;
                   if (args.array) return [1];
                   if (args.circular) { const a = {}; a.a = a; return a; }
                   if (args.later) setTimeout(() => { throw new Error('later'); }, 1);
                   if (args.later) await new Promise((done) => setTimeout(done, 2000));
                   return { lines: args.lines };
                 };",
            )
        })
        .and_then(|a| a.to_zip())
        .unwrap();
    let function = Deployable::from_archive("package", "nodejs:22".parse().unwrap(), zip);
    let deployment = platform.deploy(&function).await.unwrap();
    let answer =
        call(&platform, &deployment, json!({"lines": "a\nb\u{2028}"})).await.outcome.unwrap();
    assert_eq!(answer.parse::<Value>().unwrap(), json!({"lines": "a\nb\u{2028}"}));
    assert_eq!(
        call(&platform, &deployment, json!({"undefined": 1})).await.outcome.unwrap().as_str(),
        "{}"
    );
    for (args, kind, words) in [
        (json!({"reject": 1}), FunctionErrorKind::Raised, r#"{"code":7}"#),
        (json!({"array": 1}), FunctionErrorKind::BadResult, "array"),
        (json!({"circular": 1}), FunctionErrorKind::BadResult, "circular"),
        (json!({"later": 1}), FunctionErrorKind::Crashed, "ended"),
    ] {
        let error = call(&platform, &deployment, args).await.outcome.unwrap_err();
        assert!(error.kind == kind && error.message.contains(words), "{error:?}");
    }
    call(&platform, &deployment, json!({"lines": 1})).await.outcome.unwrap();
}

/// A native function as users write them, compiled. The toolchain that runs the tests has a compiler.
fn compiled(name: &str) -> Deployable {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/native/count.rs");
    let directory = tempfile::tempdir().unwrap();
    let executable = directory.path().join("exec");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut compiler = std::process::Command::new(rustc);
    compiler.args(["--edition", "2024", "-C", "strip=symbols", "-o"]).arg(&executable).arg(source);
    assert!(compiler.status().unwrap().success(), "{source} has to compile");
    let zip = Archive::new().with_executable("exec", std::fs::read(executable).unwrap()).unwrap();
    Deployable::from_archive(name, "native".parse().unwrap(), zip.to_zip().unwrap())
}

#[tokio::test]
async fn a_compiled_executable_runs_from_the_zip_stays_warm_and_crashes_like_any_other() {
    let fake = FakeGcp::start();
    let platform = connect(with_tasks(fake.config())).await;
    let deployment = platform.deploy(&compiled("compiled")).await.unwrap();
    let frame = |id: &str, argument: &Value| {
        let trace = "0".repeat(55);
        format!("{{\"value\":{argument},\"activation_id\":\"{id}\",\"traceparent\":\"{trace}\"}}")
            .len()
    };
    for count in 1..4 {
        let argument = json!({"text": "größe 🦅", "n": count});
        let activation = call(&platform, &deployment, argument.clone()).await;
        assert_eq!(activation.cold_start, Some(count == 1));
        let bytes = frame(activation.id.as_str(), &argument);
        let result: Value = activation.outcome.as_ref().unwrap().parse().unwrap();
        assert_eq!(result, json!({"bytes": bytes, "count": count}), "the same process");
        let printed = log(&platform, &deployment, &activation, 1).await;
        assert_eq!(printed, [(format!("argument {count}"), Some(LogStream::Stdout))]);
    }
    let error = call(&platform, &deployment, json!({"do": "panic"})).await.outcome.unwrap_err();
    assert_eq!(error.kind, FunctionErrorKind::Crashed);
    assert!(error.exit_status == Some(101) && error.trace.unwrap().contains("told to"));
    // By the queue, with an argument that no task holds.
    let argument = json!({"text": "x".repeat(1 << 20)});
    let pending = platform.submit(&deployment, &invocation(&argument)).await.unwrap();
    let result = collected(&platform, &deployment, &pending).await.outcome.unwrap();
    let bytes = frame(pending.id.as_str(), &argument);
    assert_eq!(result.parse::<Value>().unwrap(), json!({"bytes": bytes, "count": 1}));
}
