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

/// A function that returns its trace context, after it has compared what a child process sees; it may change the variable.
const SEES: &str = "
import os, subprocess
def main(args):
    seen = os.environ.get('TRACEPARENT')
    if 'child' in args:
        shell = subprocess.run(['/bin/sh', '-c', 'echo $TRACEPARENT'], stdout=subprocess.PIPE)
        assert shell.stdout.decode().strip() == (seen or ''), shell.stdout
    if 'set' in args: os.environ['TRACEPARENT'] = 'own'
    if 'delete' in args: del os.environ['TRACEPARENT']
    return {'seen': seen}
";

/// Calls the function with one trace context after another.
const CALLS: &str = "
import sys
sys.path.insert(0, sys.argv[1])
import falco_shim
function = falco_shim.load(sys.argv[2], 'main')
count = 0
def call(value={}, length=16):
    global count
    count += 1
    context = '00-%032x-%0*x-01' % (count, length, count)
    answer = function.call(value, {'TRACEPARENT': context})
    assert answer.result == {'seen': context}, (count, answer.error or answer.result)
def memory():
    return int(open('/proc/self/statm').read().split()[1]) * 4096
";

/// Runs `script` after [`CALLS`] beside a function with these files.
fn call_often(files: &[(&str, &str)], script: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut archive = falco_package::Archive::new().with_file("__main__.py", SEES).unwrap();
    for (path, content) in files {
        archive = archive.with_file(*path, content.to_string()).unwrap();
    }
    let runtime = "python:3".parse().unwrap();
    let function = Deployable::from_archive("f", runtime, archive.to_zip().unwrap());
    let code = folder.path().join("code");
    shim::wrap(&function).unwrap().unpack_to(&code).unwrap();
    let python = Command::new("python3")
        .args(["-c", &format!("{CALLS}{script}")])
        .args([&code, &code.join(shim::FUNCTION)])
        .output()
        .unwrap();
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
}

#[test]
fn the_environment_of_each_call_is_its_own_also_after_many_calls() {
    let script = "
for rest in range(3):
    call({'child': 1})
    call({'set': 1})
    call({'child': 1, 'delete': 1})
    call({'child': 1}, length=20)
    call({'child': 1})
    answer = function.call({'child': 1}, None)
    assert answer.result == {'seen': None}, answer.error
    call({'child': 1})
    for n in range(1200): call()
";
    call_often(&[], script);
    // Python's own module of that name is not loaded then.
    call_often(&[("ctypes.py", "raise ImportError('of the function')")], script);
}

#[test]
fn a_process_of_many_calls_does_not_grow_by_their_environment() {
    let script = "
for n in range(2000): call()
before = memory()
for n in range(30000): call()
grown = memory() - before
assert grown < 1 << 20, grown
";
    call_often(&[], script);
}
