//! The program on this machine, beside DuckDB on the same files.
#![allow(clippy::unwrap_used, missing_docs)]

// The daemon of that crate's tests, and its image.
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "../../../falco-docker/tests/it/daemon.rs"]
mod daemon;
mod docker;
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "../../../falco-docker/tests/it/image.rs"]
mod image;
mod platforms;
mod tables;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use falco_data::{Data, DataPolicy, Store};
use falco_executors::{DriverExt, ParallelExecutor, RunOptions};
use falco_fakes::FakeS3;
use falco_function::Executable;
use falco_tpch::{Answer, Format, Native, Plan, Planner, Query, ensure_data};
use serde_json::Value;

use crate::tables::Tables;

/// The program, with a state of its own for the local platform.
struct Program {
    folder: tempfile::TempDir,
}

impl Program {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder that goes with the test.
    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// The program over tables of scale 0.01 in several splits. Of a flag that is given twice the last one counts.
    fn command_over(&self, input: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tpch"));
        command.env("FALCO_LOCAL_DIR", self.folder().join("state"));
        command.args(["--quiet", "--scale", "0.01", "--split", "200000"]);
        command.args(["--input", input]).args(arguments);
        command
    }
}

/// The answers that a command with `--json` prints, which has to succeed.
fn answers(command: &mut Command) -> Vec<Answer> {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {errors}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let objects = printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    objects.map(|mut it| serde_json::from_value(it["result"].take()).unwrap()).collect()
}

/// The answers of functions in Rust within this process: an executable of a debug build is large, and each function of a query
/// would unpack it.
async fn in_process(input: &Store, format: Format, scratch: Store, split: u64) -> Vec<Answer> {
    let native = Native::new();
    let function = |name: &str| native.function(&Executable::none(), name);
    let planner = Planner {
        input: input.clone(),
        format,
        split: Some(split),
        partitions: 3,
        function: &function,
    };
    let platform = native.functions().in_process();
    let data = Data::new(platform, scratch, DataPolicy::default()).unwrap();
    let platform = Arc::new(data.with_input(input.clone()));
    let mut answers = Vec::new();
    for query in Query::ALL {
        let plan = planner.plan(query).await.unwrap();
        let strategy = Arc::new(ParallelExecutor::with_concurrency(4).unwrap());
        let outcome = plan.run(RunOptions::new(platform.clone(), strategy)).await.unwrap();
        assert!(outcome.is_success(), "{}", outcome.report);
        // The two files of the largest table have several splits each.
        let most = outcome.report.stages.iter().map(|stage| stage.invocations.succeeded).max();
        assert!(most > Some(4), "{most:?}");
        answers.extend(outcome.results_as::<Answer>(Plan::ANSWER).unwrap());
    }
    answers
}

#[tokio::test]
async fn answers_are_the_same_over_the_protocol_of_s3() {
    let (program, s3) = (Program::new(), FakeS3::start());
    let (folder, bucket) = (Store::folder(program.data()).unwrap(), s3.store("data"));
    for store in [&folder, &bucket] {
        ensure_data(store, 0.001, Format::Parquet).await.unwrap();
    }
    // Data that is there is not made anew.
    let requests = s3.requests();
    ensure_data(&bucket, 0.001, Format::Parquet).await.unwrap();
    assert!(s3.requests() - requests < 4);

    let scratch = Store::folder(program.folder().join("scratch")).unwrap();
    let expected = in_process(&folder, Format::Parquet, scratch, 50_000).await;
    assert_eq!(expected.len(), Query::ALL.len());
    let found = in_process(&bucket, Format::Parquet, s3.store("scratch"), 20_000).await;
    assert_eq!(found, expected);
}

/// The queries that have functions in Python.
const IN_PYTHON: [Query; 3] = [Query::Q1, Query::Q6, Query::Q12];

#[tokio::test]
async fn answers_are_those_of_duckdb_row_by_row() {
    let Some(tables) = Tables::shared().await else { return };
    let program = Program::new();
    let at = |name: &str| program.folder().join(name).into_os_string().into_string().unwrap();
    let data = Store::folder(tables.folder()).unwrap();
    let scratch = Store::folder(at("in-process")).unwrap();
    let found = in_process(&data, Format::Parquet, scratch, 200_000).await;
    tables.assert_same(&Query::ALL, &found, "in Rust");

    let packages = tables.packages();
    let arguments = ["--language", "python", "--env", &packages, "--scratch", &at("scratch")];
    let mut command = program.command_over(tables.folder().to_str().unwrap(), &arguments);
    tables.assert_same(&IN_PYTHON, &answers(command.arg("--json")), "in Python");
    assert!(!holds_files(&program.folder().join("scratch")), "an exchange left something");
}

#[tokio::test]
async fn answers_over_csv_are_those_of_duckdb_over_parquet() {
    let Some(tables) = Tables::shared().await else { return };
    let program = Program::new();
    let at = |name: &str| program.folder().join(name).into_os_string().into_string().unwrap();
    let csv = |arguments: &[&str]| {
        let mut command = program.command_over(&at("csv"), &["--format", "csv", "--json"]);
        answers(command.args(arguments))
    };
    // This makes the tables, too.
    let found = csv(&["--queries", "6", "--split", "2000000", "--output", &at("answers")]);
    tables.assert_same(&[Query::Q6], &found, "in Rust over CSV");
    let written = std::fs::read_to_string(program.folder().join("answers/q6.csv")).unwrap();
    assert_eq!(written, found[0].to_string());

    let found = csv(&["--language", "python", "--env", &tables.packages()]);
    tables.assert_same(&IN_PYTHON, &found, "in Python over CSV");
    let (data, scratch) =
        (Store::folder(at("csv")).unwrap(), Store::folder(at("scratch")).unwrap());
    let found = in_process(&data, Format::Csv, scratch, 700_000).await;
    tables.assert_same(&Query::ALL, &found, "in Rust over CSV");
    // Nothing of an exchange is left.
    for folder in ["csv", "answers"] {
        assert!(!holds_files(&program.folder().join(folder).join("_scratch")), "{folder}");
    }
}

/// Whether a folder holds a file, however deep.
fn holds_files(folder: &Path) -> bool {
    std::fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        !path.is_dir() || holds_files(&path)
    })
}

#[test]
fn what_cannot_be_asked_is_said_before_anything_is_deployed() {
    let program = Program::new();
    let mut said = Vec::new();
    for arguments in [
        &["--queries", "2"][..],
        &["--queries", "1,5", "--language", "python"],
        &["--scale", "0"],
        &["--queries", "1,6", "--journal"],
        // The data is of another scale.
        &["--only-data", "--scale", "0.001"],
        &["--queries", "6"],
        &["--only-data", "--scale", "0.001", "--format", "csv"],
    ] {
        let data = program.data();
        let mut command = program.command_over(data.to_str().unwrap(), arguments);
        let output = command.output().unwrap();
        let succeeds = arguments == ["--only-data", "--scale", "0.001"];
        assert_eq!(output.status.success(), succeeds, "{arguments:?}");
        said.push(String::from_utf8(output.stderr).unwrap());
    }
    for (said, expected) in said.iter().zip([
        "use 1, 3, 5, 6 or 12",
        "only queries 1, 6 and 12 have functions in Python",
        "invalid scale 0: use a number above 0",
        "a journal records one run",
        "",
        "holds data of scale 0.001, and 0.01 is wanted",
        "holds data as parquet, and csv is wanted",
    ]) {
        assert!(said.contains(expected), "{said}");
    }
}
