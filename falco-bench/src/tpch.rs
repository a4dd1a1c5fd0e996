//! Queries of TPC-H on functions, beside DuckDB on the same files.

mod counted;
mod query;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use falco_fakes::FakeS3;
use falco_function::Executable;
use falco_tpch::{DuckDbAnswer, Query, ask_duckdb};

use crate::figure::{Figure, Goal};
use query::{Language, Measured, Place, Requests, measure};

/// DuckDB and Falco take turns. Of these rounds the shortest times count, since what disturbs a measurement only makes it slower,
/// and the largest sizes.
const ROUNDS: usize = 3;

/// Threads of DuckDB, and workers of Falco.
const THREADS: usize = 2;

fn scale() -> f64 {
    if crate::is_quick() { 0.01 } else { 1.0 }
}

pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench/tpch");
    std::fs::create_dir_all(&folder)?;
    // URLs take no `..`.
    let folder = folder.canonicalize()?;
    let data = folder.join(format!("data-{}", scale()));
    // A program of its own: functions are small, and the generator's memory is not the driver's.
    let program = build()?;
    let scale = scale().to_string();
    let mut make = Command::new(&program);
    make.args(["--only-data", "--scale", &scale, "--input"]).arg(&data);
    ensure!(make.status()?.success(), "the data cannot be made");
    let executable = Executable::at(&program)?;
    let python = crate::data::duckdb(&folder)?;
    let packages = packages(&folder.join("duckdb"))?;

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let rust = Language::Rust(executable);
    let in_folder = Place::folder(&data, &folder.join("scratch"))?;
    let mut of_duckdb: Vec<DuckDbAnswer> = Vec::new();
    let mut native: Vec<Measured> = Vec::new();
    let mut scripted: Vec<Measured> = Vec::new();
    for _ in 0..ROUNDS {
        let asked = ask_duckdb(&python, &data, &Query::ALL, THREADS)?;
        joined(&mut of_duckdb, asked, |one, other| {
            one.cpu = one.cpu.min(other.cpu);
            one.wall = one.wall.min(other.wall);
        });
        let round = |language: &Language| -> anyhow::Result<Vec<Measured>> {
            let queries = Query::ALL.into_iter().filter(|query| language.has(*query));
            queries.map(|query| measure(&runtime, query, language, &in_folder)).collect()
        };
        joined(&mut native, round(&rust)?, Measured::join);
        let python = Language::Python { packages: packages.clone() };
        joined(&mut scripted, round(&python)?, Measured::join);
    }

    let mut figures = Vec::new();
    for (measured, language) in
        native.iter().map(|it| (it, "")).chain(scripted.iter().map(|it| (it, " in Python")))
    {
        let floor = of_duckdb.get(position(measured.query)).context("an answer of DuckDB")?;
        let difference = measured.answer.difference(&floor.answer);
        ensure!(difference.is_none(), "{} differs from DuckDB: {difference:?}", measured.query);
        figures.extend(rows(measured, floor, language));
    }
    figures.extend(on_s3(&runtime, &data, &rust, &native)?);
    Ok(figures)
}

/// Builds the program that holds the functions.
fn build() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let (profile, folder) =
        if crate::is_quick() { ("dev", "debug") } else { ("release", "release") };
    let build = ["build", "--quiet", "-p", "falco-tpch", "--bin", "tpch", "--profile", profile];
    let status = Command::new(cargo).args(build).current_dir(&root).status()?;
    ensure!(status.success(), "the program does not build");
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(Path::parent).context("this program is in no folder")?;
    Ok(target.join(folder).join("tpch"))
}

/// Joins what was measured of each query in two rounds.
fn joined<T>(kept: &mut Vec<T>, round: Vec<T>, join: impl Fn(&mut T, T)) {
    if kept.is_empty() {
        *kept = round;
    } else {
        kept.iter_mut().zip(round).for_each(|(one, other)| join(one, other));
    }
}

fn position(query: Query) -> usize {
    Query::ALL.iter().position(|one| *one == query).unwrap_or_default()
}

fn rows(measured: &Measured, floor: &DuckDbAnswer, language: &str) -> Vec<Figure> {
    let name = |what: &str| format!("tpch: {}{language}, {what}", measured.query);
    let goal = match (measured.query, language) {
        (_, " in Python") => Goal::Shown,
        (Query::Q1 | Query::Q6, _) => Goal::AtMost(2.0),
        _ => Goal::AtMost(4.0),
    };
    vec![
        Figure::beside(name("CPU of functions to DuckDB"), "s", measured.cpu, floor.cpu, goal),
        Figure::beside(name("wall to DuckDB"), "s", measured.wall, floor.wall, Goal::Shown),
        Figure::alone(name("CPU of the driver"), "s", measured.driver, Goal::Shown),
        Figure::alone(name("traffic"), "MB", measured.traffic, Goal::AtMost(2.0)),
        Figure::alone(name("peak of the driver"), "MB", measured.peak, Goal::AtMost(32.0)),
        Figure::alone(name("peak of a function"), "MB", measured.function, Goal::Shown),
        Figure::alone(name("peak of all processes"), "MB", measured.all, Goal::Shown),
    ]
}

/// Requests of S3 and the price of a run, by the time that functions took in a folder.
fn on_s3(
    runtime: &tokio::runtime::Runtime,
    data: &Path,
    rust: &Language,
    in_folder: &[Measured],
) -> anyhow::Result<Vec<Figure>> {
    let s3 = FakeS3::start();
    for entry in std::fs::read_dir(data)? {
        let table = entry?.path();
        for file in table.read_dir().into_iter().flatten() {
            let file = file?.path();
            let key = file.strip_prefix(data)?.to_str().context("the path is not UTF-8")?;
            runtime.block_on(s3.upload(&format!("in/{key}"), std::fs::read(&file)?));
        }
    }
    let mut figures = Vec::new();
    for held in in_folder {
        let place = Place { input: s3.store("in"), scratch: s3.store("scratch"), s3: Some(&s3) };
        let measured = measure(runtime, held.query, rust, &place)?;
        ensure!(measured.answer == held.answer, "{} differs on S3", held.query);
        let name = |what: &str| format!("tpch: {}, {what}", held.query);
        let Requests { reads, writes, lists } = measured.requests;
        let price = price(measured.requests, held.invocations, held.seconds);
        figures.extend([
            Figure::alone(name("reads of S3"), "", reads as f64, Goal::Shown),
            Figure::alone(name("writes to S3"), "", writes as f64, Goal::Shown),
            Figure::alone(name("lists of S3"), "", lists as f64, Goal::Shown),
            Figure::alone(name("on S3 and Lambda"), "cents", price, Goal::Shown),
        ]);
    }
    Ok(figures)
}

/// Cents by the list prices of us-east-1 in November 2026: a million reads $0.40, a million writes or lists $5, deletions nothing,
/// a million calls $0.20, and a GB-second of x86 $0.0000166667 at 1,769 MB, the memory that comes with one processor.
fn price(requests: Requests, calls: u64, seconds: f64) -> f64 {
    let Requests { reads, writes, lists } = requests;
    let requests = reads as f64 * 0.4 + (writes + lists) as f64 * 5.0 + calls as f64 * 0.2;
    100.0 * (requests / 1e6 + seconds * 1.769 * 0.000_016_666_7)
}

/// The packages of a virtual environment.
fn packages(environment: &Path) -> anyhow::Result<PathBuf> {
    let mut versions = environment.join("lib").read_dir()?;
    let version = versions.next().context("the environment has no Python")??;
    Ok(version.path().join("site-packages"))
}
