//! The driver's memory while it plans, signs, shuffles and finishes a run over a large input.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use falco_core::{Deployable, Payload, Stage};
use falco_data::{Data, DataPolicy, Exchange, Sink, Splits, Store, clean};
use falco_executors::{DriverExt, ParallelExecutor, RunOptions};
use falco_testkit::{FunctionCall, InMemory, Reply};
use serde_json::{Value, json};

use super::words::WordCount;
use crate::figure::{Figure, Goal};
use crate::memory;

const SPLIT: u64 = 8 << 20;
const REDUCERS: u32 = 16;

/// The bytes that a mapper says it wrote for a partition.
const PART: u64 = 4000;

/// Runs before anything else of the bench, so that no memory is there which others have left. Both runs are compared with the
/// memory before the first.
pub(super) fn run(folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let before = memory::resident()?;
    let mut figures = Vec::new();
    for (name, size) in [("1 GB", 1_u64 << 30), ("10 GB", 10 << 30)] {
        sparse(&folder.join("sparse.txt"), size)?;
        memory::reset_peak()?;
        runtime.block_on(whole_run(folder, size))?;
        let grown = ((memory::peak()? - before) / 1e6).max(0.0);
        std::fs::remove_file(folder.join("sparse.txt"))?;
        let name = format!("data: driver's growth over {name}");
        figures.push(Figure::alone(name, "MB", grown, Goal::AtMost(32.0)));
    }
    Ok(figures)
}

/// A sparse file with a line end every MiB.
fn sparse(path: &Path, size: u64) -> anyhow::Result<()> {
    let file = File::create(path)?;
    file.set_len(size)?;
    for at in (0..size).step_by(1 << 20) {
        file.write_all_at(b"\n", at + 4096)?;
    }
    Ok(())
}

/// Maps and reduces; the functions say what they would have written, and neither read nor write.
async fn whole_run(folder: &Path, size: u64) -> anyhow::Result<()> {
    let (input, scratch) = (Store::folder(folder)?, Store::folder(folder.join("of-driver"))?);
    // The platform in memory says that it is remote.
    let policy = DataPolicy::default().with_shared_folders(true);
    let platform = InMemory::default().with_function("python", written);
    let data = Data::new(platform, scratch.clone(), policy)?.with_input(input.clone());
    let sink = Sink::scratch().partitions(REDUCERS);
    let splits = Splits::lines(&input, "sparse.txt").target(SPLIT).with_sink(sink);
    let function = |name: &str| Deployable::python(name, "def main(args): return {}");
    let exchange = Exchange::of_field("out").with_sink(Sink::scratch());
    let driver = WordCount(vec![
        Stage::new("map", function("map"), move || splits.inputs()),
        Stage::derived("reduce", function("reduce"), ["map"], exchange),
    ]);
    let strategy = Arc::new(ParallelExecutor::with_concurrency(64)?);
    let outcome = driver.run(RunOptions::new(Arc::new(data), strategy)).await?;
    ensure!(outcome.is_success(), "{}", outcome.report);
    let stage = outcome.report.stages.first().context("a report of the mappers")?;
    let mapped = stage.invocations.succeeded;
    ensure!(mapped == size / SPLIT, "{mapped} mappers have run");
    clean(&scratch, &outcome.report.run).await?;
    Ok(())
}

/// The result of a function that has written an object.
fn written(call: &FunctionCall<'_>) -> Reply {
    let argument: Value = call.payload().parse().unwrap_or_default();
    let sink = &argument["out"]["falco:sink"];
    let mut object = json!({"url": sink["url"], "size": PART});
    if let Some(partitions) = sink["partitions"].as_u64() {
        object["size"] = (partitions * PART).into();
        object["parts"] = (0..partitions).map(|_| PART).collect();
    }
    let result = Payload::json(&json!({"out": {"falco:object": object}}));
    Reply::succeeded(result.unwrap_or_else(|_| Payload::empty()))
}
