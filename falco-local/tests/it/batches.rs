//! Batches with real functions: the shims of Python and Node.js, and an executable that knows none.

use std::collections::BTreeMap;
use std::sync::Arc;

use falco_core::{
    Batch, Deployable, Driver, ExecutionPlan, OnFailure, Payload, Result, RuntimeName, Stage,
};
use falco_executors::{
    AsyncExecutor, DriverExt, ExecutionOptions, LogPolicy, ParallelExecutor, RunOptions, RunOutcome,
};
use serde_json::{Value, json};

use crate::support::{Local, has};

const PYTHON: &str = "
import os, sys
def main(args):
    n = args['n']
    print('out', n)
    print('err', n, file=sys.stderr)
    if n == 3: raise ValueError('not three')
    if n == 5: os._exit(7)
    if n == 6: return [6]
    return {'n': n, 'text': 'x' * n}
";

const NODE: &str = "
async function main({ n }) {
  console.log('out', n);
  console.error('err', n);
  if (n === 3) throw new RangeError('not three');
  if (n === 5) process.exit(7);
  if (n === 6) return [6];
  return { n, text: 'x'.repeat(n) };
}
";

#[derive(Debug)]
struct One(Stage);

impl Driver for One {
    fn name(&self) -> &str {
        "one"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        ExecutionPlan::new(vec![self.0.clone()])
    }
}

async fn run(function: Deployable, submits: bool) -> RunOutcome {
    let Local { platform, directory: _directory } = Local::new();
    let inputs = (0..10).map(|n| Payload::json(&json!({ "n": n })).unwrap()).collect();
    let stage = Stage::from_payloads("s", function, inputs).idempotent().with_batch(Batch::of(10));
    let options = ExecutionOptions::default().with_on_failure(OnFailure::Continue);
    let platform = Arc::new(platform);
    let options = match submits {
        true => {
            let executor = AsyncExecutor::with_window(2).unwrap().with_options(options);
            RunOptions::new(platform, Arc::new(executor))
        }
        false => {
            let executor = ParallelExecutor::with_concurrency(2).unwrap().with_options(options);
            RunOptions::new(platform, Arc::new(executor))
        }
    };
    One(stage).run(options.with_failed_logs(LogPolicy::all())).await.unwrap()
}

async fn each_input_ends_as_it_should(function: Deployable, submits: bool, error_type: &str) {
    let outcome = run(function, submits).await;
    let results: BTreeMap<String, Value> = outcome
        .partial_results("s")
        .unwrap()
        .iter()
        .map(|(id, result)| (id.to_string(), result.parse().unwrap()))
        .collect();
    assert_eq!(results.len(), 7, "{:?}", outcome.report.stages[0].failures);
    for n in [0, 1, 2, 4, 7, 8, 9] {
        let text = "x".repeat(n);
        assert_eq!(results[&format!("{n:08}")], json!({ "n": n, "text": text }));
    }
    let failures = &outcome.report.stages[0].failures;
    let of = |n: usize| failures.iter().find(|it| it.id == *format!("{n:08}")).unwrap();
    assert!(
        of(3).reason.contains("not three") && of(3).reason.contains(error_type),
        "{failures:?}"
    );
    assert!(of(5).reason.contains('7'), "{failures:?}");
    assert!(of(6).kind.contains("bad result"), "{failures:?}");
    for n in [3, 5] {
        let mut log: Vec<&str> = of(n).log.as_deref().unwrap_or_default().lines().collect();
        log.sort_unstable();
        assert_eq!(log, [format!("err {n}"), format!("out {n}")], "{failures:?}");
    }
}

#[tokio::test]
async fn inputs_of_a_python_batch_have_outcomes_and_logs_of_their_own() {
    if has("python3") {
        for submits in [false, true] {
            let function = Deployable::python("f", PYTHON);
            each_input_ends_as_it_should(function, submits, "ValueError").await;
        }
    }
}

#[tokio::test]
async fn inputs_of_a_node_batch_have_outcomes_and_logs_of_their_own() {
    if has("node") {
        let function = Deployable::nodejs("f", NODE);
        each_input_ends_as_it_should(function, false, "RangeError").await;
    }
}

#[tokio::test]
async fn an_executable_that_knows_no_batches_is_reported_as_that() {
    let echo =
        "#!/bin/sh\necho '{\"ok\":true}' >&3\nwhile read -r line; do echo '{\"n\":1}' >&3; done\n";
    let function = Deployable::from_source("f", RuntimeName::native(), echo);
    let outcome = run(function, false).await;
    let error = outcome.error().unwrap().to_string();
    assert!(error.contains("batch"), "{error}");
}
