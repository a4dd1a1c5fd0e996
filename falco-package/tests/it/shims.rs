//! The shims as programs of their own, on pipes.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use falco_core::Deployable;
use falco_package::shim;

/// Fills its standard error without ever waiting for room, says so, and leaves a last word in Python's buffer.
const FULL: &str = "import os, sys\n\
                    def main(args):\n    \
                    os.set_blocking(2, False)\n    \
                    try:\n        \
                    while True:\n            \
                    os.write(2, b'x' * 1000)\n    \
                    except BlockingIOError:\n        \
                    pass\n    \
                    try:\n        \
                    while True:\n            \
                    os.write(2, b'x')\n    \
                    except BlockingIOError:\n        \
                    pass\n    \
                    sys.stderr.write('the last words')\n    \
                    os.write(1, b'full\\n')\n    \
                    return {}\n";

/// Whether a process waits for something, by the state in `/proc`.
fn is_waiting(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
}

#[test]
fn a_log_that_somebody_made_non_blocking_loses_nothing_where_it_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let function = Deployable::from_source("f", "python:3".parse().unwrap(), FULL);
    let code = folder.path().join("code");
    shim::wrap(&function).unwrap().unpack_to(&code).unwrap();
    let mut python = Command::new("python3")
        .arg(code.join(shim::PYTHON))
        .arg(code.join(shim::FUNCTION))
        .args(["main", "0", "1", "mark-logs"])
        // With it Python itself drops what has no room.
        .env_remove("PYTHONUNBUFFERED")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut requests = python.stdin.take().unwrap();
    let mut answers = BufReader::new(python.stdout.take().unwrap());
    requests.write_all(b"start\n{\"value\":{}}\n").unwrap();
    for words in ["\"ok\"", "full"] {
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        assert!(line.contains(words), "{line}");
    }
    // It waits for room, or has given up and waits for the next request.
    let began = Instant::now();
    while !is_waiting(python.id()) {
        assert!(began.elapsed() < Duration::from_secs(60), "it goes on for ever");
        std::thread::yield_now();
    }
    drop(requests);
    let mut log = Vec::new();
    python.stderr.take().unwrap().read_to_end(&mut log).unwrap();
    let mut answer = String::new();
    answers.read_line(&mut answer).unwrap();
    assert!(answer.starts_with("{\"ok\":{}"), "{answer}");
    assert!(python.wait().unwrap().success());
    let log = String::from_utf8(log).unwrap();
    assert!(log.ends_with("xthe last words\0falco:end\n"), "{:?}", &log[log.len() - 40..]);
}
