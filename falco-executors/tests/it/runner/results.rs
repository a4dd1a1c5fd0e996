//! Outcomes that are written down as they become known.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::{ErrorKind, FunctionError, FunctionErrorKind, Platform};
use falco_executors::report::StageState;
use falco_executors::{DriverExt, OnFailure, ParallelExecutor, ResultsSink};
use falco_testkit::{InMemory, Latency, Reply, Settings};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::support::{Plan, numbers, options};

#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A disk that is full after so many lines.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.checked_sub(1) {
            Some(left) => self.0 = left,
            None => return Err(io::Error::other("no space left on device")),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn each_outcome_has_a_line_with_its_result_or_its_error() {
    let platform = Arc::new(InMemory::default().with_function("python", |call| {
        if call.payload().as_str() == r#"{"n":1}"# {
            let error = FunctionError::new(FunctionErrorKind::Raised, "one is odd");
            return Reply::failed(error.with_trace("line 7"));
        }
        Reply::succeeded(call.payload().clone())
    }));
    let paper = Paper::default();
    let executor = ParallelExecutor::with_concurrency(1).unwrap();
    let policy = falco_core::StagePolicy::default().with_on_failure(OnFailure::Continue);
    let options =
        options(&platform).with_strategy(executor).with_results(ResultsSink::new(paper.clone()));
    let outcome = Plan(vec![numbers("map", 3).with_policy(policy)]).run(options).await.unwrap();
    assert!(outcome.error().is_some());
    let lines = paper.lines();
    let inputs: Vec<_> = lines.iter().map(|line| line["input"].as_u64()).collect();
    assert_eq!(inputs, [Some(1), Some(2), Some(3)]);
    assert_eq!(lines[0]["result"], json!({"n": 0}));
    assert_eq!((&lines[0]["outcome"], &lines[0]["error"]), (&json!("succeeded"), &Value::Null));
    assert_eq!(lines[1]["outcome"], "function failed");
    assert_eq!(
        lines[1]["error"],
        json!({"kind": "function error", "message": "function error: one is odd", "trace": "line 7"})
    );
    assert!(lines.iter().all(|line| line["stage"] == "map" && line["attempts"] == 1));
}

#[tokio::test(start_paused = true)]
async fn what_has_finished_before_a_stop_is_written_down() {
    let latency = Latency::fixed(Duration::from_secs(10));
    let platform = Arc::new(InMemory::new(Settings { latency, ..Settings::default() }));
    let paper = Paper::default();
    let options = options(&platform)
        .with_results(ResultsSink::new(paper.clone()))
        .with_stop(sleep(Duration::from_secs(15)));
    let outcome = Plan(vec![numbers("map", 100)]).run(options).await.unwrap();
    let succeeded = paper.lines().iter().filter(|line| line["outcome"] == "succeeded").count();
    assert_eq!(succeeded as u64, outcome.report.invocations.succeeded);
    assert_eq!(succeeded, 8);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_cannot_be_written_to_ends_the_run_and_leaves_nothing() {
    let platform = Arc::new(InMemory::default());
    let options = options(&platform).with_results(ResultsSink::new(Full(20)));
    let outcome = Plan(vec![numbers("map", 1_000)]).run(options).await.unwrap();
    let error = outcome.error().unwrap();
    assert_eq!(error.kind(), ErrorKind::Other);
    let text = error.to_string();
    assert!(text.contains("cannot write results") && text.contains("no space left"), "{text}");
    assert_eq!(outcome.report.stage("map").unwrap().state, StageState::Stopped);
    assert!(platform.list_deployments().await.unwrap().is_empty());
}

#[test]
fn a_file_that_holds_something_or_cannot_be_made_is_refused() {
    let folder = std::env::temp_dir().join(format!("falco-results-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("results.jsonl");
    ResultsSink::create(&file).unwrap();
    ResultsSink::create(&file).unwrap();
    std::fs::write(&file, "{}\n").unwrap();
    let error = ResultsSink::create(&file).unwrap_err().to_string();
    assert!(error.contains("results.jsonl is not empty"), "{error}");
    let error = ResultsSink::create(folder.join("none/results.jsonl")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    std::fs::remove_dir_all(folder).unwrap();
}
