//! The word count beside Python's own process pool, with the same function and the same chunks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::figure::{Figure, Goal};
use crate::memory::TreeSampler;

const BYTES: u64 = 64_000_000;
const CHUNK: &str = "262144";
const WORKERS: &str = "2";

/// Measures wall time and memory of the example on this machine.
pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let program = build_example()?;
    let texts = texts()?;

    let start = Instant::now();
    let pool = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pool.py");
    let expected = output(Command::new("python3").arg(pool).arg(&texts).args([CHUNK, WORKERS]))?;
    let floor = start.elapsed().as_secs_f64();

    let sampler = TreeSampler::start();
    let start = Instant::now();
    let counted =
        output(Command::new(program).arg(&texts).args(["--quiet", "--concurrency", "4"]))?;
    let measured = start.elapsed().as_secs_f64();
    let memory = sampler.finish()? / 1e6;

    ensure!(counted == expected, "the counts differ:\n{counted}\nand\n{expected}");
    Ok(vec![
        Figure::beside("wordcount", "s", measured, floor, Goal::AtMost(1.2)),
        Figure::alone("wordcount: peak memory of all", "MB", memory, Goal::AtMost(130.0)),
    ])
}

fn build_example() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = ["build", "--release", "--quiet", "-p", "falco-examples", "--bin", "wordcount"];
    let status = Command::new(cargo).args(build).current_dir(&root).status()?;
    ensure!(status.success(), "the example does not build");
    // This program and the example are built into the same folder.
    let folder = std::env::current_exe()?;
    Ok(folder.parent().context("this program is in no folder")?.join("wordcount"))
}

/// The folder that `FALCO_DATA` names, or the example's texts, repeated until there is enough.
fn texts() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("FALCO_DATA") {
        return Ok(folder.into());
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut originals = Vec::new();
    for entry in workspace.join("falco-examples/data/texts").read_dir()? {
        originals.push(fs::read(entry?.path())?);
    }
    let folder = workspace.join("target/bench/texts");
    fs::create_dir_all(&folder)?;
    let mut written = 0;
    for (number, text) in originals.iter().cycle().enumerate() {
        if written >= BYTES {
            break;
        }
        fs::write(folder.join(format!("{number:05}.txt")), text)?;
        written += text.len() as u64;
    }
    Ok(folder)
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?} does not start"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}
