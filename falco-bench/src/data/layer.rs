//! The layer by itself, planning, and the driver's memory over a large input.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use falco_core::{Deployable, Invocation, Payload, Platform, RuntimeName};
use falco_data::{Data, DataPolicy, Object, Sink, Splits, Store};
use falco_testkit::InMemory;
use futures_util::TryStreamExt;
use serde_json::json;

use crate::figure::{Figure, Goal};
use crate::memory;

const CALLS: usize = 20_000;

pub(super) fn run(folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Store::folder(folder)?;
        let bare = microseconds(&InMemory::default(), &json!({"n": 1})).await?;
        let data = Data::new(InMemory::default(), store.clone(), DataPolicy::default())?;
        let none = microseconds(&data, &json!({"n": 1})).await? - bare;
        let two =
            json!({"input": Object::new(format!("{}/x", store.url())), "out": Sink::scratch()});
        let two = microseconds(&data, &two).await? - bare;
        let mut figures = vec![
            Figure::alone("data: layer, no reference", "µs", none.max(0.0), Goal::AtMost(2.0)),
            Figure::alone("data: layer, two references, folder", "µs", two, Goal::AtMost(100.0)),
        ];
        for (name, size) in [("1 GB", 1_u64 << 30), ("10 GB", 10 << 30)] {
            figures.push(peak(folder, name, size).await?);
        }
        figures.push(boundaries(folder).await?);
        Ok(figures)
    })
}

async fn microseconds(
    platform: &impl Platform,
    argument: &serde_json::Value,
) -> anyhow::Result<f64> {
    let function =
        Deployable::from_source("echo", RuntimeName::python(), "def main(args): return args");
    let deployment = platform.deploy(&function).await?;
    let payload = Payload::json(argument)?;
    let begun = Instant::now();
    for call in 0..CALLS {
        let invocation = Invocation::new("bench", "layer", call.to_string(), payload.clone());
        platform.invoke(&deployment, &invocation).await?;
    }
    Ok(begun.elapsed().as_secs_f64() * 1e6 / CALLS as f64)
}

/// A sparse file with a line end every 64 KiB.
fn sparse(folder: &Path, name: &str, size: u64) -> anyhow::Result<()> {
    let file = File::create(folder.join(name))?;
    file.set_len(size)?;
    for at in (0..size).step_by(1 << 20) {
        file.write_all_at(b"\n", at + 4096)?;
    }
    Ok(())
}

/// The driver's memory while it plans and sends the splits of a large file.
async fn peak(folder: &Path, name: &str, size: u64) -> anyhow::Result<Figure> {
    sparse(folder, "sparse.txt", size)?;
    let store = Store::folder(folder)?;
    let data = Data::new(InMemory::default(), store.clone(), DataPolicy::default())?;
    let function =
        Deployable::from_source("echo", RuntimeName::python(), "def main(args): return args");
    let deployment = data.deploy(&function).await?;
    memory::reset_peak()?;
    let before = memory::resident()?;
    let splits = Splits::lines(&store, "sparse.txt").target(8 << 20);
    let mut inputs = splits.inputs();
    while let Some(input) = inputs.try_next().await? {
        let invocation = Invocation::new("bench", "map", input.id, input.payload);
        data.invoke(&deployment, &invocation).await?;
    }
    let grown = (memory::peak()? - before) / 1e6;
    std::fs::remove_file(folder.join("sparse.txt"))?;
    Ok(Figure::alone(
        format!("data: driver's growth over {name}"),
        "MB",
        grown.max(0.0),
        Goal::AtMost(32.0),
    ))
}

async fn boundaries(folder: &Path) -> anyhow::Result<Figure> {
    let text = super::words::text(folder)?;
    let store = Store::folder(text.parent().unwrap_or(folder))?;
    let begun = Instant::now();
    let splits = Splits::lines(&store, "text.txt").count(2_000).stream();
    let planned = splits.try_fold(0_u64, |count, _| async move { Ok(count + 1) }).await?;
    let rate = planned as f64 / begun.elapsed().as_secs_f64();
    Ok(Figure::alone("data: boundaries planned, folder", "1/s", rate, Goal::AtLeast(500.0)))
}
