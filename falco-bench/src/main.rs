//! The benchmarks of Falco, each figure beside a floor measured in the same run: `cargo xtask bench`.
//!
//! Machines are shared and noisy, so a goal is a ratio to the floor, and never a time.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command line tool")]

mod aws;
mod batches;
// The harness of the page's tests: what draws a report is not written twice.
#[path = "../../falco-meter/tests/it/browser.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "written for tests")]
mod browser;
mod congestion;
mod data;
mod docker;
mod engine;
mod figure;
mod first_build;
mod full_stack;
mod gcp;
mod invoking;
mod journal;
mod local;
mod lockstep;
mod memory;
mod native;
mod openwhisk;
mod peers;
mod registry;
mod rust;
mod scale;
mod table;
mod tpch;
mod tracing_runs;
mod wordcount;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail, ensure};

use crate::figure::Figure;
use crate::registry::{BENCHMARKS, Benchmark};

const USAGE: &str = "usage: cargo xtask bench [NAME ..] [--quick] [--no-check] [--list]";

/// Set where a benchmark is tried with small sizes, if it has any. The figures say nothing then.
const QUICK: &str = "FALCO_BENCH_QUICK";

fn is_quick() -> bool {
    std::env::var_os(QUICK).is_some()
}

fn main() -> ExitCode {
    rust::serve_if_worker();
    if let Some(code) = peers::serve_if_contender() {
        return code;
    }
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<bool> {
    let mut names = Vec::new();
    let (mut check, mut is_quick) = (true, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--no-check" => check = false,
            "--quick" => is_quick = true,
            "--list" => {
                for benchmark in BENCHMARKS {
                    println!("{:<16} {}", benchmark.name, benchmark.about);
                }
                return Ok(true);
            }
            // How this program calls itself: memory is measured for a process, so each benchmark gets its own.
            "--in-process" => {
                let name = names.first().map(String::as_str).unwrap_or_default();
                let figures = (find(name)?.run)()?;
                return table::write_json(name, &figures).map(|()| true);
            }
            flag if flag.starts_with('-') => bail!("there is no option {flag:?}; {USAGE}"),
            name => names.push(find(name)?.name.to_owned()),
        }
    }
    if names.is_empty() {
        names = BENCHMARKS.iter().map(|benchmark| benchmark.name.to_owned()).collect();
    }
    let mut figures = Vec::new();
    for name in &names {
        eprintln!("measuring {name} ..");
        figures.extend(run_in_a_process_of_its_own(name, is_quick)?);
    }
    println!("{}", table::render(&figures));
    let missed: Vec<&Figure> = figures.iter().filter(|figure| !figure.is_reached()).collect();
    for figure in &missed {
        println!("missed: {figure}");
    }
    Ok(missed.is_empty() || !check)
}

fn find(name: &str) -> anyhow::Result<&'static Benchmark> {
    BENCHMARKS.iter().find(|benchmark| benchmark.name == name).with_context(|| {
        let known: Vec<_> = BENCHMARKS.iter().map(|benchmark| benchmark.name).collect();
        format!("there is no benchmark {name:?}; there are {}", known.join(", "))
    })
}

fn run_in_a_process_of_its_own(name: &str, is_quick: bool) -> anyhow::Result<Vec<Figure>> {
    let path: PathBuf = table::json_path(name);
    let mut command = Command::new(std::env::current_exe()?);
    command.args([name, "--in-process"]).envs(is_quick.then_some((QUICK, "1")));
    let status = command.status()?;
    ensure!(status.success(), "the benchmark {name} failed with {status}");
    table::read_json(&path)
}
