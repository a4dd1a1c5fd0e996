//! Results that survive: `--results`, and what a program says about them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{Machine, Printed, has};

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn results_are_lines_in_a_file_or_on_stdout() {
    if !has("python3") {
        return;
    }
    let (machine, folder) = (Machine::new(), tempfile::tempdir().unwrap());
    let file = folder.path().join("results.jsonl");
    let path = file.to_str().unwrap();
    let printed = machine.run("hello", &["--results", path, "Ada", "Grace"]);
    assert_eq!(printed.ok(), "Hello Ada!\nHello Grace!\n");
    let mut greetings: Vec<_> = lines(&file).iter().map(|line| line["result"].clone()).collect();
    greetings.sort_by_key(ToString::to_string);
    assert_eq!(greetings[0]["greeting"], "Hello Ada!");
    assert_eq!(greetings.len(), 2);

    let stdout = machine.run("hello", &["--results", "-", "--quiet", "Ada"]).ok();
    let line: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&line["input"], &line["outcome"]), (&1.into(), &"succeeded".into()));

    let again = machine.run("hello", &["--results", path, "Ada"]).error();
    assert!(again.contains("results.jsonl is not empty"), "{again}");
    let nowhere = machine.run("hello", &["--results", "/no/such/folder/r.jsonl"]).error();
    assert!(nowhere.contains("/no/such/folder/r.jsonl"), "{nowhere}");
    assert_eq!(machine.run("cleanup", &["--older-than", "0s", "--dry-run"]).ok(), "");
}

#[test]
fn what_has_finished_survives_a_kill_and_an_incomplete_run_says_where_it_is() {
    if !has("node") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for signal in ["KILL", "INT"] {
        let machine = Machine::new();
        let file = folder.path().join(signal);
        let mut child = machine
            .command("montecarlo")
            .args(["--invocations", "1000000", "--samples", "1000", "--results"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (started, enough) = (Instant::now(), 1_000);
        while std::fs::metadata(&file).map_or(0, |file| file.len()) < enough {
            assert!(started.elapsed() < Duration::from_secs(120), "no result came");
            std::thread::sleep(Duration::from_millis(20));
        }
        let kill = format!("kill -{signal} {}", child.id());
        assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let said: Vec<String> = stderr.lines().map(Result::unwrap).collect();
        assert!(!child.wait().unwrap().success());
        let succeeded = lines(&file).iter().filter(|line| line["outcome"] == "succeeded").count();
        assert!(succeeded > 0);
        if signal == "INT" {
            let expected = format!("the run is incomplete: {succeeded} result");
            assert!(said.iter().any(|line| line.starts_with(&expected)), "{expected}: {said:?}");
        }
        machine.run("cleanup", &["--older-than", "0s"]).ok();
    }
}

#[test]
fn flags_reach_what_the_library_can_do() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    for flags in [
        ["--controller", "aimd"],
        ["--controller", "pid"],
        ["--controller", "fixed"],
        ["--target-rate", "1000"],
        ["--repeat-failed", "2"],
        ["--on-failure", "continue"],
        ["--deadline", "1h"],
        ["--batch", "auto"],
        ["--batch", "3"],
    ] {
        let printed = machine.run("hello", &[&flags[..], &["--quiet"]].concat());
        assert_eq!(printed.ok(), "Hello world!\n", "{flags:?}");
    }
    for (flags, names) in [
        (&["--target-rate", "0"][..], "--target-rate"),
        (&["--target-rate", "5", "--controller", "pid"], "--controller"),
        (&["--deadline", "0s"], "--deadline"),
        (&["--repeat-failed", "-1"], "--repeat-failed"),
        (&["--batch", "0"], "use a number of inputs from 1, or auto"),
        (&["--log", "loud"], "use error, warn, info, debug or trace"),
    ] {
        let error = machine.run("hello", flags).error();
        assert!(error.contains(names), "{flags:?}: {error}");
    }
}

#[test]
fn a_deadline_ends_the_run_and_names_the_stage() {
    if !has("node") {
        return;
    }
    let arguments = ["--invocations", "1000000", "--deadline", "1s"];
    let error = Machine::new().run("montecarlo", &arguments).error();
    assert!(error.contains("deadline") && error.contains("the run is incomplete: "), "{error}");
}

#[test]
fn the_log_goes_to_stderr_by_flag_or_variable() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let printed = machine.run("hello", &["--log", "debug"]);
    assert!(printed.stderr.contains("DEBUG"), "{}", printed.stderr);
    assert_eq!(printed.ok(), "Hello world!\n");
    let mut hello = machine.command("hello");
    let printed = Printed::of(hello.env("RUST_LOG", "falco_layers=debug").output().unwrap());
    assert!(printed.stderr.contains("falco_layers"), "{}", printed.stderr);
    let mut hello = machine.command("hello");
    let printed = Printed::of(hello.env("RUST_LOG", "loud").output().unwrap());
    assert!(printed.error().contains("invalid RUST_LOG \"loud\""));
}
