//! Batches that follow how inputs come: slowly, or faster than they are sent.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{Batch, Input, Stage};
use falco_executors::{DriverExt, ParallelExecutor, RunOptions};
use falco_testkit::{InMemory, Settings};
use futures_util::{StreamExt, stream};

use super::support::{Plan, function, json, numbers};

/// How many calls a stage takes that has one call in flight.
async fn calls(stage: Stage) -> u64 {
    let platform = Arc::new(InMemory::new(Settings::default()));
    let executor = Arc::new(ParallelExecutor::with_concurrency(1).unwrap());
    let outcome = Plan(vec![stage]).run(RunOptions::new(platform.clone(), executor)).await.unwrap();
    assert!(outcome.is_success(), "{:?}", outcome.error());
    platform.counters().invokes
}

#[tokio::test(start_paused = true)]
async fn inputs_that_come_one_after_the_other_are_waited_for_until_a_batch_is_full() {
    let slow = Stage::new("s", function("s"), || {
        stream::iter(0..40).then(|n| async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok(Input::new(format!("{n:08}"), json(serde_json::json!({ "n": n }))))
        })
    });
    let calls = calls(slow.with_batch(Batch::of(4))).await;
    assert!((10..=14).contains(&calls), "{calls}");
}

#[tokio::test(start_paused = true)]
async fn more_inputs_are_let_in_until_they_fill_a_batch_of_bytes() {
    let calls = calls(numbers("s", 2_000).with_batch(Batch::bytes(1 << 20))).await;
    assert!(calls <= 3, "{calls} calls for what fits into one");
}
