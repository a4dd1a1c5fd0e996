//! The program on this machine, beside DuckDB on the same files.

use std::path::{Path, PathBuf};
use std::process::Command;

use falco_testkit::runtimes;
use falco_tpch::{Answer, OfDuckDb, Query, ask_duckdb};
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

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tpch"));
        command.env("FALCO_LOCAL_DIR", self.folder.path().join("state"));
        command.args(["--quiet", "--scale", "0.01", "--split", "200000"]);
        command.arg("--input").arg(self.data()).args(arguments);
        command
    }

    /// What the program writes to stdout; it has to succeed.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?} failed: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The object that `--json` prints for each query.
    fn answers(&self, arguments: &[&str]) -> Vec<Value> {
        let arguments: Vec<_> = arguments.iter().copied().chain(["--json"]).collect();
        self.run(&arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Every answer is that of DuckDB, and none is empty.
#[track_caller]
fn assert_same(queries: &[Query], found: &[Value], expected: &[OfDuckDb]) {
    assert_eq!(found.len(), queries.len());
    for (query, found) in queries.iter().zip(found) {
        let at = Query::ALL.iter().position(|one| one == query).unwrap();
        let answer: Answer = serde_json::from_value(found["result"].clone()).unwrap();
        assert!(!answer.rows.is_empty(), "{query}");
        let difference = answer.difference(&expected[at].answer);
        assert_eq!(difference, None, "{query} in Falco and in DuckDB");
    }
}

/// The packages of the environment, for functions in Python.
fn packages(duckdb: &Path) -> String {
    let mut versions = std::fs::read_dir(duckdb.join("lib")).unwrap();
    let packages = versions.next().unwrap().unwrap().path().join("site-packages");
    packages.into_os_string().into_string().unwrap()
}

#[test]
fn answers_in_both_languages_are_those_of_duckdb_row_by_row() {
    let Some(duckdb) = runtimes::find("duckdb") else { return };
    let program = Program::new();
    let found = program.answers(&[]);
    let python = duckdb.join("bin/python3");
    let expected = ask_duckdb(&python, &program.data(), &Query::ALL, 1).unwrap();
    assert_same(&Query::ALL, &found, &expected);
    // The two files of the largest table have several splits each.
    let scans = found[0]["report"]["stages"][0]["invocations"]["succeeded"].as_u64().unwrap();
    assert!(scans > 4, "{scans}");

    let path = format!("PYTHONPATH={}", packages(&duckdb));
    let found = program.answers(&["--language", "python", "--env", &path]);
    assert_same(&[Query::Q1, Query::Q6, Query::Q12], &found, &expected);
    // Nothing of an exchange is left.
    assert!(!holds_files(&program.data().join("_scratch")));
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
        // The data is of another scale.
        &["--only-data", "--scale", "0.001"],
        &["--queries", "6"],
    ] {
        let output = program.command(arguments).output().unwrap();
        assert_eq!(output.status.success(), arguments[0] == "--only-data", "{arguments:?}");
        said.push(String::from_utf8(output.stderr).unwrap());
    }
    for (said, expected) in said.iter().zip([
        "use 1, 3, 5, 6 or 12",
        "only queries 1, 6 and 12 have functions in Python",
        "invalid scale 0: use a number above 0",
        "",
        "holds data of scale 0.001, and 0.01 is wanted",
    ]) {
        assert!(said.contains(expected), "{said}");
    }
}
