//! Whole runs, by each executor.

use std::sync::Arc;

use falco_core::{
    Deployable, Driver, ExecutionPlan, ExecutionStrategy, Payload, Platform, Result, Stage,
};
use falco_executors::{
    AsyncExecutor, DriverExt, FanIn, ParallelExecutor, RunOptions, SequentialExecutor,
};
use falco_local::{LocalConfig, LocalPlatform};

use crate::support::has;

const INPUTS: u64 = 60;

/// Squares numbers, and adds the squares up.
#[derive(Debug)]
struct Squares;

impl Driver for Squares {
    fn name(&self) -> &str {
        "squares"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        let square =
            "def main(args):\n    print(args['n'])\n    return {'square': args['n'] ** 2}\n";
        let sum =
            "def main(args):\n    return {'sum': sum(r['square'] for r in args['results'])}\n";
        let inputs = (0..INPUTS).map(|n| Payload::json(&serde_json::json!({ "n": n })));
        ExecutionPlan::new(vec![
            Stage::from_payloads(
                "square",
                Deployable::from_source("square", "python:3".parse()?, square),
                inputs.collect::<Result<_>>()?,
            ),
            Stage::derived(
                "sum",
                Deployable::from_source("sum", "python:3".parse()?, sum),
                ["square"],
                FanIn::new(),
            ),
        ])
    }
}

async fn runs_with(strategy: Arc<dyn ExecutionStrategy>) {
    if !has("python3") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let config = LocalConfig::builder().directory(directory.path());
    let platform = LocalPlatform::connect(config.build().unwrap()).await.unwrap();
    let platform = Arc::new(platform);
    let outcome = Squares.run(RunOptions::new(platform.clone(), strategy)).await.unwrap();
    let sums: Vec<serde_json::Value> = outcome.results_as("sum").unwrap();
    assert_eq!(sums, [serde_json::json!({ "sum": (0..INPUTS).map(|n| n * n).sum::<u64>() })]);
    assert!(platform.list_deployments().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_pipeline_runs_one_by_one() {
    runs_with(Arc::new(SequentialExecutor::new())).await;
}

#[tokio::test]
async fn a_pipeline_runs_in_parallel() {
    runs_with(Arc::new(ParallelExecutor::new())).await;
}

#[tokio::test]
async fn a_pipeline_runs_by_submitting_and_collecting() {
    runs_with(Arc::new(AsyncExecutor::new())).await;
}
