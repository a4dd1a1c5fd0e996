//! One function over many inputs.

use std::sync::Arc;

use falco_core::{
    ErrorKind, FunctionError, FunctionErrorKind, OnFailure, Payload, Platform, Scaling, StagePolicy,
};
use falco_executors::typed::Function;
use falco_executors::{Run, RunOptions, SequentialExecutor};
use falco_testkit::{InMemory, Reply, Settings};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Number {
    n: u64,
}

/// Squares numbers, and raises for multiples of 7 except 0.
fn platform() -> InMemory {
    InMemory::default().with_source("square", |call| {
        let Number { n } = call.payload().parse().unwrap();
        if n > 0 && n.is_multiple_of(7) {
            let error = FunctionError::new(FunctionErrorKind::Raised, "7 is unlucky");
            return Reply::failed(error.with_trace("Traceback:\n  line 3, in main"));
        }
        Reply::succeeded(Payload::json(&Number { n: n * n }).unwrap())
    })
}

fn square() -> Function<Number, Number> {
    Function::python("square", "square")
}

fn numbers(count: u64) -> impl Iterator<Item = Number> {
    (0..count).map(|n| Number { n })
}

#[tokio::test(start_paused = true)]
async fn results_come_in_the_order_of_the_inputs_and_nothing_stays_deployed() {
    let platform = Arc::new(platform());
    let squares = Run::on(platform.clone()).map(&square(), numbers(7)).await.unwrap();
    assert_eq!(squares.iter().map(|square| square.n).collect::<Vec<_>>(), [0, 1, 4, 9, 16, 25, 36]);
    assert_eq!(platform.list_deployments().await.unwrap(), []);
    let none = Run::on(platform).map(&square(), []).await.unwrap();
    assert_eq!(none, []);
}

#[tokio::test(start_paused = true)]
async fn a_failed_invocation_shows_its_input_the_reason_and_the_traceback() {
    let error = Run::on(platform()).map(&square(), numbers(10)).await.unwrap_err();
    let shown = format!("{error:?}");
    assert!(shown.contains(r#"input 00000007 {"n":7}: function error: 7 is unlucky"#), "{shown}");
    assert!(shown.ends_with("\nTraceback:\n  line 3, in main"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_long_input_is_shown_shortened() {
    let long = Function::<_, Number>::python("square", "square");
    let input = serde_json::json!({ "n": 7, "text": "x".repeat(10_000) });
    let error = Run::on(platform()).map(&long, [input]).await.unwrap_err().to_string();
    assert!(error.contains(r#"{"n":7,"text":"xxx"#) && error.len() < 500, "{error}");
}

#[tokio::test(start_paused = true)]
async fn each_input_comes_back_with_its_result_or_its_failure() {
    let each = Run::on(platform()).map_each(&square(), numbers(20)).await.unwrap();
    assert_eq!(each.len(), 20);
    for (Number { n }, result) in each {
        match result {
            Ok(square) => assert_eq!(square.n, n * n),
            Err(error) => {
                assert!(n == 7 || n == 14, "{error}");
                assert!(error.message().contains(&format!(r#"{{"n":{n}}}"#)), "{error}");
                assert_eq!(error.trace(), Some("Traceback:\n  line 3, in main"));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn inputs_that_were_not_sent_say_why() {
    let options = RunOptions::from(platform()).with_strategy(SequentialExecutor::new());
    let square = square().with_policy(StagePolicy::default().with_on_failure(OnFailure::Stop));
    let each = Run::on(options).map_each(&square, numbers(10)).await.unwrap();
    assert!(each[..7].iter().all(|(_, result)| result.is_ok()));
    for (_, result) in &each[8..] {
        let error = result.as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert!(error.to_string().contains("7 is unlucky"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_input_that_is_not_an_object_is_refused_before_anything_is_deployed() {
    let platform = Arc::new(platform());
    let seven = Function::<u64, Number>::python("square", "square");
    let error = Run::on(platform.clone()).map(&seven, [7]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("invalid input 0 of \"square\""), "{error}");
    assert_eq!(platform.counters().deploys, 0);
}

#[test]
fn a_function_has_its_sizes_and_its_environment() {
    let scaling = Scaling::default().with_memory_mib(512);
    let function = square().with_scaling(scaling).with_env("KEY", "value");
    let function = function.deployable();
    assert_eq!(function.scaling.memory_mib, Some(512));
    assert_eq!(function.env.get("KEY"), Some("value"));
    assert_eq!(Function::<(), ()>::nodejs("f", "x").deployable().runtime.family(), "nodejs");
}

#[test]
fn options_want_layers_for_a_platform_that_does_until_they_are_put_or_declined() {
    let wanting = || {
        let capabilities = Settings::default().capabilities.with_wants_layers(true);
        RunOptions::from(InMemory::new(Settings { capabilities, ..Settings::default() }))
    };
    assert!(wanting().wants_layers());
    assert!(!wanting().without_layers().wants_layers());
    assert!(!wanting().with_layers(Ok).unwrap().wants_layers());
    assert!(!RunOptions::from(InMemory::default()).wants_layers());
}
