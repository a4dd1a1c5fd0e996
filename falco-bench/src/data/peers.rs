//! The shuffle of functions in Rust and Python beside GNU sort and DuckDB, and what Python's helper does in a second.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::process::{children, output};
use crate::figure::{Figure, Goal};

const LINES: usize = 1_000_000;

/// Lines for the contenders that are faster.
const MANY_LINES: usize = 4_000_000;

pub(super) fn run(folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let lines = lines(folder, "pairs.tsv", LINES)?;
    let many = self::lines(folder, "many-pairs.tsv", MANY_LINES)?;
    let sort = sort(&lines)?;
    let sort_many = self::sort(&many)?;
    let native = super::native::shuffle(&many, folder)?;

    let helper = Path::new(env!("CARGO_MANIFEST_DIR")).join("../falco-package/src/shim");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/data/helper.py");
    let rates = output("python3", |python| {
        python.arg(script).arg(&lines).arg(folder).env("PYTHONPATH", &helper)
    })?;
    let rates: Vec<f64> = rates.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [emit, groups, shuffle] = rates[..] else { anyhow::bail!("the helper printed {rates:?}") };
    let beside = |name: &str, measured, floor, goal| {
        Figure::beside(format!("data: shuffle in {name}, CPU"), "s", measured, floor, goal)
    };
    let mut figures = vec![
        Figure::alone("data: Python emits", "1/s", emit, Goal::AtLeast(400_000.0)),
        Figure::alone("data: Python groups", "1/s", groups, Goal::AtLeast(400_000.0)),
        beside("Rust to GNU sort", native, sort_many, Goal::AtMost(0.8)),
        beside("Python to GNU sort", shuffle, sort, Goal::Shown),
    ];
    match duckdb(folder) {
        Ok(python) => {
            let floor = grouped_by_duckdb(&python, &lines)?;
            let floor_many = grouped_by_duckdb(&python, &many)?;
            figures.push(beside("Rust to DuckDB", native, floor_many, Goal::Shown));
            figures.push(beside("Python to DuckDB", shuffle, floor, Goal::Shown));
        }
        Err(error) => eprintln!("skipped: DuckDB: {error:#}"),
    }
    Ok(figures)
}

/// The processor seconds of GNU sort, on one thread.
fn sort(lines: &Path) -> anyhow::Result<f64> {
    let before = children()?;
    let sorted = lines.with_extension("sorted");
    output("sort", |sort| {
        sort.env("LC_ALL", "C").arg("--parallel=1").arg("-o").arg(&sorted).arg(lines)
    })?;
    fs::remove_file(sorted)?;
    Ok(children()? - before)
}

/// The processor seconds of DuckDB for the sum of each key, on one thread.
fn grouped_by_duckdb(python: &Path, lines: &Path) -> anyhow::Result<f64> {
    let query = "import sys, duckdb; duckdb.execute(\"set threads = 1\"); \
                 print(duckdb.sql(f\"select count(*) from (select column0, sum(column1) from \
                 read_csv('{sys.argv[1]}', delim='\\t', header=false) group by 1)\").fetchone()[0])";
    let before = children()?;
    output(python.to_str().context("a path")?, |python| python.args(["-c", query]).arg(lines))?;
    Ok(children()? - before)
}

/// Keys and numbers, one pair a line, in no order.
fn lines(folder: &Path, name: &str, count: usize) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    let mut text = String::with_capacity(count * 20);
    let mut state = 7_u64;
    for _ in 0..count {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text += &format!("key{:06}\t{}\n", (state >> 33) % 200_000, (state >> 20) % 1000);
    }
    fs::write(&path, text)?;
    Ok(path)
}

/// The interpreter of a private environment with DuckDB, from PyPI, below `folder`.
pub(crate) fn duckdb(folder: &Path) -> anyhow::Result<PathBuf> {
    let environment = folder.join("duckdb");
    let python = environment.join("bin/python3");
    let installed = fs::read_to_string(environment.join("installed"));
    if !installed.is_ok_and(|package| package == falco_tpch::DUCKDB) {
        output("python3", |python| python.args(["-m", "venv"]).arg(&environment))?;
        let path = python.to_str().context("the path is not UTF-8")?;
        output(path, |pip| {
            pip.args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--only-binary",
                ":all:",
                falco_tpch::DUCKDB,
            ])
        })?;
        fs::write(environment.join("installed"), falco_tpch::DUCKDB)?;
    }
    Ok(python)
}
