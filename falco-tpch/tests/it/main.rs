//! The program on this machine, beside DuckDB on the same files.
#![allow(clippy::unwrap_used, missing_docs)]

mod platforms;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use falco_data::{Data, DataPolicy, Store};
use falco_executors::{DriverExt, ParallelExecutor, RunOptions};
use falco_fakes::FakeS3;
use falco_function::Executable;
use falco_testkit::runtimes;
use falco_tpch::{
    Answer, DuckDbAnswer, Format, Native, Plan, Planner, Query, ask_duckdb, ensure_data,
};
use serde_json::Value;

/// The program, with a state of its own for the local platform, and data of scale 0.01 in several splits.
struct Program {
    folder: tempfile::TempDir,
}

impl Program {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Makes the tables, unless they are there.
    async fn make_data(&self) {
        ensure_data(&Store::folder(self.data()).unwrap(), 0.01, Format::Parquet).await.unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.command_over(self.data().to_str().unwrap(), arguments)
    }

    /// The program over data in another place.
    fn command_over(&self, input: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tpch"));
        command.env("FALCO_LOCAL_DIR", self.folder.path().join("state"));
        command.args(["--quiet", "--scale", "0.01", "--split", "200000"]);
        command.args(["--input", input]).args(arguments);
        command
    }

    /// The answers, of the object that `--json` prints for each query.
    fn answers(&self, arguments: &[&str]) -> Vec<Answer> {
        answers(self.command(arguments).arg("--json"))
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

/// Every answer is that of DuckDB, and none is empty.
#[track_caller]
fn assert_same(queries: &[Query], found: &[Answer], expected: &[DuckDbAnswer]) {
    assert_eq!(found.len(), queries.len());
    for (query, found) in queries.iter().zip(found) {
        let at = Query::ALL.iter().position(|one| one == query).unwrap();
        assert!(!found.rows.is_empty(), "{query}");
        let difference = found.difference(&expected[at].answer);
        assert_eq!(difference, None, "{query} in Falco and in DuckDB");
    }
}

/// The packages of the environment, for functions in Python.
fn packages(duckdb: &Path) -> String {
    let mut versions = std::fs::read_dir(duckdb.join("lib")).unwrap();
    let packages = versions.next().unwrap().unwrap().path().join("site-packages");
    packages.into_os_string().into_string().unwrap()
}

/// The answers of functions in Rust within this process: an executable of a debug build is large, and each function of a query
/// would unpack it.
async fn in_process(input: &Store, scratch: Store, split: u64) -> Vec<Answer> {
    let native = Native::new();
    let function = |name: &str| native.function(&Executable::none(), name);
    let planner =
        Planner { input: input.clone(), split: Some(split), partitions: 3, function: &function };
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

    let scratch = Store::folder(program.folder.path().join("scratch")).unwrap();
    let expected = in_process(&folder, scratch, 50_000).await;
    assert_eq!(expected.len(), Query::ALL.len());
    assert_eq!(in_process(&bucket, s3.store("scratch"), 20_000).await, expected);
}

#[tokio::test]
async fn answers_are_those_of_duckdb_row_by_row() {
    let Some(duckdb) = runtimes::find("duckdb") else { return };
    let program = Program::new();
    let data = Store::folder(program.data()).unwrap();
    ensure_data(&data, 0.01, Format::Parquet).await.unwrap();
    let python = duckdb.join("bin/python3");
    let expected = ask_duckdb(&python, &program.data(), &Query::ALL, 1).unwrap();
    let scratch = Store::folder(program.folder.path().join("scratch")).unwrap();
    assert_same(&Query::ALL, &in_process(&data, scratch, 200_000).await, &expected);

    let output = program.folder.path().join("answers");
    let found = program.answers(&["--queries", "6", "--output", output.to_str().unwrap()]);
    assert_same(&[Query::Q6], &found, &expected);
    let written = std::fs::read_to_string(output.join("q6.csv")).unwrap();
    assert_eq!(written, found[0].to_string());
    let path = format!("PYTHONPATH={}", packages(&duckdb));
    let found = program.answers(&["--language", "python", "--env", &path]);
    assert_same(&[Query::Q1, Query::Q6, Query::Q12], &found, &expected);
    // The last --input counts.
    let csv = program.folder.path().join("csv");
    let arguments = ["--language", "python", "--env", &path, "--format", "csv", "--input"];
    let found = program.answers(&[&arguments[..], &[csv.to_str().unwrap()]].concat());
    assert_same(&[Query::Q1, Query::Q6, Query::Q12], &found, &expected);
    // Nothing of an exchange is left.
    for folder in [program.data(), output] {
        assert!(!holds_files(&folder.join("_scratch")));
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
        &["--queries", "6", "--format", "csv"],
        &["--queries", "1,6", "--journal"],
        // The data is of another scale.
        &["--only-data", "--scale", "0.001"],
        &["--queries", "6"],
        &["--only-data", "--scale", "0.001", "--format", "csv"],
    ] {
        let output = program.command(arguments).output().unwrap();
        let succeeds = arguments == ["--only-data", "--scale", "0.001"];
        assert_eq!(output.status.success(), succeeds, "{arguments:?}");
        said.push(String::from_utf8(output.stderr).unwrap());
    }
    for (said, expected) in said.iter().zip([
        "use 1, 3, 5, 6 or 12",
        "only queries 1, 6 and 12 have functions in Python",
        "invalid scale 0: use a number above 0",
        "functions in Rust read Parquet: add --language python",
        "a journal records one run",
        "",
        "holds data of scale 0.001, and 0.01 is wanted",
        "holds data as parquet, and csv is wanted",
    ]) {
        assert!(said.contains(expected), "{said}");
    }
}
