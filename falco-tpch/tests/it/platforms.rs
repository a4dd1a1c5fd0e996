//! The queries on the fakes of the remote platforms, over the protocol of S3.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use falco_aws::AwsLambda;
use falco_core::AsyncPlatform;
use falco_data::{Data, DataPolicy};
use falco_executors::{DriverExt, ParallelExecutor, RunOptions};
use falco_fakes::{FakeAws, FakeGcp, FakeOpenWhisk, FakeS3};
use falco_function::Executable;
use falco_gcp::GcpFunctions;
use falco_openwhisk::OpenWhisk;
use falco_testkit::runtimes;
use falco_tpch::{Answer, Native, Plan, Planner, Query, ask_duckdb};
use futures_util::future::join_all;

use crate::{Program, answers, assert_same};

/// One query without and one with exchanges.
const QUERIES: [Query; 2] = [Query::Q1, Query::Q3];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_in_rust_answer_as_duckdb_does_on_openwhisk_aws_and_google() {
    let Some(duckdb) = runtimes::find("duckdb") else { return };
    let program = Program::new();
    program.make_data().await;
    let expected = ask_duckdb(&duckdb.join("bin/python3"), &program.data(), &QUERIES, 1).unwrap();
    let s3 = FakeS3::start();
    put_all(&s3, &program.data());
    let native = Native::new();
    let functions = Executable::at(without_symbols(program.folder.path())).unwrap();
    let function = |name: &str| native.function(&functions, name);
    let input = s3.store("tpch");
    let planner =
        Planner { input: input.clone(), split: Some(500_000), partitions: 2, function: &function };

    let (whisk, aws, gcp) = (FakeOpenWhisk::start(), FakeAws::start(), FakeGcp::start());
    let platforms: [Arc<dyn AsyncPlatform>; 3] = [
        Arc::new(OpenWhisk::connect(whisk.config().build().unwrap()).await.unwrap()),
        Arc::new(AwsLambda::connect(aws.config().build().unwrap()).await.unwrap()),
        Arc::new(GcpFunctions::connect(gcp.config().build().unwrap()).await.unwrap()),
    ];
    let on = async |platform: Arc<dyn AsyncPlatform>| {
        let place = platform.name().to_owned();
        let data = Data::new(platform, s3.store("scratch"), DataPolicy::default()).unwrap();
        let data = Arc::new(data.with_input(input.clone()));
        for (query, expected) in QUERIES.into_iter().zip(&expected) {
            let plan = planner.plan(query).await.unwrap();
            let strategy = Arc::new(ParallelExecutor::with_concurrency(2).unwrap());
            let outcome = plan.run(RunOptions::new(data.clone(), strategy)).await.unwrap();
            assert!(outcome.is_success(), "{query} on {place}: {}", outcome.report);
            let found: Vec<Answer> = outcome.results_as(Plan::ANSWER).unwrap();
            let difference = found[0].difference(&expected.answer);
            assert_eq!(difference, None, "{query} on {place} and in DuckDB");
        }
    };
    // At once: each waits for something else.
    join_all(platforms.map(on)).await;
    assert_eq!(whisk.actions(), Vec::<String>::new());
    assert_eq!(aws.leftovers(), Vec::<String>::new());
    assert!(gcp.is_clean());
}

/// A platform's Python has no DuckDB: its wheel travels with each function.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_in_python_bring_the_wheel_of_duckdb_to_google() {
    let Some(duckdb) = runtimes::find("duckdb") else { return };
    let program = Program::new();
    program.make_data().await;
    let python = duckdb.join("bin/python3");
    let expected = ask_duckdb(&python, &program.data(), &Query::ALL, 1).unwrap();
    let (s3, gcp) = (FakeS3::start(), FakeGcp::start());
    put_all(&s3, &program.data());

    let requirements = concat!(env!("CARGO_MANIFEST_DIR"), "/functions/requirements.txt");
    let runtime = version_of(&python);
    let mut command = program.command_over(
        "s3://bucket/tpch",
        &[
            "--platform",
            "gcp",
            "--language",
            "python",
            "--queries",
            "6",
            "--json",
            "--requirements",
            requirements,
            "--runtime",
            &runtime,
        ],
    );
    command.envs(gcp.environment()).envs(s3.environment());
    // From the wheel that was installed with the runtime, and from no registry.
    command.env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", duckdb.join("wheels"));
    command.env("XDG_CACHE_HOME", program.folder.path().join("cache"));
    let found = tokio::task::spawn_blocking(move || answers(&mut command)).await.unwrap();
    assert_same(&[Query::Q6], &found, &expected);
    assert!(gcp.is_clean());
    assert_eq!(s3.objects("tpch/_scratch"), []);
}

/// The runtime of an interpreter, such as `python:3.11`: wheels are built for one version.
fn version_of(python: &Path) -> String {
    let ask = "import sys; print('python:%d.%d' % sys.version_info[:2])";
    let output = Command::new(python).args(["-c", ask]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Puts the files of the tables into the bucket, below `tpch`.
fn put_all(s3: &FakeS3, tables: &Path) {
    for table in tables.read_dir().unwrap() {
        for file in table.unwrap().path().read_dir().into_iter().flatten() {
            let file = file.unwrap().path();
            let key = file.strip_prefix(tables).unwrap().to_str().unwrap();
            s3.put(&format!("tpch/{key}"), std::fs::read(&file).unwrap());
        }
    }
}

/// The executable with the functions, where possible without symbols: every deployment on every fake packs and unpacks it.
fn without_symbols(folder: &Path) -> PathBuf {
    let functions = Path::new(env!("CARGO_BIN_EXE_tpch-functions"));
    let stripped = folder.join("functions");
    let strip = Command::new("strip").arg("-o").arg(&stripped).arg(functions).status();
    if strip.is_ok_and(|status| status.success()) { stripped } else { functions.to_owned() }
}
