//! Falco as a contender: this program again, which uses the facade as any program does.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use falco::core::Batch;
use falco::local::WorkerLimits;
use falco::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::FALCO_IN_BATCHES;
use super::contender::PREFIX;
use super::work::FUNCTIONS;

/// Set in the process that runs Falco's part.
const CONTENDER: &str = "FALCO_BENCH_CONTENDER";

#[derive(Debug, Deserialize)]
struct Task {
    work: String,
    inputs: Vec<Value>,
    slots: u32,
    scratch: PathBuf,
    cold: bool,
    warm: usize,
}

#[derive(Deserialize)]
struct Numbered {
    i: u64,
}

#[derive(Deserialize)]
struct Hits {
    hits: u64,
}

#[derive(Deserialize)]
struct Counts {
    counts: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Groups {
    groups: BTreeMap<String, [u64; 2]>,
}

/// This program, as the contender of that name, with this `PATH`.
pub(super) fn command(name: &str, path: &OsStr) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(CONTENDER, name).env("PATH", path);
    Ok(command)
}

/// Does one task and ends, if this process was started for that.
pub(crate) fn serve_if_contender() -> Option<ExitCode> {
    let batch = (std::env::var_os(CONTENDER)? == FALCO_IN_BATCHES).then(Batch::auto);
    let served = tokio::runtime::Runtime::new().map_err(anyhow::Error::from);
    match served.and_then(|runtime| runtime.block_on(serve(batch))) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("{error:#}");
            Some(ExitCode::FAILURE)
        }
    }
}

async fn serve(batch: Option<Batch>) -> anyhow::Result<()> {
    let task: Task = serde_json::from_str(&line()?)?;
    let began = Instant::now();
    let workers = WorkerLimits::default().with_max_workers(task.slots);
    let directory = task.scratch.join("falco");
    let config = LocalConfig::builder().directory(directory).workers(workers).build()?;
    let local = Arc::new(LocalPlatform::connect(config).await?);
    let pool = Pool { local, work: task.work.clone(), batch };
    if !task.cold {
        let inputs = vec![json!({ "warm": 0.05 }); task.warm];
        pool.map::<Value>(inputs).await?;
        say(&json!({ "ready": began.elapsed().as_secs_f64() }))?;
        line()?;
    }
    let began = Instant::now();
    let answer = pool.answer(task.inputs).await?;
    say(&json!({ "seconds": began.elapsed().as_secs_f64(), "answer": answer }))?;
    line()?;
    Ok(())
}

/// The platform, whose workers stay warm between runs since their deployment is used again.
struct Pool {
    local: Arc<LocalPlatform>,
    work: String,
    batch: Option<Batch>,
}

impl Pool {
    fn options(&self) -> RunOptions {
        RunOptions::from(self.local.clone()).with_reuse(true).with_batch(self.batch)
    }

    fn function<R>(&self) -> Function<Value, R> {
        let work = &self.work;
        let main = format!(
            "\n\ndef main(args):\n    return warm(args) if 'warm' in args else {work}(args)\n"
        );
        Function::python("work", format!("{FUNCTIONS}{main}"))
    }

    async fn map<R: DeserializeOwned>(&self, inputs: Vec<Value>) -> Result<Vec<R>> {
        Run::on(self.options()).map(&self.function(), inputs).await
    }

    /// The combined results, as `combine` in `work.py` has them.
    async fn answer(&self, inputs: Vec<Value>) -> anyhow::Result<Value> {
        Ok(match self.work.as_str() {
            "pi" => {
                let results = self.map::<Hits>(inputs).await?;
                json!(results.iter().map(|result| result.hits).sum::<u64>())
            }
            "words" => {
                let mut totals = BTreeMap::<String, u64>::new();
                for Counts { counts } in self.map(inputs).await? {
                    for (word, count) in counts {
                        *totals.entry(word).or_default() += count;
                    }
                }
                json!(totals)
            }
            "sales" => {
                let mut totals = BTreeMap::<String, [u64; 2]>::new();
                for Groups { groups } in self.map(inputs).await? {
                    for (country, [rows, cents]) in groups {
                        let group = totals.entry(country).or_default();
                        group[0] += rows;
                        group[1] += cents;
                    }
                }
                json!(totals)
            }
            "noop" | "sleep" => {
                let results = self.map::<Numbered>(inputs).await?;
                json!([results.len(), results.iter().map(|result| result.i).sum::<u64>()])
            }
            "brittle" => self.failures(inputs).await?,
            other => bail!("there is no work {other:?}"),
        })
    }

    /// The failures as Falco reports them: the results it hands over, and whether each error names its input.
    async fn failures(&self, inputs: Vec<Value>) -> anyhow::Result<Value> {
        let by_map = match self.map::<Numbered>(inputs.clone()).await {
            Ok(results) => results.len(),
            Err(_) => 0,
        };
        let each = Run::on(self.options()).map_each(&self.function::<Numbered>(), inputs).await?;
        let good = each.iter().filter(|(_, result)| result.is_ok()).count();
        let is_named =
            |input: &Value, error: &Error| error.to_string().contains(&input["i"].to_string());
        let mut failed =
            each.iter().filter_map(|(input, result)| Some((input, result.as_ref().err()?)));
        let named = good < each.len() && failed.all(|(input, error)| is_named(input, error));
        Ok(json!({ "map": by_map, "each": good, "named": named }))
    }
}

fn line() -> anyhow::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("the bench says nothing")?;
    Ok(line)
}

fn say(what: &Value) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "\n{PREFIX}{what}")?;
    output.flush()
}
