//! The fixture is the same function in every language, and in Rust.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use falco_core::{Code, Environment};
use falco_testkit::fixture::{self, Ending, Fixture};
use serde_json::{Value, json};

/// Calls the function once for each `[entry point, arguments]` on stdin, and writes a line for each that returns.
const PYTHON_CALLS: &str = "
import json, runpy, sys
module = runpy.run_path(sys.argv[1])
for entry, args in json.load(sys.stdin):
    try:
        answers = {'result': module[entry](args)}
    except Exception as e:
        answers = {'raised': str(e)}
    print('ANSWER ' + json.dumps(answers), flush=True)
";

const NODE_CALLS: &str = "
const fs = require('fs'), path = require('path');
const file = process.argv[1];
const module_ = fs.statSync(file).isDirectory()
    ? require(path.resolve(file))
    : eval(fs.readFileSync(file, 'utf8') + '; ({ main, other })');
(async () => {
    for (const [entry, args] of JSON.parse(fs.readFileSync(0, 'utf8'))) {
        let answers;
        try {
            answers = { result: await module_[entry](args) };
        } catch (e) {
            answers = { raised: e.message };
        }
        fs.writeSync(1, 'ANSWER ' + JSON.stringify(answers) + '\\n');
    }
})();
";

struct Ran {
    answers: Vec<Value>,
    stdout: String,
    stderr: String,
    status: Option<i32>,
}

/// Calls the fixture in an interpreter; `None`, and a line that says so, where the machine has none.
fn run(family: &str, file: &Path, calls: &[(&str, Value)]) -> Option<Ran> {
    let (program, option, code) = match family {
        "python" => ("python3", "-c", PYTHON_CALLS),
        _ => ("node", "-e", NODE_CALLS),
    };
    let spawned = Command::new(program)
        .args([option, code])
        .arg(file)
        .env("FALCO_SET", "größe")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        let _ = writeln!(std::io::stderr(), "skipped: no {program} here to run the fixture with");
        return None;
    };
    let calls = serde_json::to_vec(calls).unwrap();
    child.stdin.take().unwrap().write_all(&calls).unwrap();
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let answers = stdout.lines().filter_map(|line| line.strip_prefix("ANSWER "));
    Some(Ran {
        answers: answers.map(|json| serde_json::from_str(json).unwrap()).collect(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        status: output.status.code(),
        stdout,
    })
}

fn written(name: &str, content: &[u8]) -> PathBuf {
    let name = format!("{}-{name}", std::process::id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn every_command_does_in_rust_what_it_does_in_an_interpreter() {
    let env: Environment = [("FALCO_SET", "größe")].into_iter().collect();
    let fixture = Fixture::find(fixture::PYTHON).unwrap();
    let calls = [
        ("main", json!({})),
        ("main", json!({"do": "nothing"})),
        ("main", json!({"do": "echo", "value": {"größe": [1, null, "🦅"]}})),
        ("main", json!({"do": "length", "value": "größe"})),
        ("main", json!({"do": "big", "length": 100_000})),
        ("main", json!({"do": "version"})),
        ("main", json!({"do": "env", "name": "FALCO_SET"})),
        ("main", json!({"do": "env", "name": "FALCO_UNSET"})),
        ("main", json!({"do": "raise", "message": "größe"})),
        ("main", json!({"do": "bad_result"})),
        ("main", json!({"do": "print", "stdout": ["a", "größe"], "stderr": ["b"]})),
        ("main", json!({"do": "else"})),
        ("other", json!({"do": "version"})),
        ("main", json!({"do": "exit", "status": 3})),
        ("main", json!({"do": "nothing"})),
    ];
    for (family, source) in [("python", fixture::PYTHON), ("nodejs", fixture::NODE)] {
        let file = written(&format!("fixture-{family}"), source.as_bytes());
        let Some(ran) = run(family, &file, &calls) else { continue };
        let mut answers = ran.answers.iter();
        for (entry_point, args) in &calls {
            let response = fixture.respond(entry_point, args, &env);
            let expected = match response.ending {
                Ending::Returned(value) => json!({"result": value}),
                Ending::Raised { message, .. } => json!({"raised": message}),
                Ending::NotLoaded => panic!("it loads"),
                Ending::Exited(status) => {
                    assert_eq!(ran.status, Some(status), "{family}: {}", ran.stderr);
                    break;
                }
            };
            assert_eq!(answers.next(), Some(&expected), "{family}: {args}: {}", ran.stderr);
            for (lines, printed) in [(response.stdout, &ran.stdout), (response.stderr, &ran.stderr)]
            {
                for line in lines {
                    assert!(printed.lines().any(|l| l == line), "{family}: {line}: {printed}");
                }
            }
        }
        assert_eq!(answers.next(), None, "{family}: nothing runs after the exit");
    }
}

#[test]
fn the_time_asleep_is_measured_by_the_functions_own_clock() {
    for (family, source) in [("python", fixture::PYTHON), ("nodejs", fixture::NODE)] {
        let file = written(&format!("sleep-{family}"), source.as_bytes());
        let calls = [("main", json!({"do": "sleep", "seconds": 0.1}))];
        let Some(ran) = run(family, &file, &calls) else { continue };
        let slept = &ran.answers[0]["result"];
        let span = slept["ended"].as_f64().unwrap() - slept["began"].as_f64().unwrap();
        assert!(span >= 0.09, "{family}: {slept}");
    }
}

#[test]
fn the_archive_is_one_that_interpreters_read() {
    let calls = [("main", json!({"do": "version"})), ("other", json!({}))];
    let expected = [json!({"result": {"version": 7}}), json!({"result": {"entry": "other"}})];

    let python = fixture::archive("f", &"python:3".parse().unwrap()).unwrap();
    let Code::Archive(zip) = &python.code else { panic!("no archive") };
    let file = written("archive.zip", zip);
    let Some(ran) = run("python", &file, &calls) else { return };
    assert_eq!(ran.answers, expected, "{}", ran.stderr);

    let node = fixture::archive("f", &"nodejs:22".parse().unwrap()).unwrap();
    let Code::Archive(zip) = &node.code else { panic!("no archive") };
    let (file, unpacked) = (written("node.zip", zip), written("node", b""));
    std::fs::remove_file(&unpacked).unwrap();
    let unzip = ["-m", "zipfile", "-e"];
    let status = Command::new("python3").args(unzip).arg(file).arg(&unpacked).status().unwrap();
    assert!(status.success(), "python finds no fault in the archive");
    let Some(ran) = run("nodejs", &unpacked, &calls) else { return };
    assert_eq!(ran.answers, expected, "{}", ran.stderr);
}

#[test]
fn the_native_fixture_speaks_the_action_loop() {
    let native = fixture::function("f", &"native".parse().unwrap()).unwrap();
    let Code::Archive(zip) = &native.code else { panic!("no archive") };
    let (file, unpacked) = (written("native.zip", zip), written("native", b""));
    std::fs::remove_file(&unpacked).unwrap();
    // Python's unzip forgets the executable bit, so the script is handed to the interpreter here; platforms start it.
    let talk =
        "python3 -m zipfile -e \"$0\" \"$1\" && exec 3>&1 1>/dev/null && exec python3 \"$1\"/exec";
    let mut child = Command::new("sh")
        .args(["-c", talk])
        .args([&file, &unpacked])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines =
        "{\"value\":{\"do\":\"version\"}}\n{\"value\":{\"do\":\"raise\",\"message\":\"größe\"}}\n";
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.code() == Some(127) {
        let _ = std::io::stderr().write_all(b"skipped: no python3 here\n");
        return;
    }
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> =
        answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers, [json!({"version": 1}), json!({"error": "ValueError: größe"})]);
}
