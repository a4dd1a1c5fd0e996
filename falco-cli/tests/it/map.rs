//! `falco map`: inputs in, results out.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use serde_json::json;

use crate::program::{Machine, has, json_lines, read};

/// Answers the square of a number; odd ones are slow, 13 raises, and 17 is not a number.
const SQUARE: &str = "
import time
def main(args):
    n = int(args.get('line', args.get('n')))
    if n == 13:
        raise ValueError('thirteen')
    time.sleep(0.01 * (n % 2))
    return {'square': n * n}
";

const ECHO: &str = "def main(args): return args";

#[test]
fn text_in_results_out_in_the_order_of_the_inputs() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("square.py", SQUARE);
    let inputs: String = (100..200).map(|n| format!("{n}\n")).collect();
    let printed = machine.run_with(&inputs, &["map", "--text", "-f", &function]).ok();
    let squares: Vec<_> = json_lines(&printed).iter().map(|line| line["square"].as_u64()).collect();
    assert_eq!(squares, (100..200_u64).map(|n| Some(n * n)).collect::<Vec<_>>());
    let printed = machine.run_with(&inputs, &["map", "--text", "--unordered", "-qf", &function]);
    assert_eq!(printed.stderr, "");
    let mut unordered: Vec<_> =
        json_lines(&printed.ok()).iter().map(|line| line["square"].as_u64()).collect();
    unordered.sort_unstable();
    assert_eq!(unordered, squares);
    for batch in ["7", "auto"] {
        let arguments = ["map", "--text", "-qf", &function, "--batch", batch];
        let printed = machine.run_with(&inputs, &arguments).ok();
        let found: Vec<_> =
            json_lines(&printed).iter().map(|line| line["square"].as_u64()).collect();
        assert_eq!(found, squares, "--batch {batch}");
    }
    machine.assert_clean();
}

#[test]
fn an_input_that_fails_is_named_and_the_others_go_on() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("square.py", SQUARE);
    let inputs = machine.file("inputs.jsonl", "{\"n\": 12}\n{\"n\": 13}\n{oops\n{\"n\": 14}\n");
    let failed = machine.path("failed.jsonl");
    let arguments = ["map", "-q", "-f", &function, &inputs];
    let printed = machine.run(&[&arguments[..], &["--failed", failed.to_str().unwrap()]].concat());
    assert_eq!(printed.code, Some(1), "{}", printed.stderr);
    assert_eq!(json_lines(&printed.stdout), [json!({"square": 144}), json!({"square": 196})]);
    let mut lines = json_lines(&read(&failed));
    lines.sort_by_key(|line| line["input"].as_u64());
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["input"], &lines[0]["kind"]), (&json!(2), &json!("function error")));
    assert!(lines[0]["message"].as_str().unwrap().contains("thirteen"), "{}", lines[0]);
    assert!(lines[0]["trace"].as_str().unwrap().contains("raise ValueError"), "{}", lines[0]);
    assert_eq!(lines[0]["argument"], json!({"n": 13}));
    assert_eq!((&lines[1]["input"], &lines[1]["kind"]), (&json!(3), &json!("invalid input")));
    assert!(lines[1]["message"].as_str().unwrap().contains("inputs.jsonl:3"), "{}", lines[1]);

    let again = machine.run(&[&arguments[..], &["--failed", failed.to_str().unwrap()]].concat());
    assert!(again.error().contains("failed.jsonl for --failed is not empty"));

    for stderr in [&[][..], &["--failed", "-"]] {
        let printed = machine.run(&[&arguments[..], stderr].concat());
        assert_eq!(printed.code, Some(1));
        let shown = printed.stderr.lines().filter(|line| line.starts_with("{\"input\":"));
        assert_eq!(shown.count(), 2, "they are on stderr with {stderr:?}: {}", printed.stderr);
        assert_eq!(json_lines(&printed.stdout).len(), 2, "results alone are on stdout");
    }
    assert!(!machine.path("-").exists(), "a hyphen is not the name of a file");

    let printed = machine.run(&[&arguments[..], &["--on-failure", "stop"]].concat());
    assert_eq!(printed.code, Some(1));
    assert!(printed.stderr.contains("the run is incomplete: "), "{}", printed.stderr);
    machine.assert_clean();
}

#[test]
fn rows_files_and_names_of_files_are_inputs() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("echo.py", ECHO);
    let printed =
        machine.run_with("a,b\n1,x\n2,\"y, z\"\n", &["map", "-q", "--csv", "-f", &function]);
    let rows = [json!({"a": "1", "b": "x"}), json!({"a": "2", "b": "y, z"})];
    assert_eq!(json_lines(&printed.ok()), rows);
    let (one, two) = (machine.file("one.txt", "first"), machine.file("two.txt", "second"));
    let files = [json!({"path": one, "text": "first"}), json!({"path": two, "text": "second"})];
    let printed = machine.run(&["map", "-q", "--files", "-f", &function, &one, &two]);
    assert_eq!(json_lines(&printed.ok()), files);
    let names = format!("{one}\n{two}\n");
    let printed = machine.run_with(&names, &["map", "-q", "--files", "-f", &function]);
    assert_eq!(json_lines(&printed.ok()), files);
    let (name, printed) = ("nothing", machine.run(&["map", "-q", "-f", &function]));
    assert_eq!(printed.ok(), "", "{name} in, nothing out");
}

#[test]
fn javascript_executables_and_variables_are_known() {
    let machine = Machine::new();
    if has("node") {
        let function = machine.file(
            "env.js",
            "exports.main = args => ({n: args.n, who: process.env.WHO, token: process.env.TOKEN})",
        );
        let mut command = machine.command(&["map", "-q", "-f", &function]);
        command.args(["--env", "WHO=Ada", "--env", "TOKEN", "-"]).env("TOKEN", "marked-secret");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"{\"n\":1}\n").unwrap();
        let printed = child.wait_with_output().unwrap();
        let lines = json_lines(&String::from_utf8(printed.stdout).unwrap());
        assert_eq!(lines, [json!({"n": 1, "who": "Ada", "token": "marked-secret"})]);
    }
    let shell =
        machine.file("echo", "#!/bin/sh\nwhile read -r l; do echo '{\"ok\":1}' >&3; done\n");
    let printed = machine.run_with("{}\n", &["map", "-q", "-f", &shell]);
    assert_eq!(printed.ok(), "{\"ok\":1}\n");
}

#[test]
fn impossible_flags_and_inputs_are_named_before_anything_is_deployed() {
    let machine = Machine::new();
    let function = machine.file("echo.py", ECHO);
    let text = machine.file("notes.txt", "hello");
    for (arguments, words) in [
        (&["-f", "/no/such.py"][..], "/no/such.py"),
        (&["-f", &text], "--runtime"),
        (&["-f", &function, "/no/inputs.jsonl"], "/no/inputs.jsonl"),
        (&["-f", &function, "/"], "/ is a folder"),
        (&["-f", &function, "--failed", "/no/such/failed.jsonl"], "/no/such/failed.jsonl"),
        (&["-f", &function, "--results", "/no/such/r.jsonl"], "/no/such/r.jsonl"),
        (&["-f", &function, "--text", "--csv"], "--csv"),
        (&["-f", &function, "--env", "NO_SUCH_VARIABLE_HERE"], "no variable of that name"),
        (&[], "--function"),
    ] {
        let error = machine.run(&[&["map"], arguments].concat()).error();
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
    machine.assert_clean();
}

#[test]
fn results_come_while_inputs_still_do() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("echo.py", ECHO);
    let mut command = machine.command(&["map", "-q", "-f", &function]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut inputs = child.stdin.take().unwrap();
    let mut results = BufReader::new(child.stdout.take().unwrap());
    for n in 0..3 {
        let line = format!("{{\"n\":{n}}}\n");
        inputs.write_all(line.as_bytes()).unwrap();
        let mut result = String::new();
        results.read_line(&mut result).unwrap();
        assert_eq!(result.replace(' ', ""), line);
    }
    drop(inputs);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_reader_that_goes_away_ends_the_run_and_nothing_is_left() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("echo.py", ECHO);
    let mut command = machine.command(&["map", "--text", "-q", "-f", &function]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut inputs = child.stdin.take().unwrap();
    // Endless, until the command reads no more.
    let writer = std::thread::spawn(move || while inputs.write_all(b"line\n").is_ok() {});
    let mut results = BufReader::new(child.stdout.take().unwrap());
    results.read_line(&mut String::new()).unwrap();
    drop(results);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(141), ""));
    writer.join().unwrap();
    machine.assert_clean();
}

#[test]
fn inputs_and_results_pass_through_bounded_memory() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("echo.py", ECHO);
    let mut command = machine.command(&["map", "--text", "-q", "-f", &function]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut inputs = child.stdin.take().unwrap();
    // 100 MiB go in, and as many come out.
    let (count, line) = (400, format!("{}\n", "x".repeat(256 * 1024)));
    let writer = std::thread::spawn(move || {
        for _ in 0..count {
            inputs.write_all(line.as_bytes()).unwrap();
        }
    });
    let status = format!("/proc/{}/status", child.id());
    let (mut seen, mut peak) = (0, 0_u64);
    for result in BufReader::new(child.stdout.take().unwrap()).lines() {
        assert_eq!(result.unwrap().len(), r#"{"line":""}"#.len() + 256 * 1024);
        seen += 1;
        if seen % 50 == 0 && seen < count {
            let status = std::fs::read_to_string(&status).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
            peak = line.trim().trim_end_matches(" kB").parse().unwrap();
        }
    }
    writer.join().unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(seen, count);
    assert!((1..110).contains(&(peak / 1024)), "{} MiB", peak / 1024);
    machine.assert_clean();
}

#[test]
fn ctrl_c_keeps_what_is_finished_and_leaves_nothing() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("echo.py", ECHO);
    let failed = machine.path("failed.jsonl");
    let mut command = machine.command(&["map", "--text", "-f", &function, "--failed"]);
    command.arg(&failed).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut inputs = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || while inputs.write_all(b"line\n").is_ok() {});
    let mut results = BufReader::new(child.stdout.take().unwrap());
    let mut printed = String::new();
    results.read_line(&mut printed).unwrap();
    let kill = format!("kill -INT {}", child.id());
    assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let reader = std::thread::spawn(move || {
        results.read_to_string(&mut printed).unwrap();
        printed
    });
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    let printed = reader.join().unwrap();
    writer.join().unwrap();
    let count = printed.lines().count();
    assert!(json_lines(&printed).iter().all(|line| line["line"] == "line"));
    let expected = format!("the run is incomplete: {count} result");
    assert!(said.contains(&expected), "{expected}: {said}");
    machine.assert_clean();
}

#[test]
fn json_is_the_report_on_stderr_and_help_has_an_example() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("echo.py", ECHO);
    let printed = machine.run_with("{}\n", &["map", "--json", "-f", &function]);
    let report = printed.stderr.lines().last().unwrap();
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    assert_eq!(report["invocations"]["succeeded"], 1);
    assert_eq!(printed.ok(), "{}\n");
    let help = machine.run(&["map", "--help"]).ok();
    assert!(help.contains("seq 1000 | falco map --text -f square.py"), "{help}");
}
