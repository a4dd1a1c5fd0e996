//! One query by Falco: its answer and what it took.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use anyhow::{Context, ensure};
use falco_core::Deployable;
use falco_data::{Data, DataPolicy, Store, clean};
use falco_executors::{DriverExt, ParallelExecutor, RunOptions};
use falco_fakes::FakeS3;
use falco_fakes::s3::RequestKind;
use falco_function::Executable;
use falco_layers::Intercepted;
use falco_local::{LocalConfig, LocalPlatform, WorkerLimits};
use falco_tpch::{Answer, Format, Native, Plan, Planner, Query, python};

use super::counted::Counted;
use crate::data::{children, own_without_store};
use crate::memory::{self, TreeSampler};

const PARTITIONS: u32 = 4;
const SPLIT: u64 = 32 << 20;

pub(super) enum Language {
    Rust(Executable),
    Python { packages: PathBuf },
}

impl Language {
    pub(super) fn has(&self, query: Query) -> bool {
        matches!((self, query), (Self::Rust(_), _) | (_, Query::Q1 | Query::Q6 | Query::Q12))
    }
}

/// Where the data is.
pub(super) struct Place<'a> {
    pub(super) input: Store,
    pub(super) scratch: Store,
    pub(super) s3: Option<&'a FakeS3>,
}

impl Place<'_> {
    pub(super) fn folder(input: &Path, scratch: &Path) -> anyhow::Result<Self> {
        Ok(Self { input: Store::folder(input)?, scratch: Store::folder(scratch)?, s3: None })
    }
}

/// Requests to S3, as its price list distinguishes them.
#[derive(Clone, Copy, Default)]
pub(super) struct Requests {
    /// GET and HEAD.
    pub(super) reads: u64,
    /// PUT and POST.
    pub(super) writes: u64,
    /// Lists, which cost as much as writes.
    pub(super) lists: u64,
}

impl Requests {
    /// Those that the server has got so far.
    fn of(s3: &FakeS3) -> Self {
        let of = |kind| s3.requests_of(kind, "");
        Self {
            reads: of(RequestKind::Get) + of(RequestKind::Head),
            writes: of(RequestKind::Put),
            lists: of(RequestKind::List),
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            reads: self.reads - before.reads,
            writes: self.writes - before.writes,
            lists: self.lists - before.lists,
        }
    }
}

/// The cost of a query: seconds, and megabytes.
pub(super) struct Measured {
    pub(super) query: Query,
    pub(super) answer: Answer,
    /// Processor time of the functions' processes.
    pub(super) cpu: f64,
    /// Processor time of this process.
    pub(super) driver: f64,
    pub(super) wall: f64,
    pub(super) traffic: f64,
    /// The largest resident size of this process.
    pub(super) peak: f64,
    /// The largest resident size of a process with functions.
    pub(super) function: f64,
    /// The largest sum of all processes.
    pub(super) all: f64,
    pub(super) invocations: u64,
    /// The sum of all invocations' times.
    pub(super) seconds: f64,
    pub(super) requests: Requests,
}

impl Measured {
    /// Keeps the shortest times, and the largest sizes.
    pub(super) fn join(&mut self, other: Self) {
        self.cpu = self.cpu.min(other.cpu);
        self.driver = self.driver.min(other.driver);
        self.wall = self.wall.min(other.wall);
        self.peak = self.peak.max(other.peak);
        self.function = self.function.max(other.function);
        self.all = self.all.max(other.all);
        self.seconds = self.seconds.min(other.seconds);
    }
}

pub(super) fn measure(
    runtime: &tokio::runtime::Runtime,
    query: Query,
    language: &Language,
    place: &Place<'_>,
) -> anyhow::Result<Measured> {
    memory::reset_peak()?;
    let (functions, driver) = (children()?, own_without_store()?);
    let requests = place.s3.map(Requests::of).unwrap_or_default();
    let sampler = TreeSampler::start();
    let begun = Instant::now();
    let mut measured = runtime.block_on(run(query, language, place))?;
    measured.wall = begun.elapsed().as_secs_f64();
    let sampled = sampler.finish_with_children()?;
    measured.all = sampled.sum / 1e6;
    measured.function = sampled.largest_child / 1e6;
    measured.cpu = children()? - functions;
    measured.driver = own_without_store()? - driver;
    measured.peak = memory::peak()? / 1e6;
    if let Some(s3) = place.s3 {
        measured.requests = Requests::of(s3).since(requests);
    }
    Ok(measured)
}

async fn run(query: Query, language: &Language, place: &Place<'_>) -> anyhow::Result<Measured> {
    let state = tempfile::tempdir()?;
    let workers = WorkerLimits::default().with_max_workers(super::THREADS as u32);
    let config = LocalConfig::builder().directory(state.path()).workers(workers).build()?;
    let local = Counted::new(LocalPlatform::connect(config).await?);
    let bytes = local.bytes.clone();
    let data = Data::new(Intercepted(local), place.scratch.clone(), DataPolicy::default())?;
    let data = data.with_input(place.input.clone());

    let native = Native::new();
    let function = |name: &str| -> falco_core::Result<Deployable> {
        match language {
            Language::Rust(program) => native.function(program, name),
            Language::Python { packages } => {
                Ok(python(name).with_env("PYTHONPATH", packages.to_string_lossy()))
            }
        }
    };
    let is_rust = matches!(language, Language::Rust(_));
    let planner = Planner {
        input: place.input.clone(),
        format: Format::Parquet,
        split: is_rust.then_some(SPLIT),
        partitions: PARTITIONS,
        function: &function,
    };
    let plan = planner.plan(query).await?;
    let strategy = Arc::new(ParallelExecutor::with_concurrency(2 * super::THREADS)?);
    let outcome = plan.run(RunOptions::new(Arc::new(data), strategy)).await?;
    ensure!(outcome.is_success(), "{}", outcome.report);
    let answer = outcome.results_as(Plan::ANSWER)?.pop().context("the run has an answer")?;
    let stages = &outcome.report.stages;
    let seconds =
        stages.iter().map(|it| it.execution.mean.as_secs_f64() * it.execution.count as f64).sum();
    let invocations = stages.iter().map(|stage| stage.invocations.succeeded).sum();
    clean(&place.scratch, &outcome.report.run).await?;
    Ok(Measured {
        query,
        answer,
        cpu: 0.0,
        driver: 0.0,
        wall: 0.0,
        traffic: bytes.load(Relaxed) as f64 / 1e6,
        peak: 0.0,
        function: 0.0,
        all: 0.0,
        invocations,
        seconds,
        requests: Requests::default(),
    })
}
