//! The word count, in folders and on S3, beside `multiprocessing.Pool` on the file.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use falco_core::{Deployable, Driver, ExecutionPlan, Result, Stage};
use falco_data::{Data, DataPolicy, Exchange, Object, Sink, Splits, Store, clean, commit};
use falco_executors::{DriverExt, ParallelExecutor, RunOptions};
use falco_fakes::FakeS3;
use falco_local::{LocalConfig, LocalPlatform, WorkerLimits};
use futures_util::TryStreamExt;

use super::process::{children, output, own_without_store};
use crate::figure::{Figure, Goal};
use crate::memory;

const BYTES: u64 = 64 << 20;
const SPLIT: u64 = 4 << 20;
const REDUCERS: u32 = 16;
const WORKERS: u32 = 2;

const MAP: &str = include_str!("../../../falco-examples/functions/wordcount_map_objects.py");
const REDUCE: &str = include_str!("../../../falco-examples/functions/wordcount_reduce_objects.py");

#[derive(Debug)]
pub(super) struct WordCount(pub(super) Vec<Stage>);

impl Driver for WordCount {
    fn name(&self) -> &str {
        "wordcount"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        ExecutionPlan::new(self.0.clone())
    }
}

/// Where the word count reads and writes.
struct Stores {
    input: Store,
    output: Store,
    scratch: Store,
}

pub(super) fn run(folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let text = text(folder)?;
    let before = children()?;
    let pool = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/data/pool.py");
    let counted = output("python3", |python| {
        python.arg(pool).arg(&text).arg(SPLIT.to_string()).arg(WORKERS.to_string())
    })?;
    let floor = children()? - before;

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let measure = |stores: &Stores| -> anyhow::Result<(f64, f64)> {
        memory::reset_peak()?;
        let resident = memory::resident()?;
        let before = children()? + own_without_store()?;
        let found = runtime.block_on(count(stores))?;
        let measured = children()? + own_without_store()? - before;
        let grown = (memory::peak()? - resident).max(0.0) / 1e6;
        ensure!(
            found == counted.trim(),
            "{found} words were counted, and the pool counted {counted}"
        );
        Ok((measured, grown))
    };
    let below = |name: &str| Store::folder(folder.join(name));
    let input = Store::folder(text.parent().context("the text is in a folder")?)?;
    let stores = Stores { input, output: below("out")?, scratch: below("scratch")? };
    let (in_folder, grown) = measure(&stores)?;
    fs::remove_dir_all(folder.join("out"))?;

    let s3 = FakeS3::start();
    let content = fs::read(&text)?;
    runtime.block_on(s3.upload("in/text.txt", content));
    let stores =
        Stores { input: s3.store("in"), output: s3.store("out"), scratch: s3.store("scratch") };
    let (on_s3, _) = measure(&stores)?;
    let row = |place: &str, measured, goal| {
        let name = format!("data: word count to Pool, {place}, CPU");
        Figure::beside(name, "s", measured, floor, Goal::AtMost(goal))
    };
    Ok(vec![
        row("folder", in_folder, 1.3),
        row("S3", on_s3, 1.6),
        Figure::alone("data: word count, driver's growth", "MB", grown, Goal::AtMost(32.0)),
    ])
}

/// The text of the word count: the example's, repeated.
pub(super) fn text(folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join("text.txt");
    if fs::metadata(&path).is_ok_and(|known| known.len() >= BYTES) {
        return Ok(path);
    }
    let texts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../falco-examples/data/texts");
    let mut originals = Vec::new();
    for entry in texts.read_dir()? {
        originals.push(fs::read(entry?.path())?);
    }
    let mut file = BufWriter::new(File::create(&path)?);
    let mut written = 0;
    for text in originals.iter().cycle() {
        file.write_all(text)?;
        written += text.len() as u64;
        if written >= BYTES {
            break;
        }
    }
    file.flush()?;
    Ok(path)
}

/// How many words there are, by Falco.
async fn count(stores: &Stores) -> anyhow::Result<String> {
    let Stores { input, output, scratch } = stores;
    let state = tempfile::tempdir()?;
    let workers = WorkerLimits::default().with_max_workers(WORKERS);
    let config = LocalConfig::builder().directory(state.path()).workers(workers).build()?;
    let local = LocalPlatform::connect(config).await?;
    let data = Data::new(local, scratch.clone(), DataPolicy::default())?;
    let data = data.with_store(input.clone()).with_store(output.clone());
    let sink = Sink::scratch().partitions(REDUCERS);
    let splits = Splits::lines(input, "text.txt").target(SPLIT).with_sink(sink);
    let exchange = Exchange::of_field("out").with_sink(output.sink("part"));
    let driver = WordCount(vec![
        Stage::new("map", Deployable::python("map", MAP), move || splits.inputs()),
        Stage::derived("reduce", Deployable::python("reduce", REDUCE), ["map"], exchange),
    ]);
    let strategy = Arc::new(ParallelExecutor::with_concurrency(4)?);
    let outcome = driver.run(RunOptions::new(Arc::new(data), strategy)).await?;
    ensure!(outcome.is_success(), "{}", outcome.report);
    let run = &outcome.report.run;
    let manifest = commit(output, run, outcome.results("reduce")?).await?;
    let mut total = 0;
    for object in &manifest.objects {
        let pieces: Vec<_> = output.read(&Object::new(&*object.url)).await?.try_collect().await?;
        for line in std::str::from_utf8(&pieces.concat())?.lines() {
            let (_, count) = line.split_once('\t').context("a line has a count")?;
            total += count.parse::<u64>()?;
        }
    }
    clean(scratch, run).await?;
    Ok(total.to_string())
}
