//! Batches in a trace: it shows inputs, as it does without batches.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use falco_core::{Batch, ExecutionStrategy, UsDollars};
use falco_executors::{AsyncExecutor, DriverExt, ParallelExecutor, RunOptions};
use falco_testkit::{InMemory, Latency, Settings};
use falco_trace::{Record, Recorder, RunView, TraceFile, read_file};

use super::support::plan;

const INPUTS: usize = 40;
const COST: f64 = 0.000_002;

/// The calls of a trace, by input and activation, what it says of the run, and how many calls the platform had: of two stages
/// with so many inputs each, ten in a call.
async fn traced(submits: bool) -> (Vec<(String, Option<String>)>, RunView, u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.jsonl");
    let recorder = Arc::new(Recorder::new().with_file(TraceFile::new(&path)).unwrap());
    let platform = Arc::new(InMemory::new(Settings {
        latency: Latency::fixed(Duration::from_millis(5)),
        cost: Some(UsDollars(COST)),
        ..Settings::default()
    }));
    let strategy: Arc<dyn ExecutionStrategy> = match submits {
        true => Arc::new(AsyncExecutor::with_window(4).unwrap()),
        false => Arc::new(ParallelExecutor::with_concurrency(4).unwrap()),
    };
    let options = RunOptions::new(platform.clone(), strategy);
    let options = options.with_batch(Batch::of(10)).with_monitor(recorder.clone());
    let outcome = plan(INPUTS).run(options).await.unwrap();
    assert!(outcome.is_success(), "{}", outcome.report);
    let mut calls = Vec::new();
    let read = read_file(&path, |record| {
        if let Record::Call(call) = record {
            let activation = call.activation.as_deref().map(str::to_owned);
            calls.push((format!("{}/{}", call.stage, call.invocation), activation));
        }
    });
    read.unwrap();
    (calls, recorder.view(), platform.counters().started)
}

#[tokio::test(start_paused = true)]
async fn each_input_of_a_batch_has_a_call_of_its_own_and_its_share_of_the_cost() {
    for submits in [false, true] {
        let (calls, view, started) = traced(submits).await;
        assert!(
            (8..80).contains(&started),
            "{started} calls of the platform are not made of batches"
        );
        let inputs: BTreeSet<_> = calls.iter().map(|(input, _)| input).collect();
        let activations: BTreeSet<_> = calls.iter().filter_map(|(_, id)| id.as_ref()).collect();
        let counts = [calls.len(), inputs.len(), activations.len()];
        assert_eq!(counts, [2 * INPUTS; 3], "each is named by its batch and its place in it");
        let costs = view.stages.iter().map(|it| it.cost.unwrap_or_default().as_dollars());
        let (cost, paid) = (costs.sum::<f64>(), started as f64 * COST);
        assert!((cost - paid).abs() < 1e-9, "{cost} in the trace, and {paid} were paid");
        assert!(view.stages.iter().all(|stage| stage.counts.ended() == INPUTS as u64));
    }
}
