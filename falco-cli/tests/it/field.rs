//! Inputs on which peers of Falco failed in the field, as lines of `falco map`: one right answer here and on every fake.

use falco_fakes::field::{EXIT_BESIDE_A_THREAD, MULTIPROCESSING, RAISES_HALF_A_PAIR};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::packages::python;
use crate::program::{Machine, Printed, has, json_lines, read};
use crate::remote::Remote;

const ANSWERS_BACK: &str = "#!/usr/bin/env python3
import json, os, sys
for line in sys.stdin:
    os.write(3, json.loads(line)['value']['answer'].encode() + b'\\n')
";

const LENGTH: &str = "exports.main = args => ({ length: args.text.length })";

/// The kind of a failure, and words of its message.
type Failure = (&'static str, &'static str);

/// A function, and for each input its result or its failure.
struct Row {
    file: &'static str,
    source: &'static str,
    lines: Vec<(&'static str, Result<Value, Failure>)>,
}

fn table() -> Vec<Row> {
    let (raised, squares) = ("function error", || Ok(json!({"squares": [1, 4, 9]})));
    let ok = || Ok(json!({"ok": true}));
    vec![
        Row {
            file: "answers",
            source: ANSWERS_BACK,
            lines: vec![
                (r#"{"answer":"{\"rows\":0,\"error\":\"caf\\udce9\"}"}"#, Err((raised, "caf"))),
                (r#"{"answer":"{\"rows\":3,\"error\":null}"}"#, Err((raised, "null"))),
                (r#"{"answer":"{\"mean\":NaN}"}"#, Err(("bad result", "JSON"))),
                (r#"{"answer":"{\"rows\":3}"}"#, Ok(json!({"rows": 3}))),
                // Half of a surrogate pair in the input: no platform ever gets it.
                (r#"{"answer":"\ud83d hi"}"#, Err(("invalid input", "inputs.jsonl:5"))),
            ],
        },
        Row {
            file: "exits.py",
            source: EXIT_BESIDE_A_THREAD,
            lines: vec![
                ("{}", ok()),
                (r#"{"quit":true,"thread":0}"#, Err((raised, "no input rows"))),
                (r#"{"quit":true,"thread":9}"#, Err((raised, "no input rows"))),
                ("{}", ok()),
            ],
        },
        Row {
            file: "pool.py",
            source: MULTIPROCESSING,
            lines: vec![
                (r#"{"method":"spawn"}"#, squares()),
                (r#"{"method":"fork"}"#, squares()),
                (r#"{"method":"forkserver"}"#, squares()),
            ],
        },
        Row {
            file: "picture.py",
            source: RAISES_HALF_A_PAIR,
            lines: vec![(
                r#"{"name":[99,97,102,233,46,116,120,116],"open":true}"#,
                Err((raised, "not a picture: caf")),
            )],
        },
        Row {
            file: "length.js",
            source: LENGTH,
            lines: vec![
                ("{\"text\":\"line\u{2028}separator\"}", Ok(json!({"length": 14}))),
                ("{\"text\":\"next\u{85}line\"}", Ok(json!({"length": 9}))),
            ],
        },
    ]
}

/// Compares what `falco map` has printed and kept with what is right.
fn check(platform: &str, row: &Row, printed: &Printed, failed: &str) {
    let about = format!("{platform}, {}: {} {failed}", row.file, printed.stderr);
    let right: Vec<&Value> = row.lines.iter().filter_map(|(_, it)| it.as_ref().ok()).collect();
    assert_eq!(json_lines(&printed.stdout).iter().collect::<Vec<_>>(), right, "{about}");
    let mut failed = json_lines(failed);
    failed.sort_by_key(|line| line["input"].as_u64());
    let wrong: Vec<(u64, &(&str, &str))> =
        (1..).zip(&row.lines).filter_map(|(n, (_, it))| Some((n, it.as_ref().err()?))).collect();
    assert_eq!(failed.len(), wrong.len(), "{about}");
    for (line, (input, (kind, words))) in failed.iter().zip(wrong) {
        assert_eq!((&line["input"], &line["kind"]), (&json!(input), &json!(kind)), "{about}");
        assert!(line["message"].as_str().unwrap().contains(words), "{about}");
        // The function has failed, and nothing was lost: it runs once, though it is idempotent.
        assert!(line["attempts"].as_u64().unwrap() <= 1, "{about}");
    }
    let code = if failed.is_empty() { 0 } else { 1 };
    assert_eq!(printed.code, Some(code), "{about}");
}

/// Runs the table, by `run` for each row.
async fn run_all(platform: &str, machine: &Machine, remote: Option<&Remote>) {
    for row in table() {
        let folder = machine.path(&format!("{platform}-{}", row.file));
        std::fs::create_dir_all(&folder).unwrap();
        let place = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let (function, inputs, failed) = (place(row.file), place("inputs.jsonl"), place("failed"));
        let lines: String = row.lines.iter().map(|(line, _)| format!("{line}\n")).collect();
        std::fs::write(&function, row.source).unwrap();
        std::fs::write(&inputs, lines).unwrap();
        let python = python();
        let mut arguments =
            vec!["map", "-q", "--idempotent", "--timeout", "60s", "-f", &function, &inputs];
        arguments.extend(["--failed", &failed]);
        if row.file.ends_with(".py") && remote.is_some() {
            arguments.extend(["--runtime", &python]);
        }
        let printed = match remote {
            Some(remote) => remote.run(machine, &arguments).await,
            None => machine.run(&arguments),
        };
        check(platform, &row, &printed, &read(&failed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_in_the_field_is_right_on_this_machine() {
    if has("python3") && has("node") {
        let machine = Machine::new();
        run_all("local", &machine, None).await;
        machine.assert_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_in_the_field_is_right_on_every_platforms_fake() {
    if !has("python3") || !has("node") {
        return;
    }
    let machine = Machine::new();
    let remotes = Remote::all();
    join_all(remotes.iter().map(|remote| run_all(remote.platform, &machine, Some(remote)))).await;
}

#[test]
fn more_calls_at_once_than_descriptors_are_all_answered() {
    let machine = Machine::new();
    let source = "#!/bin/sh\nwhile read -r line; do sleep 0.1; echo '{\"ok\":true}' >&3; done\n";
    let function = machine.file("slow", source);
    let inputs = machine.file("inputs.jsonl", &"{}\n".repeat(200));
    let falco = machine.command(&["map", "-q", "-f", &function, &inputs, "--concurrency", "150"]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""]).arg(falco.get_program());
    for (name, value) in falco.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let printed = Printed::of(shell.args(falco.get_args()).output().unwrap());
    assert_eq!(printed.stderr, "");
    assert_eq!(printed.ok().lines().count(), 200);
    machine.assert_clean();
}
