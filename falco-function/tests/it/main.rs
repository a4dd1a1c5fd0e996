//! Registered functions on the platform inside the driver.

#![allow(clippy::unwrap_used, reason = "tests")]

mod refusals;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use falco_core::{
    Activation, ErrorKind, FunctionError, FunctionErrorKind, Invocation, Payload, Platform,
};
use falco_executors::typed::Pipeline;
use falco_executors::{DriverExt, ParallelExecutor, RunOptions};
use falco_function::{Executable, Functions, InProcess, Registered};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Number {
    n: f64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Calls {
    calls: u32,
}

async fn invoke<A, R>(
    platform: &InProcess,
    function: &Registered<A, R>,
    argument: &str,
) -> Activation {
    let function = Executable::none().function(function).unwrap();
    let deployment = platform.deploy(function.deployable()).await.unwrap();
    let invocation =
        Invocation::new("run", "stage", "0", Payload::from_bytes(argument.to_owned()).unwrap());
    platform.invoke(&deployment, &invocation).await.unwrap()
}

async fn failure<A, R>(
    platform: &InProcess,
    function: &Registered<A, R>,
    argument: &str,
) -> FunctionError {
    invoke(platform, function, argument).await.outcome.unwrap_err()
}

#[tokio::test]
async fn errors_panics_and_results_that_do_not_fit_are_failures_of_the_function() {
    let mut functions = Functions::new();
    let halve = functions.add("halve", |Number { n }| match n {
        n if n < 0.0 => Err(anyhow::anyhow!("negative").context("cannot halve")),
        0.0 => panic!("zero"),
        1.0 => Ok(Number { n: f64::NAN }),
        n => Ok(Number { n: n / 2.0 }),
    });
    let broken = functions.add_with("broken", || Err("no model"), |(): &mut (), n: Number| Ok(n));
    let list = functions.add("list", |Number { n }| Ok::<_, String>(vec![n]));
    let platform = functions.in_process();

    let done = invoke(&platform, &halve, r#"{"n":3}"#).await;
    assert_eq!(done.outcome.unwrap().parse::<Number>().unwrap(), Number { n: 1.5 });
    assert_eq!(done.cold_start, Some(true));
    for (argument, kind, error_type, words) in [
        (r#"{"n":-1}"#, FunctionErrorKind::Raised, "Error", "cannot halve: negative"),
        (r#"{"n":0}"#, FunctionErrorKind::Raised, "panic", "zero (at "),
        (r#"{"n":1}"#, FunctionErrorKind::BadResult, "BadResult", "NaN"),
        (r#"{"m":1}"#, FunctionErrorKind::Raised, "BadArgument", "missing field `n`"),
    ] {
        let error = failure(&platform, &halve, argument).await;
        assert_eq!((error.kind, error.error_type.as_deref()), (kind, Some(error_type)), "{error}");
        assert!(error.message.contains(words), "{error}");
    }
    let error = failure(&platform, &broken, r#"{"n":1}"#).await;
    assert_eq!((error.kind, &*error.message), (FunctionErrorKind::Initialization, "str: no model"));
    let error = failure(&platform, &list, r#"{"n":1}"#).await;
    assert_eq!(error.kind, FunctionErrorKind::BadResult);
}

#[tokio::test]
async fn a_worker_keeps_its_state_and_runs_one_call_at_a_time() {
    let running = Arc::new(AtomicU32::new(0));
    let mut functions = Functions::new();
    let count = functions.add_with(
        "count",
        || Ok::<_, String>(0),
        |calls: &mut u32, _: Number| {
            *calls += 1;
            Ok(Calls { calls: *calls })
        },
    );
    let slow = {
        let running = Arc::clone(&running);
        functions.add_async("slow", async move |n: Number| {
            running.fetch_add(1, SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok::<_, String>(n)
        })
    };
    let platform = functions.in_process();
    let deployment =
        platform.deploy(Executable::none().function(&count).unwrap().deployable()).await.unwrap();
    for expected in 1..=3 {
        let invocation =
            Invocation::new("run", "stage", "0", Payload::json(&Number { n: 1.0 }).unwrap());
        let result = platform.invoke(&deployment, &invocation).await.unwrap().outcome.unwrap();
        assert_eq!(result.parse::<Calls>().unwrap(), Calls { calls: expected });
    }

    let mut pipeline = Pipeline::new("slow");
    let inputs = (0..10).map(|n| Number { n: f64::from(n) });
    let output =
        pipeline.inputs("slow", &Executable::none().function(&slow).unwrap(), inputs).unwrap();
    let options =
        RunOptions::new(Arc::new(functions.in_process()), Arc::new(ParallelExecutor::new()));
    let outcome = pipeline.run(options).await.unwrap();
    let sum: f64 = outcome.results_of(&output).unwrap().iter().map(|Number { n }| n).sum();
    assert_eq!((sum, running.load(SeqCst)), (45.0, 10));
}

#[tokio::test]
async fn the_platform_knows_only_what_is_registered_and_deployed() {
    let mut other = Functions::new();
    let foreign = other.add("foreign", |n: Number| Ok::<_, String>(n));
    let platform = Functions::new().in_process();
    let function = Executable::none().function(&foreign).unwrap();
    let error = platform.deploy(function.deployable()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("\"foreign\""), "{error}");

    let platform = other.in_process();
    let deployment = platform.deploy(function.deployable()).await.unwrap();
    let argument = Payload::json(&[1]).unwrap();
    let invocation = Invocation::new("run", "stage", "0", argument);
    assert_eq!(
        platform.invoke(&deployment, &invocation).await.unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    platform.remove(&deployment).await.unwrap();
    assert_eq!(platform.remove(&deployment).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(platform.list_deployments().await.unwrap().is_empty());
}

#[test]
#[should_panic(expected = "\"twice\" was added already")]
fn a_name_is_given_once() {
    let mut functions = Functions::new();
    functions.add("twice", |n: Number| Ok::<_, String>(n));
    functions.add("twice", |n: Number| Ok::<_, String>(n));
}
