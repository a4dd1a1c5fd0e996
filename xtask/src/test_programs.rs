//! The test programs of the workspace, several at once.
//!
//! `cargo test` runs them one after the other. Most of their time is spent waiting (for functions, timeouts and outages),
//! so side by side they take half as long. cargo-nextest does this too, and would first have to be compiled on a machine
//! that has only Rust.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::shell::{cargo, check, lock};

/// One test program, as cargo built it.
#[derive(Debug)]
pub(crate) struct Program {
    /// The crate and the target, such as `falco-core tests/it/main.rs`.
    name: String,
    executable: PathBuf,
    /// The crate's folder, in which cargo runs its tests.
    folder: PathBuf,
    /// The executable's size in bytes.
    size: u64,
}

/// The programs that a build of the tests has made, and its warnings.
#[derive(Debug, Default)]
pub(crate) struct Built {
    /// The test programs.
    pub(crate) programs: Vec<Program>,
    /// The beginnings of the warnings that the compiler, or clippy in its place, has printed.
    pub(crate) warnings: Vec<String>,
}

/// Builds what plain `cargo test` would run: also the examples, which tests start.
pub(crate) fn build(selection: &[&str], environment: &[(&str, OsString)]) -> anyhow::Result<Built> {
    let mut built = Built::default();
    check("build of the tests", || {
        let mut build = cargo(&["test", "--no-run", "--message-format=json"]);
        build.args(selection).envs(environment.iter().map(|(name, value)| (name, value)));
        let mut build = build.stdout(Stdio::piped()).spawn().context("cargo does not start")?;
        let messages = BufReader::new(build.stdout.take().context("no output of cargo")?);
        let read = messages.lines().try_for_each(|line| built.read(&line?));
        // Awaited, whatever was read.
        let status = build.wait().context("cargo is lost")?;
        read?;
        ensure!(status.success(), "the tests do not build");
        Ok(())
    })?;
    // The largest are those of crates that stand on all others, whose tests take longest: they begin first.
    built.programs.sort_by_key(|program| program.size);
    Ok(built)
}

impl Built {
    /// Reads a message of cargo: a program is kept, and what the compiler says is printed.
    fn read(&mut self, message: &str) -> anyhow::Result<()> {
        let Ok(message) = serde_json::from_str::<Value>(message) else { return Ok(()) };
        if let Some(text) = message["message"]["rendered"].as_str() {
            eprint!("{text}");
            if message["message"]["level"] == "warning" {
                self.warnings.push(text.lines().take(2).collect::<Vec<_>>().join("\n"));
            }
        }
        if let Some(program) = program(&message) {
            self.programs.push(program?);
        }
        Ok(())
    }
}

/// Runs test programs.
pub(crate) fn run(programs: Vec<Program>, environment: &[(&str, OsString)]) -> anyhow::Result<()> {
    check("tests", || run_all(programs, environment))
}

/// The test program that a message of cargo announces, if it does.
fn program(message: &Value) -> Option<anyhow::Result<Program>> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let executable = PathBuf::from(message["executable"].as_str()?);
    Some(describe(message, executable))
}

fn describe(message: &Value, executable: PathBuf) -> anyhow::Result<Program> {
    let manifest = message["manifest_path"].as_str().context("no manifest_path")?;
    let folder = Path::new(manifest).parent().context("a manifest without folder")?.to_owned();
    let source = message["target"]["src_path"].as_str().context("no src_path")?;
    let source = Path::new(source).strip_prefix(&folder).unwrap_or(Path::new(source));
    let package = folder.file_name().unwrap_or_default().to_string_lossy();
    let size = executable.metadata().with_context(|| executable.display().to_string())?.len();
    Ok(Program { name: format!("{package} {}", source.display()), executable, folder, size })
}

/// Runs all, as many at once as there are processors, and names those that failed.
fn run_all(programs: Vec<Program>, environment: &[(&str, OsString)]) -> anyhow::Result<()> {
    let at_once = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    let (waiting, failed) = (Mutex::new(programs), Mutex::new(Vec::new()));
    let skips = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(program) = take(&waiting) {
                    let ended = run_one(&program, environment).and_then(|output| {
                        lock(&skips).push((skips_in(&output), program.name.clone()));
                        let failed = failures_in(&output);
                        ensure!(output.status.success(), "{}{failed}", output.status);
                        Ok(())
                    });
                    if let Err(error) = ended {
                        lock(&failed).push(format!("{}: {error:#}", program.name));
                    }
                }
            });
        }
    });
    println!("{}", total(&mut lock(&skips)));
    let failed = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if failed.is_empty() {
        return Ok(());
    }
    bail!("{} test programs failed:\n  {}", failed.len(), failed.join("\n  "));
}

/// How many tests, or parts of one, a program has said that it skips.
fn skips_in(output: &Output) -> usize {
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    let lines = said.iter().flat_map(|text| text.lines());
    lines.filter(|line| line.starts_with("skipped ") || line.starts_with("skipped: ")).count()
}

/// The tests of a program that failed, each on a line.
fn failures_in(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = text.lines().filter(|line| line.starts_with("test ") && line.ends_with("FAILED"));
    failed.map(|line| format!("\n    {line}")).collect()
}

/// The skips of all programs, those with most first.
fn total(skips: &mut Vec<(usize, String)>) -> String {
    skips.retain(|(count, _)| *count > 0);
    skips.sort_by(|one, other| other.cmp(one));
    let sum: usize = skips.iter().map(|(count, _)| count).sum();
    let lines = skips.iter().map(|(count, program)| format!("\n  {count:>4} in {program}"));
    format!("skipped: {sum}, each named with its reason above{}", lines.collect::<String>())
}

fn run_one(program: &Program, environment: &[(&str, OsString)]) -> anyhow::Result<Output> {
    let start = Instant::now();
    let output = Command::new(&program.executable)
        .current_dir(&program.folder)
        .env("CARGO_MANIFEST_DIR", &program.folder)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .output()
        .context("it does not start")?;
    print(program, &output, start.elapsed().as_secs_f64());
    Ok(output)
}

/// Prints what a program printed, in one piece.
fn print(program: &Program, output: &Output, seconds: f64) {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("     Ran {} in {seconds:.1} s\n{out}{err}", program.name);
}

fn take(waiting: &Mutex<Vec<Program>>) -> Option<Program> {
    lock(waiting).pop()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn skips_are_counted_and_summed_up() {
        let output = Output {
            status: std::process::ExitStatus::from_raw(0),
            stdout: b"test a ... ok\nskipped: there is no node\n".to_vec(),
            stderr: b"skipped on local (x): b: no [1 skipped so far]\nnothing skipped here\n"
                .to_vec(),
        };
        assert_eq!(skips_in(&output), 2);
        let mut skips = vec![(0, "a".to_owned()), (2, "b".to_owned()), (3, "c".to_owned())];
        let lines = total(&mut skips);
        assert_eq!(lines, "skipped: 5, each named with its reason above\n     3 in c\n     2 in b");
    }

    #[test]
    fn a_program_that_fails_names_its_failed_tests() {
        let output = Output {
            status: std::process::ExitStatus::from_raw(256),
            stdout: b"test a ... ok\ntest b::c ... FAILED\ntest result: FAILED. 1 failed\n"
                .to_vec(),
            stderr: vec![],
        };
        assert_eq!(failures_in(&output), "\n    test b::c ... FAILED");
    }

    #[test]
    fn a_test_program_is_distinguished_from_other_artefacts() {
        let own = std::env::current_exe().unwrap();
        let artefact = |test: bool, executable: Value| {
            serde_json::json!({
                "reason": "compiler-artifact",
                "profile": { "test": test },
                "executable": executable,
                "manifest_path": "/work/falco-core/Cargo.toml",
                "target": { "src_path": "/work/falco-core/tests/it/main.rs" },
            })
        };
        let own = Value::from(own.to_str().unwrap());
        let found = program(&artefact(true, own.clone())).unwrap().unwrap();
        assert_eq!(found.name, "falco-core tests/it/main.rs");
        assert_eq!(found.folder, Path::new("/work/falco-core"));
        assert!(program(&artefact(false, own)).is_none(), "a program that tests start");
        assert!(program(&artefact(true, Value::Null)).is_none(), "a library");
    }

    #[test]
    fn warnings_of_a_build_are_kept_and_what_is_not_json_is_left_out() {
        let mut built = Built::default();
        for level in ["warning", "note", "warning", "error"] {
            let message = serde_json::json!({ "level": level, "rendered": format!("{level}: x\n --> y\n|\n") });
            let message = serde_json::json!({ "reason": "compiler-message", "message": message });
            built.read(&message.to_string()).unwrap();
        }
        built.read("not JSON").unwrap();
        assert_eq!(built.warnings, ["warning: x\n --> y"; 2]);
        assert!(built.programs.is_empty());
    }
}
