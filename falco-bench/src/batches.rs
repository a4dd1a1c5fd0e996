//! Batches: no-op functions on this machine beside joblib, and 100,000 inputs on each provider's fake.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use falco_aws::AwsLambda;
use falco_core::{AsyncPlatform, Batch, Payload, Scaling, UsDollars};
use falco_executors::typed::{Function, Pipeline};
use falco_executors::{DriverExt, ParallelExecutor, RunOptions};
use falco_fakes::aws::{FakeAws, FakeSettings};
use falco_fakes::gcp::FakeGcp;
use falco_fakes::openwhisk::FakeOpenWhisk;
use falco_gcp::GcpFunctions;
use falco_local::{LocalConfig, LocalPlatform};
use falco_openwhisk::OpenWhisk;
use serde_json::{Value, json};

use crate::figure::{Figure, Goal};

const JOBLIB: &str = "joblib==1.5.2";

/// No-op calls on this machine.
const CALLS: usize = 200_000;
const WORKERS: u32 = 2;
const ROUNDS: usize = 3;

/// Inputs on each fake, and how many of them travel in one call.
const INPUTS: usize = 100_000;
const IN_A_CALL: usize = 100;
const AT_ONCE: usize = 64;

const NO_OP: &str = "def main(args):\n    return args\n";

/// The benchmark `batches`.
pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench/batches");
    std::fs::create_dir_all(&folder)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut figures = vec![local(&runtime, &folder)?];
    for measured in runtime.block_on(providers())? {
        figures.extend(measured.figures());
    }
    Ok(figures)
}

/// Whole runs, starts included: a pipeline with its report, and joblib's loop. In turns, and the best of each counts: what
/// disturbs a measurement only makes it slower.
fn local(runtime: &tokio::runtime::Runtime, folder: &Path) -> anyhow::Result<Figure> {
    let python = joblib(folder)?;
    let config = LocalConfig::builder().directory(folder.join("local")).build()?;
    let platform = Arc::new(runtime.block_on(LocalPlatform::connect(config))?);
    let (mut floor, mut own) = (0.0_f64, 0.0_f64);
    for _ in 0..ROUNDS {
        floor = floor.max(CALLS as f64 / joblib_seconds(&python)?);
        let ran = runtime.block_on(measure(platform.clone(), CALLS, Batch::auto().into()))?;
        own = own.max(CALLS as f64 / ran.time.as_secs_f64());
    }
    let name = "batches: no-op on this machine, auto, beside joblib's auto";
    Ok(Figure::beside(name, "calls/s", own, floor, Goal::AtLeast(2.0)))
}

/// A Python with joblib, installed once.
fn joblib(folder: &Path) -> anyhow::Result<PathBuf> {
    let environment = folder.join("joblib");
    let python = environment.join("bin/python3");
    let installed = environment.join(JOBLIB);
    if !installed.exists() {
        output(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:", JOBLIB]);
        output(&mut pip)?;
        std::fs::write(installed, "")?;
    }
    Ok(python)
}

fn joblib_seconds(python: &Path) -> anyhow::Result<f64> {
    // The function is in a module that joblib's workers import: one in `__main__` travels with each call.
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/batches");
    let run = format!("import joblib_auto; joblib_auto.run({CALLS}, {WORKERS})");
    let seconds = output(Command::new(python).args(["-c", &run]).env("PYTHONPATH", source))?;
    seconds.trim().parse().with_context(|| format!("joblib's loop printed {seconds:?}"))
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?} does not start"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}

/// A run, by its report.
struct Ran {
    time: Duration,
    cost: Option<UsDollars>,
}

async fn measure(
    platform: Arc<dyn AsyncPlatform>,
    inputs: usize,
    batch: Option<Batch>,
) -> anyhow::Result<Ran> {
    let scaling = Scaling::default().with_max_instances(WORKERS);
    let function = Function::<Value, Value>::python("batches", NO_OP);
    let function = match platform.name() {
        "local" => function.with_scaling(scaling),
        _ => function,
    };
    let mut pipeline = Pipeline::new("batches");
    let results = pipeline.inputs_by("no-op", &function, inputs, |n| Ok(json!({ "n": n })));
    let executor = Arc::new(ParallelExecutor::with_concurrency(AT_ONCE)?);
    let begun = Instant::now();
    let outcome = pipeline.run(RunOptions::new(platform, executor).with_batch(batch)).await?;
    let time = begun.elapsed();
    let count = outcome.results_of(&results)?.len();
    ensure!(count == inputs, "{count} of {inputs} results");
    Ok(Ran { time, cost: outcome.report.cost })
}

/// The same inputs on one provider's fake, each by itself and in batches.
struct Measured {
    provider: &'static str,
    single: Ran,
    batched: Ran,
    /// Calls that the function had for them.
    calls: usize,
}

impl Measured {
    async fn of(
        provider: &'static str,
        platform: Arc<dyn AsyncPlatform>,
        calls: &AtomicUsize,
    ) -> anyhow::Result<Self> {
        let single = measure(platform.clone(), INPUTS, None).await?;
        ensure!(calls.swap(0, Relaxed) == INPUTS, "without batches each input is one call");
        let batched = measure(platform, INPUTS, Batch::of(IN_A_CALL).into()).await?;
        Ok(Self { provider, single, batched, calls: calls.load(Relaxed) })
    }

    fn figures(&self) -> Vec<Figure> {
        let Self { provider, single, batched, calls } = self;
        let name = |what| format!("{provider}: 100,000 inputs in batches of 100, {what}");
        // A few calls more: the first batches leave before they are full.
        let most = Goal::AtMost(1.05 / IN_A_CALL as f64);
        let (calls, seconds) = (*calls as f64, |ran: &Ran| ran.time.as_secs_f64());
        let mut figures = vec![
            Figure::beside(name("calls"), "calls", calls, INPUTS as f64, most),
            Figure::beside(name("time"), "s", seconds(batched), seconds(single), Goal::Shown),
        ];
        // OpenWhisk has no price.
        if let (Some(batched), Some(single)) = (batched.cost, single.cost) {
            figures.push(Figure::beside(name("cost"), "$", batched.0, single.0, Goal::Shown));
        }
        figures
    }
}

async fn providers() -> anyhow::Result<Vec<Measured>> {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let counting: Arc<dyn Fn(&Value) -> Value + Send + Sync> = Arc::new(move |argument| {
        counted.fetch_add(1, Relaxed);
        answer(argument)
    });

    let settings = FakeSettings { function: Some(counting.clone()), ..FakeSettings::default() };
    let fake = FakeAws::with(settings);
    fake.change(|settings| settings.is_strict = false);
    let platform = Arc::new(AwsLambda::connect(fake.config().build()?).await?);
    let aws = Measured::of("aws", platform, &calls).await?;
    drop(fake);

    calls.store(0, Relaxed);
    let fake = FakeGcp::start();
    let of_payload = counting.clone();
    fake.answer_with(move |argument| {
        // Whatever is not JSON has an empty answer, which no result is.
        let answer = argument.parse::<Value>().map(|argument| of_payload(&argument));
        answer.and_then(|answer| Payload::json(&answer)).unwrap_or_else(|_| Payload::empty())
    });
    fake.stop_remembering();
    let platform = Arc::new(GcpFunctions::connect(fake.config().build()?).await?);
    let gcp = Measured::of("gcp", platform, &calls).await?;
    drop(fake);

    calls.store(0, Relaxed);
    let fake = FakeOpenWhisk::with(falco_fakes::openwhisk::FakeSettings {
        function: Some(counting),
        invocations_per_minute: u32::MAX,
        concurrent_invocations: u32::MAX,
        ..Default::default()
    });
    fake.stop_remembering();
    let platform = Arc::new(OpenWhisk::connect(fake.config().build()?).await?);
    let openwhisk = Measured::of("openwhisk", platform, &calls).await?;
    Ok(vec![aws, gcp, openwhisk])
}

/// The argument, as the no-op function returns it: of each input, where it holds several.
fn answer(argument: &Value) -> Value {
    let Some(inputs) = argument["falco:batch"].as_array() else { return argument.clone() };
    let answers = inputs.iter().map(|input| json!({"ok": input, "ms": 0.001}));
    json!({ "falco:batch": answers.collect::<Vec<_>>() })
}
