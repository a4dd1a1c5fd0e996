//! The cost of recording a run, and how quickly a trace of a million calls is looked at.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use falco_core::{
    Deployable, Deployment, Event, ExecutionStrategy, Invocation, Monitor, Payload, Platform,
    RunId, StageName, Target,
};
use falco_executors::ParallelExecutor;
use falco_meter::{MeterServer, MeterSettings, report};
use falco_testkit::InMemory;
use falco_trace::{Recorder, TraceFile};
use futures_util::{StreamExt, stream};

use crate::browser::{Browser, Look};
use crate::figure::{Figure, Goal};
use crate::memory;

const CALLS: usize = 1_000_000;
const AT_ONCE: usize = 1_000;
/// The calls of each side of a comparison are made in so many turns, since a shared machine is not as fast in one minute as in
/// the next.
const TURNS: usize = 10;
const MB: f64 = 1e6;

/// Measures the recorder, the file, the page and the report.
pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let mut figures = runtime.block_on(recorded(folder.path()))?;
    figures.extend(runtime.block_on(looked_at(&folder.path().join("million.jsonl")))?);
    Ok(figures)
}

async fn recorded(folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let (platform, deployment) = no_op().await?;
    let (mut bare, mut numbers, mut file) = (Cost::default(), Cost::default(), Cost::default());
    for turn in 0..TURNS {
        bare += execute(&platform, &deployment, CALLS / TURNS, None).await?;
        let recorder = Arc::new(Recorder::new());
        numbers += execute(&platform, &deployment, CALLS / TURNS, Some(recorder)).await?;
        let path = folder.join(format!("{turn}.jsonl"));
        let recorder = Arc::new(Recorder::new().with_file(TraceFile::new(path))?);
        file += execute(&platform, &deployment, CALLS / TURNS, Some(recorder)).await?;
    }
    let path = folder.join("million.jsonl");
    let recorder = Arc::new(Recorder::new().with_file(TraceFile::new(&path))?);
    memory::reset_peak()?;
    execute(&platform, &deployment, CALLS, Some(recorder.clone())).await?;
    let peak = memory::peak()? / MB;
    recorder.flush();
    let bytes = std::fs::metadata(&path)?.len() as f64 / CALLS as f64;
    let packed = folder.join("packed.jsonl.gz");
    let recorder = Arc::new(Recorder::new().with_file(TraceFile::new(&packed))?);
    execute(&platform, &deployment, CALLS / TURNS, Some(recorder.clone())).await?;
    recorder.flush();
    let packed = std::fs::metadata(&packed)?.len() as f64 / (CALLS / TURNS) as f64;
    let each = |cost: Cost| (cost.cpu.as_secs_f64() - bare.cpu.as_secs_f64()) / CALLS as f64 * 1e6;
    Ok(vec![
        Figure::alone("CPU a call: the numbers", "µs", each(numbers), Goal::AtMost(0.4)),
        Figure::alone("CPU a call: numbers and file", "µs", each(file), Goal::AtMost(1.0)),
        Figure::beside(
            "with file, 1,000 at once",
            "calls/s",
            CALLS as f64 / file.wall.as_secs_f64(),
            CALLS as f64 / bare.wall.as_secs_f64(),
            Goal::AtLeast(0.6),
        ),
        Figure::alone("a million with file: peak memory", "MB", peak, Goal::AtMost(16.0)),
        Figure::alone("file, of a no-op call", "bytes", bytes, Goal::AtMost(220.0)),
        Figure::alone("file, gzipped", "bytes", packed, Goal::AtMost(60.0)),
    ])
}

async fn looked_at(trace: &Path) -> anyhow::Result<Vec<Figure>> {
    let start = Instant::now();
    let server = MeterServer::of_file(trace, MeterSettings::default()).await?;
    let ready = start.elapsed().as_secs_f64();
    // A browser keeps its connection, too.
    let client = reqwest::Client::builder().no_proxy().build()?;
    let (first, _) = state(&client, &server, 0).await?;
    let seq: u64 = first["seq"].as_u64().context("the state has no number")?;
    ensure!(seq == CALLS as u64, "{seq} calls were read");
    let start = Instant::now();
    let (mut bytes, replies) = (0, 50);
    for _ in 0..replies {
        bytes = state(&client, &server, seq).await?.1;
    }
    let reply = start.elapsed().as_secs_f64() * 1e3 / f64::from(replies);
    drop(server);
    let report = report(trace)?;
    let size = report.len() as f64 / MB;
    let page = trace.with_extension("html");
    std::fs::write(&page, report)?;
    let drawn = tokio::task::spawn_blocking(move || drawn(&page)).await??;
    let figures = vec![
        Figure::alone("view of a million: ready", "s", ready, Goal::AtMost(2.5)),
        Figure::alone("state, later reply", "KB", bytes as f64 / 1e3, Goal::AtMost(8.0)),
        Figure::alone("state, later reply: time", "ms", reply, Goal::AtMost(2.0)),
        Figure::alone("report of a million", "MB", size, Goal::AtMost(4.0)),
    ];
    let drawn = drawn.map(|seconds| {
        Figure::alone("report of a million: drawn", "s", seconds, Goal::AtMost(1.0))
    });
    Ok(figures.into_iter().chain(drawn).collect())
}

/// The seconds from opening a report until its timeline shows all calls, the quickest of three times; none without Chromium.
fn drawn(page: &Path) -> anyhow::Result<Option<f64>> {
    let Some(mut browser) = Browser::start() else { return Ok(None) };
    let mut quickest = f64::INFINITY;
    for _ in 0..3 {
        let look = Look { width: 1_280, is_dark: false };
        let mut page = browser.open(&format!("file://{}", page.display()), look);
        let shown = page.text("#lanes-help");
        ensure!(shown.starts_with("All 1,000,000 calls"), "the timeline shows {shown:?}");
        let millis = page.value("Number(document.documentElement.dataset.drawn)");
        quickest = quickest.min(millis.as_f64().context("the page has no time")? / 1e3);
    }
    Ok(Some(quickest))
}

async fn state(
    client: &reqwest::Client,
    server: &MeterServer,
    since: u64,
) -> anyhow::Result<(serde_json::Value, usize)> {
    let key = server.url().split('#').nth(1).unwrap_or_default();
    let url = format!("http://{}/api/v1/state?since={since}", server.address());
    let body = client.get(url).bearer_auth(key).send().await?.error_for_status()?.bytes().await?;
    Ok((serde_json::from_slice(&body)?, body.len()))
}

/// The time that some calls took.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    wall: Duration,
    /// That of all threads of this process.
    cpu: Duration,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.wall += other.wall;
        self.cpu += other.cpu;
    }
}

async fn execute(
    platform: &Arc<InMemory>,
    deployment: &Arc<Deployment>,
    calls: usize,
    recorder: Option<Arc<Recorder>>,
) -> anyhow::Result<Cost> {
    let (run, stage) = (RunId::from("bench"), StageName::from("no-op"));
    if let Some(recorder) = &recorder {
        let _ = recorder.event(&Event::RunStarted { run: &run, plan: None });
    }
    let invocations = {
        let (run, stage, recorder) = (run.clone(), stage.clone(), recorder.clone());
        stream::iter((0..calls).map(move |index| {
            let id = format!("{index:08}");
            let invocation = Invocation::new(run.clone(), stage.clone(), id, Payload::empty());
            match &recorder {
                Some(recorder) => invocation.with_monitor(recorder.clone()),
                None => invocation,
            }
        }))
    };
    let executor = ParallelExecutor::with_concurrency(AT_ONCE)?;
    let target = Target::new(platform.clone(), deployment.clone());
    let (start, cpu) = (Instant::now(), memory::cpu()?);
    let succeeded = executor
        .execute(target, invocations.boxed())
        .fold(0, async |count, completion| count + usize::from(completion.is_success()))
        .await;
    let cost = Cost { wall: start.elapsed(), cpu: memory::cpu()?.saturating_sub(cpu) };
    ensure!(succeeded == calls, "{succeeded} of {calls} calls succeeded");
    if let Some(recorder) = recorder {
        let _ = recorder.event(&Event::RunFinished { run: &run, error: None });
    }
    Ok(cost)
}

async fn no_op() -> anyhow::Result<(Arc<InMemory>, Arc<Deployment>)> {
    let platform = InMemory::default();
    let function =
        Deployable::from_source("no-op", "python:3".parse()?, "def main(args): return {}");
    let deployment = platform.deploy(&function).await?;
    Ok((Arc::new(platform), Arc::new(deployment)))
}
