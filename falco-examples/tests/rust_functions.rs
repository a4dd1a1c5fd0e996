//! Functions in Rust on every platform: this program is the executable that they upload, and the driver that calls it.
//!
//! It has no test harness, since its `main` has to serve a function before anything else.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    reason = "tests"
)]

#[path = "rust_functions/data.rs"]
mod data;

use std::process::ExitCode;
use std::sync::Arc;

use falco_aws::AwsLambda;
use falco_core::{AsyncPlatform, Deployable, FunctionErrorKind, Invocation, Payload};
use falco_fakes::aws::FakeAws;
use falco_fakes::data::Section;
use falco_fakes::gcp::FakeGcp;
use falco_fakes::openwhisk::FakeOpenWhisk;
use falco_function::{Executable, Functions, Registered};
use falco_gcp::GcpFunctions;
use falco_local::{LocalConfig, LocalPlatform, WorkerLimits};
use falco_openwhisk::OpenWhisk;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Serialize, Deserialize)]
struct Order {
    what: String,
}

#[derive(Serialize, Deserialize)]
struct Report {
    text: String,
    calls: u32,
}

/// Does as its argument says, and counts its calls.
fn obey(calls: &mut u32, order: Order) -> Result<Value, String> {
    *calls += 1;
    println!("told to {}", order.what);
    match order.what.as_str() {
        "fail" => Err("failed as asked: ä\u{2028}".to_owned()),
        "panic" => panic!("panicked as asked"),
        "exit" => std::process::exit(3),
        "nan" => Ok(json!({"number": f64::NAN})),
        "error" => Ok(json!({"error": null})),
        "list" => Ok(json!([1, 2])),
        "big" => Ok(json!({"text": "x".repeat(300_000)})),
        what => Ok(json!(Report { text: format!("{what} ä\u{2028}"), calls: *calls })),
    }
}

/// The wanted outcome of a call.
enum Right {
    Result(fn(&Value) -> bool),
    Failure(FunctionErrorKind, Option<&'static str>, &'static str),
}

fn table() -> Vec<(Value, Right)> {
    use FunctionErrorKind::{BadResult, Crashed, Raised};
    vec![
        (
            json!({"what": "one"}),
            Right::Result(|r| *r == json!({"text": "one ä\u{2028}", "calls": 1})),
        ),
        (
            json!({"what": "two"}),
            Right::Result(|r| *r == json!({"text": "two ä\u{2028}", "calls": 2})),
        ),
        (
            json!({"what": "fail"}),
            Right::Failure(Raised, Some("String"), "failed as asked: ä\u{2028}"),
        ),
        (json!({"what": "panic"}), Right::Failure(Raised, Some("panic"), "panicked as asked (at ")),
        // The state was made anew after the panic.
        (
            json!({"what": "again"}),
            Right::Result(|r| *r == json!({"text": "again ä\u{2028}", "calls": 1})),
        ),
        (json!({"which": 1}), Right::Failure(Raised, Some("BadArgument"), "missing field `what`")),
        (
            json!({"what": "error"}),
            Right::Failure(BadResult, Some("BadResult"), "the key \"error\""),
        ),
        (json!({"what": "list"}), Right::Failure(BadResult, Some("BadResult"), "an array")),
        (json!({"what": "big"}), Right::Result(|r| r["text"].as_str().unwrap().len() == 300_000)),
        (json!({"what": "exit"}), Right::Failure(Crashed, None, "")),
        (json!({"what": "after"}), Right::Result(|r| r["calls"] == 1)),
    ]
}

fn main() -> ExitCode {
    let mut functions = Functions::new();
    let obey = functions.add_with("obey", || Ok::<_, String>(0), obey);
    let broken =
        functions.add_with("broken", || Err("no model"), |(): &mut (), order: Order| Ok(order));
    let data = functions.add("data", data::obey);
    functions.serve_if_worker();
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    run(&obey, &broken, &data)
}

#[tokio::main]
async fn run(
    obey: &Registered<Order, Value>,
    broken: &Registered<Order, Order>,
    data: &Registered<data::Task, Value>,
) -> ExitCode {
    let program = Executable::current().unwrap();
    let obey = program.function(obey).unwrap().deployable().clone();
    let broken = program.function(broken).unwrap().deployable().clone();
    let data = program.function(data).unwrap().deployable().clone();
    let mut failed = 0;
    let platforms = ["local", "openwhisk", "aws", "gcp"];
    for name in platforms {
        // What the platform talks to is dropped after it.
        let (folder, whisk, aws, gcp);
        let platform: Arc<dyn AsyncPlatform> = match name {
            "local" => {
                folder = tempfile::tempdir().unwrap();
                let workers = WorkerLimits::default().with_max_workers(1);
                let config = LocalConfig::builder().directory(folder.path()).workers(workers);
                Arc::new(LocalPlatform::connect(config.build().unwrap()).await.unwrap())
            }
            "openwhisk" => {
                whisk = FakeOpenWhisk::start();
                Arc::new(OpenWhisk::connect(whisk.config().build().unwrap()).await.unwrap())
            }
            "aws" => {
                aws = FakeAws::start();
                Arc::new(AwsLambda::connect(aws.config().build().unwrap()).await.unwrap())
            }
            _ => {
                gcp = FakeGcp::start();
                Arc::new(GcpFunctions::connect(gcp.config().build().unwrap()).await.unwrap())
            }
        };
        let checked = async {
            check(platform.clone(), &obey, &broken).await?;
            for section in [Section::Objects, Section::Values, Section::AtOnce] {
                falco_fakes::data::check_function(platform.clone(), &data, section).await?;
            }
            Ok::<_, String>(())
        };
        match checked.await {
            Ok(()) => println!("test functions in Rust on {name} ... ok"),
            Err(complaint) => {
                println!("test functions in Rust on {name} ... FAILED\n{complaint}");
                failed += 1;
            }
        }
    }
    println!("{} passed, {failed} failed", platforms.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Deploys both functions, compares each call with the table, and removes them.
async fn check(
    platform: Arc<dyn AsyncPlatform>,
    obey: &Deployable,
    broken: &Deployable,
) -> Result<(), String> {
    let text = |error: falco_core::Error| format!("{error}");
    let deployment = platform.deploy(obey).await.map_err(text)?;
    for (argument, right) in table() {
        let invocation = Invocation::new("run", "rust", "0", Payload::json(&argument).unwrap());
        let activation = platform.invoke(&deployment, &invocation).await.map_err(text)?;
        let complain = |what: String| Err(format!("{argument}: {what}"));
        match (&activation.outcome, right) {
            (Ok(result), Right::Result(is_right)) => {
                if !is_right(&result.parse().unwrap()) {
                    return complain(format!("returned {}", result.as_str()));
                }
            }
            (Err(error), Right::Failure(kind, error_type, words)) => {
                let is_named =
                    error_type.is_none_or(|name| error.error_type.as_deref() == Some(name));
                if error.kind != kind || !is_named || !error.message.contains(words) {
                    return complain(format!("failed as {error:?}"));
                }
            }
            (outcome, _) => return complain(format!("came to {outcome:?}")),
        }
    }
    platform.remove(&deployment).await.map_err(text)?;

    let deployment = platform.deploy(broken).await.map_err(text)?;
    let argument = Payload::json(&Order { what: "start".into() }).unwrap();
    let activation =
        platform.invoke(&deployment, &Invocation::new("run", "rust", "1", argument)).await;
    let activation = activation.map_err(text)?;
    match &activation.outcome {
        Err(error) if error.kind == FunctionErrorKind::Initialization => {}
        other => return Err(format!("a function that does not start came to {other:?}")),
    }
    platform.remove(&deployment).await.map_err(text)
}
