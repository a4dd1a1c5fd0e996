//! The journal: what recording a run costs, and how fast a recorded one is gone on with.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use falco_core::{
    Activation, AsyncPlatform, Attempts, Deployable, Deployment, Driver, Event, ExecutionPlan,
    ExecutionStrategy, Invocation, Journal, Monitor, Outcome, Payload, Platform, RunId, Stage,
    Target,
};
use falco_executors::{AsyncExecutor, DriverExt, KeepResults, RunOptions};
use falco_journal::{Durability, JournalConfig, ResumeOptions, RunJournal};
use falco_testkit::{InMemory, Latency, Settings};
use futures_util::{StreamExt, stream};

use crate::figure::{Figure, Goal};
use crate::memory;

const RUN: &str = "6553f100-0000beef";
/// Invocations of the run that is recorded and opened again.
const MANY: usize = 1_000_000;
const AT_ONCE: usize = 1_000;
/// Both sides of a ratio are measured in turns, since a shared machine is not as fast in one minute as in the next.
const TURNS: usize = 4;
const MB: f64 = 1e6;

/// Measures recording, waiting for the disk, opening and recalling.
pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut figures = Vec::new();
    for (idempotent, least) in [(true, 0.95), (false, 0.85)] {
        figures.push(runtime.block_on(calls(idempotent, least))?);
    }
    figures.push(monitor_alone()?);
    figures.extend(runtime.block_on(made_durable())?);
    figures.extend(runtime.block_on(opened_again())?);
    Ok(figures)
}

fn journal(directory: &Path, durability: Durability) -> anyhow::Result<Arc<RunJournal>> {
    let config = JournalConfig::new(directory).with_durability(durability);
    Ok(RunJournal::create(&config, RunId::from(RUN))?)
}

fn no_op() -> anyhow::Result<Deployable> {
    Ok(Deployable::from_source("no-op", "python:3".parse()?, "def main(args): return {}"))
}

async fn platform(latency: Duration) -> anyhow::Result<(Arc<InMemory>, Arc<Deployment>)> {
    let latency = Latency::fixed(latency);
    let platform = InMemory::new(Settings { latency, ..Settings::default() });
    let deployment = platform.deploy(&no_op()?).await?;
    Ok((Arc::new(platform), Arc::new(deployment)))
}

/// Calls of 50 ms, 1,000 at once, with a journal beside the same without.
async fn calls(idempotent: bool, least: f64) -> anyhow::Result<Figure> {
    const CALLS: usize = 10_000;
    let (bare, deployment) = platform(Duration::from_millis(50)).await?;
    let executor = AsyncExecutor::with_window(AT_ONCE)?;
    let (mut without, mut with) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..TURNS {
        let directory = tempfile::tempdir()?;
        let journal = journal(directory.path(), Durability::Machine)?;
        let layered = journal.clone().layer(bare.clone());
        without += drive(&executor, bare.clone(), &deployment, CALLS, idempotent, None).await?;
        with += drive(&executor, layered, &deployment, CALLS, idempotent, Some(journal)).await?;
    }
    let rate = |time: Duration| (TURNS * CALLS) as f64 / time.as_secs_f64();
    let kind = if idempotent { "idempotent" } else { "not idempotent" };
    let name = format!("50 ms, {AT_ONCE} at once, {kind}");
    Ok(Figure::beside(name, "calls/s", rate(with), rate(without), Goal::AtLeast(least)))
}

async fn drive(
    executor: &AsyncExecutor,
    platform: Arc<dyn AsyncPlatform>,
    deployment: &Arc<Deployment>,
    calls: usize,
    idempotent: bool,
    journal: Option<Arc<RunJournal>>,
) -> anyhow::Result<Duration> {
    if let Some(journal) = &journal {
        let event = Event::StageStarted { stage: &"no-op".into(), deployment };
        let _ = journal.event(&event);
    }
    let invocations = stream::iter((0..calls).map(move |index| {
        let invocation = Invocation::new(RUN, "no-op", format!("{index:08}"), Payload::empty())
            .with_idempotent(idempotent);
        match &journal {
            Some(journal) => invocation.with_monitor(journal.clone()),
            None => invocation,
        }
    }));
    let target = Target::new(platform, deployment.clone());
    let start = Instant::now();
    let succeeded = executor
        .execute(target, invocations.boxed())
        .fold(0, async |count, completion| count + usize::from(completion.is_success()))
        .await;
    ensure!(succeeded == calls, "{succeeded} of {calls} calls succeeded");
    Ok(start.elapsed())
}

/// Recording completions, beside bare writes of the same bytes.
fn monitor_alone() -> anyhow::Result<Figure> {
    const RECORDS: usize = 200_000;
    let directory = tempfile::tempdir()?;
    let journal = journal(directory.path(), Durability::Process)?;
    let now = std::time::SystemTime::now();
    let completions: Vec<_> = (0..1_000)
        .map(|index| {
            let activation = Activation::succeeded(format!("a-{index}"), Payload::empty());
            Invocation::new(RUN, "no-op", format!("{index:08}"), Payload::empty()).complete(
                Outcome::from_activation(activation),
                Attempts::new(1),
                now,
                Duration::from_millis(1),
            )
        })
        .collect();
    let start = Instant::now();
    for completion in completions.iter().cycle().take(RECORDS) {
        let _ = journal.event(&Event::Completed { completion });
    }
    let recorded = start.elapsed();
    drop(journal);
    let bytes = log_bytes(directory.path())? as usize / RECORDS;
    let mut file = File::create(directory.path().join("bare"))?;
    let line = vec![b'x'; bytes];
    let start = Instant::now();
    for _ in 0..RECORDS {
        file.write_all(&line)?;
    }
    let bare = start.elapsed();
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / RECORDS as f64;
    let name = "monitor alone, a completion";
    Ok(Figure::beside(name, "µs", micros(recorded), micros(bare), Goal::AtMost(3.0)))
}

/// Intents made durable, 1,000 at once, beside 1,000 for each sync of the disk; and beside those of a thread that writes 1,000
/// records of the same length, one by one, and syncs them. Where a sync takes less than the writes, the first floor is beyond
/// what any log reaches.
async fn made_durable() -> anyhow::Result<Vec<Figure>> {
    const RECORDS: usize = 100_000;
    let (bare, deployment) = platform(Duration::ZERO).await?;
    let (mut syncs, mut written) = (Vec::new(), Vec::new());
    let mut durable = Vec::new();
    for _ in 0..TURNS {
        let directory = tempfile::tempdir()?;
        let journal = journal(directory.path(), Durability::Machine)?;
        let layered = journal.layer(bare.clone());
        let start = Instant::now();
        let calls = (0..RECORDS).map(|index| {
            let (layered, deployment) = (&layered, &deployment);
            async move {
                let id = format!("{index:08}");
                let invocation = Invocation::new(RUN, "no-op", id, Payload::empty());
                layered.invoke(deployment, &invocation).await.map(drop)
            }
        });
        let mut calls = stream::iter(calls).buffer_unordered(AT_ONCE);
        while let Some(answer) = calls.next().await {
            answer?;
        }
        durable.push(RECORDS as f64 / start.elapsed().as_secs_f64());
        let length = log_bytes(directory.path())? as usize / RECORDS;
        let each = synced(directory.path(), length, 1)?;
        syncs.push(each * AT_ONCE as f64);
        written.push(synced(directory.path(), length, AT_ONCE)?);
    }
    let best = |rates: Vec<f64>| rates.into_iter().fold(0.0, f64::max);
    let (durable, syncs, written) = (best(durable), best(syncs), best(written));
    let name = format!("records made durable, {AT_ONCE} at once");
    let beside_writes = format!("{name}, beside their writes and syncs");
    Ok(vec![
        Figure::beside(name, "1/s", durable, syncs, Goal::AtLeast(0.5)),
        Figure::beside(beside_writes, "1/s", durable, written, Goal::AtLeast(0.5)),
    ])
}

/// How many records of `length` bytes are durable in a second when `at_once` are written before each sync.
fn synced(directory: &Path, length: usize, at_once: usize) -> anyhow::Result<f64> {
    let mut file = OpenOptions::new().create(true).append(true).open(directory.join("bare"))?;
    let record = vec![b'x'; length];
    let start = Instant::now();
    let mut records = 0;
    while start.elapsed() < Duration::from_millis(500) {
        for _ in 0..at_once {
            file.write_all(&record)?;
        }
        file.sync_data()?;
        records += at_once;
    }
    Ok(records as f64 / start.elapsed().as_secs_f64())
}

#[derive(Debug)]
struct Many;

impl Driver for Many {
    fn name(&self) -> &str {
        "many"
    }

    fn plan(&self) -> falco_core::Result<ExecutionPlan> {
        let function =
            no_op().map_err(|error| falco_core::Error::invalid_input(error.to_string()))?;
        let stage = Stage::from_fn_sized("no-op", function, MANY, |_| Ok(Payload::empty()));
        ExecutionPlan::new(vec![stage.idempotent()])
    }
}

/// A million submitted invocations: their size, opening their journal, and recalling them all.
async fn opened_again() -> anyhow::Result<Vec<Figure>> {
    let directory = tempfile::tempdir()?;
    let (bare, _) = platform(Duration::ZERO).await?;
    let config = JournalConfig::new(directory.path()).with_durability(Durability::Process);
    let options = |journal: Option<Arc<RunJournal>>| -> anyhow::Result<RunOptions> {
        let options = RunOptions::from(bare.clone())
            .with_strategy(AsyncExecutor::with_window(AT_ONCE)?)
            .with_kept_results(KeepResults::Nothing);
        Ok(match journal {
            Some(journal) => options.with_journal(journal),
            None => options,
        })
    };
    let start = Instant::now();
    ensure!(Many.run(options(None)?).await?.is_success(), "the run without a journal failed");
    let engine = start.elapsed();
    let journal = RunJournal::create(&config, RunId::from(RUN))?;
    ensure!(Many.run(options(Some(journal))?).await?.is_success(), "the recorded run failed");
    // What the run has spawned lets go of the journal a moment later.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let bytes = log_bytes(directory.path())?;
    let each = bytes as f64 / MANY as f64 - Payload::empty().len() as f64;

    let start = Instant::now();
    read_all(directory.path())?;
    let read = start.elapsed();
    let before = memory::resident()?;
    memory::reset_peak()?;
    let start = Instant::now();
    let journal = RunJournal::resume(&config, &RunId::from(RUN), ResumeOptions::default())?;
    let open = start.elapsed();
    let held = (memory::peak()? - before) / MB;
    let start = Instant::now();
    let outcome = Many.run(options(Some(journal))?).await?;
    let recall = start.elapsed();
    ensure!(outcome.report.invocations.recalled == MANY as u64, "not all were recalled");
    let seconds = |time: Duration| time.as_secs_f64();
    Ok(vec![
        Figure::alone("a submitted invocation, without its result", "B", each, Goal::AtMost(260.0)),
        Figure::beside(
            "open 1 M invocations",
            "s",
            seconds(open),
            seconds(read),
            Goal::AtMost(10.0),
        ),
        Figure::alone("open 1 M invocations: memory", "MB", held, Goal::AtMost(24.0)),
        Figure::alone("recall 1 M through the runner", "s", seconds(recall), Goal::AtMost(5.0)),
        Figure::alone("the engine alone, 1 M", "s", seconds(engine), Goal::Shown),
    ])
}

fn segments(directory: &Path) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let entries = fs::read_dir(directory.join(RUN)).context("there is no journal")?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|it| it == "log")).collect())
}

fn log_bytes(directory: &Path) -> anyhow::Result<u64> {
    segments(directory)?.iter().map(|path| Ok(fs::metadata(path)?.len())).sum()
}

fn read_all(directory: &Path) -> anyhow::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    for path in segments(directory)? {
        let mut file = File::open(path)?;
        while file.read(&mut buffer)? > 0 {}
    }
    Ok(())
}
