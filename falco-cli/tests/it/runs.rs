//! `falco runs` and `falco resume`: what a run leaves behind, and how another process goes on with it.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::program::{Machine, Printed, has, json_lines, read};

/// Notes each of its runs; 3 needs more memory than 64 MiB, and holds it at first until it is ended.
const HUNGRY: &str = "
import os, time
def main(args):
    with open(os.environ['RUNS'], 'a') as file:
        file.write(str(args['n']) + '\\n')
    if args['n'] == 3:
        data = bytearray(160 << 20)
        if open(os.environ['RUNS']).read().split().count('3') == 1:
            time.sleep(60)
    return {'n': args['n']}
";

/// Notes each of its runs, and takes its time.
const SLOW: &str = "
import os, time
def main(args):
    with open(os.environ['RUNS'], 'a') as file:
        file.write(args['line'] + '\\n')
    time.sleep(0.02)
    return {'n': int(args['line'])}
";

fn runs(machine: &Machine) -> Vec<Value> {
    serde_json::from_str(&machine.run(&["runs", "--json"]).ok()).unwrap()
}

fn first_log(machine: &Machine) -> PathBuf {
    let run = runs(machine)[0]["run"].as_str().unwrap().to_owned();
    machine.path("state/falco/runs").join(run).join("000001.log")
}

#[test]
fn only_what_failed_runs_again_with_more_memory() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("f.py", HUNGRY);
    let inputs: String = (0..6).map(|n| format!("{{\"n\": {n}}}\n")).collect();
    let inputs = machine.file("inputs.jsonl", &inputs);
    let noted = machine.path("noted");
    let env = format!("--env=RUNS={}", noted.display());
    let first = ["map", "-qf", &function, &inputs, "--journal", "--memory", "64", &env];
    let first = machine.run(&first);
    assert_eq!((first.code, first.stdout.lines().count()), (Some(1), 5), "{}", first.stderr);

    let listed = machine.run(&["runs"]).ok();
    let row = listed.lines().nth(1).unwrap();
    assert!(row.contains("failed") && row.contains("5/1/0"), "{listed}");
    let shown = machine.run(&["runs", "show", "last"]).ok();
    assert!(shown.contains("--why names them") && shown.contains("command: "), "{shown}");
    assert!(!shown.contains(noted.to_str().unwrap()), "values of variables are not recorded");
    let why = machine.run(&["runs", "show", "last", "--why"]).ok();
    assert!(why.contains("it failed and is not idempotent: a resume keeps the failure"), "{why}");

    // By itself, a resume keeps the failure of what is not idempotent, and sends nothing.
    let run = |arguments: &[&str]| {
        let mut command = machine.command(arguments);
        Printed::of(command.env("RUNS", &noted).stdin(Stdio::null()).output().unwrap())
    };
    let kept = run(&["resume", "last", "--memory", "512"]);
    assert_eq!((kept.code, kept.stdout.lines().count()), (Some(1), 5), "{}", kept.stderr);
    assert_eq!(read(&noted).lines().count(), 6);
    let resumed = run(&["resume", "last", "--rerun", "failed", "--memory", "512"]).ok();
    let results: Vec<_> = json_lines(&resumed).iter().map(|it| it["n"].as_u64()).collect();
    assert_eq!(results, (0..6).map(Some).collect::<Vec<_>>());
    let noted = read(&noted);
    assert_eq!((noted.lines().count(), noted.lines().last()), (7, Some("3")));
    let why = machine.run(&["runs", "show", "last", "--why"]).ok();
    assert!(why.contains("sent again: it had failed"), "{why}");
    let listed = &runs(&machine)[0];
    assert_eq!(
        (listed["state"].as_str(), listed["processes"].as_u64()),
        (Some("succeeded"), Some(3))
    );
    machine.assert_clean();
}

#[test]
fn a_damaged_journal_is_named_repaired_and_pruned() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("f.py", "def main(args): return args");
    let arguments = ["map", "-qf", &function, "--text", "--journal"];
    machine.run_with("1\n2\n3\n", &arguments).ok();
    assert_eq!(machine.run(&["runs", "verify", "last"]).ok(), "the journal is whole\n");
    let path = first_log(&machine);
    let mut log = std::fs::read(&path).unwrap();
    let place = log.windows(5).position(|it| it == br#""k":""#).unwrap();
    let place = place + log[place..].windows(7).position(|it| it == br#""k":"c""#).unwrap();
    log[place] ^= 1;
    std::fs::write(&path, log).unwrap();
    let damaged = machine.run(&["runs", "verify", "last"]);
    assert_eq!(damaged.code, Some(1));
    assert!(damaged.stdout.contains("000001.log"), "{}", damaged.stdout);
    assert!(machine.run(&["runs"]).ok().contains("damaged"));
    assert!(machine.run(&["runs", "show", "last"]).error().contains("damaged"));
    assert!(machine.run(&["runs", "repair", "last"]).ok().starts_with("given up:\n"));
    assert_eq!(machine.run(&["runs", "verify", "last"]).ok(), "the journal is whole\n");
    assert!(machine.run(&["runs", "repair", "last"]).ok().contains("nothing to repair"));
    assert_eq!(machine.run(&["runs", "prune"]).ok(), "", "it is young");
    let pruned = machine.run(&["runs", "prune", "--finished", "0s", "--others", "0s"]).ok();
    assert!(pruned.starts_with("removed "), "{pruned}");
    assert!(runs(&machine).is_empty());
    let error = machine.run(&["resume", "last"]).error();
    assert!(error.contains("there is no journal of a run"), "{error}");
}

/// Starts a run, sends it a signal once it has results, and waits for its end.
fn interrupted(machine: &Machine, signal: &str, more: &[&str]) -> (Option<i32>, String) {
    let function = machine.file("f.py", SLOW);
    let inputs: String = (0..200).map(|n| format!("{n}\n")).collect();
    let inputs = machine.file("inputs.txt", &inputs);
    let env = format!("--env=RUNS={}", machine.path("noted").display());
    let arguments = ["map", "--text", "-f", &function, &inputs, "--journal", &env];
    let mut command = machine.command(&[&arguments[..], more].concat());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    assert!(stdout.read_line(&mut line).unwrap() > 0);
    let kill = format!("kill -{signal} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
    let ended = child.wait_with_output().unwrap();
    (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
}

#[test]
fn signals_suspend_a_run_or_remove_its_functions_and_it_goes_on_after_each() {
    if !has("python3") {
        return;
    }
    for (signal, more, code) in
        [("TERM", &[][..], 143), ("HUP", &[], 129), ("INT", &["--on-stop", "remove"], 130)]
    {
        let machine = Machine::new();
        let (ended, said) = interrupted(&machine, signal, more);
        assert_eq!(ended, Some(code), "{signal}: {said}");
        let state = runs(&machine)[0]["state"].as_str().unwrap().to_owned();
        match more.is_empty() {
            true => {
                assert!(said.contains("suspending:") && said.contains(" --resume "), "{said}");
                assert_eq!(state, "suspended");
                let left = machine.run(&["cleanup", "--older-than", "0s", "--dry-run"]).ok();
                assert_eq!(left.lines().count(), 1, "its function stays: {left}");
            }
            false => {
                assert_eq!(state, "failed");
                machine.assert_clean();
            }
        }
        let done = runs(&machine)[0]["invocations"]["done"].as_u64().unwrap();
        assert!((1..200).contains(&done), "{done}");
        let mut command = machine.command(&["resume", "last", "--rerun", "unknown", "--quiet"]);
        command.env("RUNS", machine.path("noted")).stdin(Stdio::null());
        let resumed = Printed::of(command.output().unwrap()).ok();
        assert_eq!(resumed.lines().count(), 200);
        let listed = &runs(&machine)[0];
        assert_eq!(listed["invocations"]["done"].as_u64(), Some(200));
        assert_eq!(listed["state"].as_str(), Some("succeeded"));
        machine.assert_clean();
    }
}

#[test]
fn a_run_that_is_cleaned_up_is_abandoned() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let (_, said) = interrupted(&machine, "TERM", &[]);
    let run = runs(&machine)[0]["run"].as_str().unwrap().to_owned();
    assert!(said.contains(&run), "{said}");
    machine.run(&["cleanup", "--run", &run]).ok();
    assert_eq!(runs(&machine)[0]["state"].as_str(), Some("abandoned"));
    machine.assert_clean();
}

#[test]
fn what_was_being_sent_when_a_driver_was_killed_is_unknown_until_a_flag_sends_it() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let (ended, _) = interrupted(&machine, "KILL", &[]);
    assert_eq!(ended, None);
    assert_eq!(runs(&machine)[0]["state"].as_str(), Some("interrupted"));
    let resume = |more: &[&str]| {
        let mut command = machine.command(&[&["resume", "last", "--quiet"], more].concat());
        command.env("RUNS", machine.path("noted")).stdin(Stdio::null());
        Printed::of(command.output().unwrap())
    };
    let first = resume(&[]);
    assert_eq!(first.code, Some(1), "{}", first.stderr);
    let counts = &runs(&machine)[0]["invocations"];
    let (done, unknown) = (counts["done"].as_u64().unwrap(), counts["unknown"].as_u64().unwrap());
    assert!(unknown > 0 && done + unknown == 200, "{counts}");
    let why = machine.run(&["runs", "show", "last", "--why"]).ok();
    let named = why.lines().filter(|line| line.starts_with("f/") && line.contains("nobody knows"));
    assert_eq!(named.count() as u64, unknown, "{why}");
    let noted = read(machine.path("noted"));
    let mut lines: Vec<_> = noted.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), noted.lines().count(), "something ran twice");
    assert_eq!(resume(&["--rerun", "unknown"]).ok().lines().count(), 200);
    machine.assert_clean();
}

#[test]
fn the_results_of_a_changed_function_are_kept_by_the_users_word_only() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("f.py", "def main(args): return {'version': 1}");
    let inputs = machine.file("inputs.txt", "1\n2\n3\n");
    machine.run(&["map", "-qf", &function, "--text", &inputs, "--journal"]).ok();
    machine.file("f.py", "def main(args): return {'version': 2}");
    machine.file("inputs.txt", "1\n2\n3\n4\n");
    let error = machine.run(&["resume", "last"]).error();
    assert!(error.contains("the code of function") && error.contains("its 3 results"), "{error}");
    let accepted = machine.run(&["resume", "last", "--accept-changed", "f"]).ok();
    let versions: Vec<_> = json_lines(&accepted).iter().map(|it| it["version"].as_u64()).collect();
    assert_eq!(versions, [Some(1), Some(1), Some(1), Some(2)]);
    machine.assert_clean();
}

#[test]
fn another_run_gives_its_results_to_pure_functions_for_the_same_code_and_inputs() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let noted = machine.path("noted");
    let noting = |more: &str| {
        let path = noted.display();
        format!("def main(args):\n  open('{path}', 'a').write('x')\n  return {{{more}}}\n")
    };
    let function = machine.file("f.py", &noting(""));
    let inputs = machine.file("inputs.txt", "1\n2\n3\n");
    let run = |more: &[&str]| {
        let arguments = ["map", "-qf", &function, "--text", &inputs, "--journal"];
        machine.run(&[&arguments[..], more].concat()).ok();
        read(&noted).len()
    };
    assert_eq!(run(&["--pure"]), 3);
    let first = runs(&machine)[0]["run"].as_str().unwrap().to_owned();
    machine.file("inputs.txt", "3\n4\n2\n1\n5\n");
    assert_eq!(run(&["--pure", "--reuse", &first]), 5, "two inputs are new");
    assert_eq!(run(&["--reuse", &first]), 10, "nobody says that it is pure");
    machine.file("f.py", &noting("'changed': 1"));
    assert_eq!(run(&["--pure", "--reuse", &first]), 15, "its code has changed");
    machine.assert_clean();
}

#[test]
fn a_failed_run_over_objects_keeps_what_its_results_refer_to_until_it_succeeds() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let go = machine.path("go");
    let function = machine.file("f.py", &format!(
        "import os\ndef main(args):\n  lines = list(args['input'].lines())\n  if '3' in str(lines[0]) and not os.path.exists('{}'):\n    raise ValueError('not yet')\n  return {{'lines': len(lines)}}\n",
        go.display()
    ));
    std::fs::create_dir(machine.path("in")).unwrap();
    for name in ["1", "2", "3"] {
        std::fs::write(machine.path("in").join(name), format!("{name}\n")).unwrap();
    }
    let (input, store) = (machine.path("in"), machine.path("scratch"));
    let (input, store) = (input.to_str().unwrap(), store.to_str().unwrap());
    let arguments = ["map", "-qf", &function, "--input", input, "--split", "lines:2", "--journal"];
    let error = machine.run(&arguments).error();
    assert!(error.contains("pass --scratch URL"), "{error}");
    let failed = machine.run(&[&arguments[..], &["--scratch", store]].concat());
    assert_eq!((failed.code, failed.stdout.lines().count()), (Some(1), 2), "{}", failed.stderr);
    let run = runs(&machine)[0]["run"].as_str().unwrap().to_owned();
    let mark = machine.path("scratch/runs").join(&run).join("falco.json");
    assert!(mark.exists(), "another process may need what lies beside it");
    std::fs::write(go, "").unwrap();
    let done = machine.run(&["resume", "last", "--rerun", "failed"]).ok();
    assert_eq!(done.lines().count(), 3);
    assert!(!mark.exists());
    machine.assert_clean();
}
