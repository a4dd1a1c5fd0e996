//! A signal in mid-run: nothing is left, no half of a result is printed, and the exit code says so.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::program::{Machine, has};

fn send(signal: &str, child: &Child) {
    let kill = format!("kill -{signal} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

#[test]
fn a_program_that_is_stopped_fails_and_leaves_nothing() {
    if !has("node") || !has("python3") {
        return;
    }
    for (program, stage, arguments, signal) in [
        (
            "montecarlo",
            "throw",
            ["--invocations", "1000000", "--samples", "1000"].as_slice(),
            "TERM",
        ),
        ("montecarlo", "throw", &["--invocations", "1000000", "--samples", "1000"], "HUP"),
        ("chain", "square", &["200000"], "INT"),
    ] {
        let machine = Machine::new();
        let mut child = machine
            .command(program)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains(&format!("{stage}: started")) {
            assert!(stderr.read_line(&mut said).unwrap() > 0, "{program} has ended: {said}");
        }
        std::thread::sleep(Duration::from_millis(200));
        send(signal, &child);
        stderr.read_to_string(&mut said).unwrap();
        let printed = child.wait_with_output().unwrap();
        assert!(!printed.status.success(), "{program} has succeeded after {signal}: {said}");
        assert_eq!(String::from_utf8(printed.stdout).unwrap(), "", "{program} after {signal}");
        assert!(said.contains("the run was stopped"), "{program} after {signal}: {said}");
        let listed = machine.run("cleanup", &["--older-than", "0s", "--dry-run"]);
        assert_eq!(listed.ok(), "", "{program} has left something after {signal}");
    }
}
