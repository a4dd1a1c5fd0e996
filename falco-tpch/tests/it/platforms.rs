//! The queries on the fakes of the remote platforms, over the protocol of S3.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use falco_aws::AwsLambda;
use falco_core::AsyncPlatform;
use falco_data::{Data, DataPolicy};
use falco_executors::{DriverExt, ParallelExecutor, RunOptions};
use falco_fakes::openfaas::{FAKE_IMAGE, FAKE_PASSWORD};
use falco_fakes::{FakeAws, FakeGcp, FakeOpenFaas, FakeOpenWhisk, FakeS3};
use falco_function::Executable;
use falco_gcp::GcpFunctions;
use falco_openwhisk::OpenWhisk;
use falco_tpch::{Answer, Format, Native, Plan, Planner, Query};
use futures_util::future::join_all;

use crate::tables::Tables;
use crate::{Program, answers};

/// One query without and one with exchanges; two others run in containers.
const QUERIES: [Query; 2] = [Query::Q1, Query::Q12];

/// The file that names the wheel of DuckDB.
pub(crate) const REQUIREMENTS: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/functions/requirements.txt");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_in_rust_answer_as_duckdb_does_on_openwhisk_aws_and_google() {
    let Some(tables) = Tables::shared().await else { return };
    let (program, s3) = (Program::new(), FakeS3::start());
    tables.put_into(&s3);
    let native = Native::new();
    let functions = Executable::at(without_symbols(program.folder())).unwrap();
    let function = |name: &str| native.function(&functions, name);
    let input = s3.store("tpch");
    let planner = Planner {
        input: input.clone(),
        format: Format::Parquet,
        split: Some(500_000),
        partitions: 2,
        function: &function,
    };

    let (whisk, aws, gcp) = (FakeOpenWhisk::start(), FakeAws::start(), FakeGcp::start());
    let platforms: [Arc<dyn AsyncPlatform>; 3] = [
        Arc::new(OpenWhisk::connect(whisk.config().build().unwrap()).await.unwrap()),
        Arc::new(AwsLambda::connect(aws.config().build().unwrap()).await.unwrap()),
        Arc::new(GcpFunctions::connect(gcp.config().build().unwrap()).await.unwrap()),
    ];
    let on = async |platform: Arc<dyn AsyncPlatform>| {
        let place = format!("on {}", platform.name());
        let data = Data::new(platform, s3.store("scratch"), DataPolicy::default()).unwrap();
        let data = Arc::new(data.with_input(input.clone()));
        for query in QUERIES {
            let plan = planner.plan(query).await.unwrap();
            let strategy = Arc::new(ParallelExecutor::with_concurrency(2).unwrap());
            let outcome = plan.run(RunOptions::new(data.clone(), strategy)).await.unwrap();
            assert!(outcome.is_success(), "{query} {place}: {}", outcome.report);
            let found: Vec<Answer> = outcome.results_as(Plan::ANSWER).unwrap();
            tables.assert_same(&[query], &found, &place);
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
    let Some(tables) = Tables::shared().await else { return };
    let (program, s3, gcp) = (Program::new(), FakeS3::start(), FakeGcp::start());
    tables.put_into(&s3);
    let runtime = tables.runtime();
    let arguments = ["--requirements", REQUIREMENTS, "--runtime", &runtime];
    let mut command = in_python(&program, &s3, "gcp", &arguments);
    command.envs(gcp.environment());
    tables.offer_wheel(&mut command);
    let found = tokio::task::spawn_blocking(move || answers(&mut command)).await.unwrap();
    tables.assert_same(&[Query::Q6], &found, "on Google");
    assert!(gcp.is_clean());
    assert_eq!(s3.objects("tpch/_scratch"), []);
}

/// Code travels in a variable on OpenFaaS, which no wheel fits into: the image brings DuckDB. The fake has no images, and its
/// functions find DuckDB by a variable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_in_python_answer_as_duckdb_does_on_openfaas() {
    let Some(tables) = Tables::shared().await else { return };
    let (program, s3, faas) = (Program::new(), FakeS3::start(), FakeOpenFaas::start());
    tables.put_into(&s3);
    let packages = tables.packages();
    let arguments = ["--env", &packages, "--gateway", faas.url(), "--python-image", FAKE_IMAGE];
    let mut command = in_python(&program, &s3, "openfaas", &arguments);
    command.env("OPENFAAS_PASSWORD", FAKE_PASSWORD);
    let found = tokio::task::spawn_blocking(move || answers(&mut command)).await.unwrap();
    tables.assert_same(&[Query::Q6], &found, "on OpenFaaS");
    assert_eq!(faas.names(), Vec::<String>::new());
    assert_eq!(s3.objects("tpch/_scratch"), []);
}

/// A command that runs query 6 in Python on a platform.
fn in_python(program: &Program, s3: &FakeS3, platform: &str, arguments: &[&str]) -> Command {
    let mut command = program.command_over("s3://bucket/tpch", arguments);
    command.args(["--platform", platform, "--language", "python", "--queries", "6", "--json"]);
    command.envs(s3.environment());
    command
}

/// The executable with the functions, where possible without symbols: every deployment on every platform packs and unpacks it.
pub(crate) fn without_symbols(folder: &Path) -> PathBuf {
    let functions = Path::new(env!("CARGO_BIN_EXE_tpch-functions"));
    let stripped = folder.join("functions");
    let strip = Command::new("strip").arg("-o").arg(&stripped).arg(functions).status();
    if strip.is_ok_and(|status| status.success()) { stripped } else { functions.to_owned() }
}
