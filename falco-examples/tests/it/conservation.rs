//! Every record comes out once, whatever requests fail, calls are repeated, answers are lost, and runs are stopped.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use falco_core::{
    Activation, AsyncPlatform, Deployable, Deployment, Driver, Error, ErrorKind, ExecutionPlan,
    Invocation, Platform, Result, RunId, Stage, async_trait, forward,
};
use falco_data::{Data, DataPolicy, Exchange, Sink, Splits, Store, clean, commit};
use falco_executors::{DriverExt, ParallelExecutor, RunOptions, RunOutcome};
use falco_fakes::FakeS3;
use falco_function::data::{DataError, Groups, Input, Output, Written};
use falco_function::{Executable, Functions};
use falco_layers::{RetryPolicy, Stack};
use falco_local::{LocalConfig, LocalPlatform};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::program::has;

/// A key and a number a line; the number is a record's own.
const MAP_PYTHON: &str = r#"
def main(args):
    out = args["out"]
    out.bound = 200
    for line in args["input"].lines():
        key, number = line.decode().split()
        out.emit(key, int(number))
    return {"out": out.close()}
"#;

const REDUCE_PYTHON: &str = r#"
def main(args):
    args["in"].bound = 200
    with args["out"] as out:
        for key, values in args["in"].groups():
            for value in values:
                out.write(f"{key} {value}\n".encode())
    return {"out": out.close()}
"#;

const MAP_NODE: &str = r#"
async function main(args) {
  args.out.bound = 200;
  for await (const line of args.input.lines()) {
    const [key, number] = line.toString().trim().split(' ');
    args.out.emit(key, Number(number));
  }
  return { out: await args.out.close() };
}
"#;

const REDUCE_NODE: &str = r#"
async function main(args) {
  args.in.bound = 200;
  for await (const [key, values] of args.in.groups()) {
    for (const value of values) args.out.write(`${key} ${value}\n`);
  }
  return { out: await args.out.close() };
}
"#;

#[derive(Deserialize)]
struct Map {
    input: Input,
    out: Output,
}

#[derive(Deserialize)]
struct Reduce {
    #[serde(rename = "in")]
    parts: Groups,
    out: Output,
}

#[derive(Serialize, Deserialize)]
struct Wrote<T> {
    out: T,
}

fn map(Map { input, mut out }: Map) -> std::result::Result<Wrote<Written>, DataError> {
    for line in input.lines()?.lines() {
        let line = line?;
        let (key, number) = line.split_once(' ').expect("a key and a number");
        out.emit(key, &number.parse::<u64>().expect("a number"))?;
    }
    Ok(Wrote { out: out.close()? })
}

fn reduce(Reduce { parts, mut out }: Reduce) -> std::result::Result<Wrote<Written>, DataError> {
    parts.for_each(|key, value: u64| out.write(format!("{key} {value}\n").as_bytes()))?;
    Ok(Wrote { out: out.close()? })
}

/// Repeats some calls, loses the answers of others, and notices when enough were made.
#[derive(Debug)]
struct Unreliable<P> {
    inner: P,
    calls: AtomicU64,
    trouble: u64,
    stop_after: u64,
    stopped: Arc<Notify>,
}

#[async_trait]
impl<P: AsyncPlatform> Platform for Unreliable<P> {
    forward! { self => self.inner;
        name, capabilities, account, deploy, fetch_deployment, list_deployments, scale, remove, watch_outages
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let number = self.calls.fetch_add(1, SeqCst) + 1;
        if number == self.stop_after {
            self.stopped.notify_one();
        }
        match (number.wrapping_mul(self.trouble)) % 7 {
            // Two attempts finish, and the first or the second is taken.
            1 | 2 => {
                let first = self.inner.invoke(deployment, invocation).await;
                let second = self.inner.invoke(deployment, invocation).await;
                if number.is_multiple_of(2) { first.or(second) } else { second.or(first) }
            }
            3 => {
                self.inner.invoke(deployment, invocation).await?;
                let lost = Error::new(ErrorKind::Unavailable, "the answer was lost");
                Err(lost.with_retryable(true).with_may_have_run(true))
            }
            _ => self.inner.invoke(deployment, invocation).await,
        }
    }
}

#[async_trait]
impl<P: AsyncPlatform> AsyncPlatform for Unreliable<P> {
    forward! { self => self.inner; submit, collect, release, activation_log, find_submitted, recent_logs }
}

#[derive(Debug)]
struct Plan(Vec<Stage>);

impl Driver for Plan {
    fn name(&self) -> &str {
        "records"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        ExecutionPlan::new(self.0.clone())
    }
}

#[derive(Clone, Debug)]
struct Case {
    language: usize,
    records: Vec<u8>,
    target: u64,
    partitions: u32,
    coalesce: u64,
    gzip: bool,
    two_levels: bool,
    fail_every: u64,
    trouble: u64,
    stop_after: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let records = prop::collection::vec(0..12_u8, 1..80);
    let shuffle = (1..6_u32, 0..300_u64, any::<bool>(), any::<bool>());
    let faults = (prop_oneof![Just(0_u64), 6..16_u64], 0..7_u64, 1..12_u64);
    (0..3_usize, records, 80..400_u64, shuffle, faults).prop_map(
        |(language, records, target, shuffle, (fail_every, trouble, stop_after))| {
            let (partitions, coalesce, gzip, two_levels) = shuffle;
            // The stage in between is in Python.
            let two_levels = two_levels && language != 2;
            Case {
                language,
                records,
                target,
                partitions,
                coalesce,
                gzip,
                two_levels,
                fail_every,
                trouble,
                stop_after,
            }
        },
    )
}

/// One run of the case on a platform.
struct World {
    s3: FakeS3,
    folder: tempfile::TempDir,
    input: Store,
    output: Store,
    scratch: Store,
}

impl World {
    fn new(case: &Case) -> Self {
        let s3 = FakeS3::start();
        let lines = case.records.iter().enumerate();
        s3.put("in/a.txt", lines.map(|(at, key)| format!("k{key} {at}\n")).collect::<String>());
        let (input, output, scratch) = (s3.store("in"), s3.store("out"), s3.store("scratch"));
        Self { s3, folder: tempfile::tempdir().unwrap(), input, output, scratch }
    }

    /// The platform, and the functions that map and reduce on it.
    async fn platform(&self, language: usize) -> (Arc<dyn AsyncPlatform>, Deployable, Deployable) {
        if language == 2 {
            let mut functions = Functions::new();
            let (map, reduce) = (functions.add("map", map), functions.add("reduce", reduce));
            let map = Executable::none().function(&map).unwrap().deployable().clone();
            let reduce = Executable::none().function(&reduce).unwrap().deployable().clone();
            return (Arc::new(functions.in_process()), map, reduce);
        }
        let config = LocalConfig::builder().directory(self.folder.path()).build().unwrap();
        let local = Arc::new(LocalPlatform::connect(config).await.unwrap());
        match language {
            0 => (
                local,
                Deployable::python("map", MAP_PYTHON),
                Deployable::python("reduce", REDUCE_PYTHON),
            ),
            _ => (
                local,
                Deployable::nodejs("map", MAP_NODE),
                Deployable::nodejs("reduce", REDUCE_NODE),
            ),
        }
    }

    async fn run(&self, case: &Case, run: &str, stops: bool) -> RunOutcome {
        let (platform, map, reduce) = self.platform(case.language).await;
        let data = Data::new(platform, self.scratch.clone(), DataPolicy::default()).unwrap();
        let inner = data.with_store(self.input.clone()).with_store(self.output.clone());
        let stopped = Arc::new(Notify::new());
        let unreliable = Unreliable {
            inner,
            calls: AtomicU64::new(0),
            trouble: case.trouble,
            stop_after: if stops { case.stop_after } else { 0 },
            stopped: stopped.clone(),
        };
        let sink = Sink::scratch().partitions(case.partitions);
        let sink = if case.gzip { sink.gzip() } else { sink };
        let splits = Splits::lines(&self.input, "").target(case.target).with_sink(sink);
        let exchange = Exchange::of_field("out").coalesce(case.coalesce);
        let exchange = exchange.with_sink(self.output.sink("part.txt"));
        let mut stages = vec![Stage::new("map", map, move || splits.inputs()).idempotent()];
        let (after, exchange) = match case.two_levels {
            false => ("map", exchange),
            true => {
                let (merge, exchange) = exchange.by_blocks("map", 2).unwrap();
                stages.push(merge);
                ("map-merge", exchange)
            }
        };
        stages.push(Stage::derived("reduce", reduce, [after], exchange).idempotent());
        let retry = RetryPolicy::with_retries(20)
            .with_min_delay(Duration::from_millis(1))
            .with_max_delay(Duration::from_millis(20));
        let platform = Stack::new().with_retry(retry).wrap(unreliable).unwrap();
        let options = RunOptions::new(platform, Arc::new(ParallelExecutor::new()));
        let options = options.with_run_id(run).without_layers();
        let options = options.with_stop(async move { stopped.notified().await });
        self.s3.fail_every(case.fail_every);
        let outcome = Plan(stages).run(options).await.unwrap();
        self.s3.fail_every(0);
        outcome
    }

    /// The records in the objects below a prefix that `is_wanted`.
    fn records(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let objects = self.s3.objects("out").into_iter().filter(|(key, _)| is_wanted(key));
        let mut lines: Vec<_> = objects
            .flat_map(|(_, content)| {
                let text = String::from_utf8(content).unwrap();
                text.lines().map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        lines.sort();
        lines
    }
}

async fn is_conserved(case: &Case) -> std::result::Result<(), TestCaseError> {
    let world = World::new(case);
    // Its name is the beginning of the other's: neither may take the other's objects.
    let stopped = world.run(case, "run", true).await;
    let whole = world.run(case, "run-b", false).await;
    prop_assert!(whole.is_success(), "{}", whole.report);
    let results = whole.results("reduce").unwrap();
    let is_of_stopped = |key: &str| key.contains("-run-") && !key.contains("-run-b-");
    let of_stopped = world.records(is_of_stopped);
    let manifest = commit(&world.output, &whole.report.run, results).await.unwrap();
    prop_assert_eq!(world.records(is_of_stopped), of_stopped);

    let mut expected: Vec<_> =
        case.records.iter().enumerate().map(|(at, key)| format!("k{key} {at}")).collect();
    expected.sort();
    let listed: BTreeMap<String, u64> = manifest
        .objects
        .iter()
        .map(|object| (object.url["s3://bucket/".len()..].to_owned(), object.size))
        .collect();
    prop_assert_eq!(&world.records(|key| listed.contains_key(key)), &expected);
    // The attempts that lost have left nothing of this run.
    prop_assert_eq!(&world.records(|key| key.contains("-run-b-")), &expected);

    if stopped.is_success() {
        let results = stopped.results("reduce").unwrap();
        let error = commit(&world.output, &stopped.report.run, results).await.unwrap_err();
        prop_assert_eq!(error.kind(), ErrorKind::Conflict);
    }
    for run in ["run", "run-b"] {
        let left = clean(&world.scratch, &RunId::from(run)).await.unwrap();
        prop_assert!(left.is_empty(), "{:?}", left);
    }
    prop_assert!(world.s3.objects("scratch").is_empty());
    Ok(())
}

#[test]
fn every_record_comes_out_once_under_faults_repeated_attempts_and_stops() {
    if !has("python3") || !has("node") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config =
        ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config).run(&cases(), |case| runtime.block_on(is_conserved(&case))).unwrap();
}

/// Three of the four partitions that are merged have no records.
#[test]
fn a_record_comes_out_once_where_most_compressed_partitions_are_empty() {
    if !has("python3") {
        return;
    }
    let case = Case {
        language: 0,
        records: vec![0],
        target: 80,
        partitions: 4,
        coalesce: 8,
        gzip: true,
        two_levels: true,
        fail_every: 14,
        trouble: 4,
        stop_after: 9,
    };
    tokio::runtime::Runtime::new().unwrap().block_on(is_conserved(&case)).unwrap();
}
