//! `falco run`: pipelines without Rust.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use serde_json::json;

use crate::program::{Machine, has, json_lines, read};

#[test]
fn words_are_counted_by_map_shuffle_and_reduce() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    machine.file("one.txt", "to be or not to be");
    machine.file("two.txt", "be quick");
    machine.file(
        "map.py",
        "
def main(args):
    counts = {}
    for word in args['text'].split():
        counts[word] = counts.get(word, 0) + 1
    return {'counts': counts}
",
    );
    machine.file(
        "reduce.py",
        "def main(args): return {'counts': {k: sum(v) for k, v in args['groups'].items()}}",
    );
    let pipeline = machine.file(
        "words.toml",
        r#"
[[stage]]
name = "map"
function = "map.py"
inputs = "*.txt"
format = "files"
idempotent = true
timeout = "30s"

[[stage]]
name = "reduce"
function = "reduce.py"
after = "map"
derivation = { shuffle = "counts", partitions = 2 }
output = "counts.jsonl"
"#,
    );
    let printed = machine.run(&["run", "-q", &pipeline]);
    assert_eq!(printed.ok(), "");
    let mut counts = serde_json::Map::new();
    for line in json_lines(&read(machine.path("counts.jsonl"))) {
        counts.extend(line["counts"].as_object().unwrap().clone());
    }
    assert_eq!(
        serde_json::Value::Object(counts),
        json!({"be": 3, "not": 1, "or": 1, "quick": 1, "to": 2})
    );
    machine.assert_clean();
}

#[test]
fn stages_fan_out_and_in_and_the_last_results_go_to_stdout() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    machine.file("inputs.jsonl", "{\"n\": 2}\n{\"n\": 3}\n");
    machine
        .file("count.py", "def main(args): return {'all': [{'n': n} for n in range(args['n'])]}");
    machine.file("square.py", "def main(args): return {'n': args['n'] ** 2}");
    machine.file("sum.py", "def main(args): return {'sum': sum(r['n'] for r in args['results'])}");
    let pipeline = machine.file(
        "p.toml",
        r#"
stage = [
  { name = "count", function = "count.py", inputs = "inputs.jsonl" },
  { name = "square", function = "square.py", after = "count", derivation = { fan-out = "all" } },
  { name = "sum", function = "sum.py", after = ["square"], derivation = "fan-in" },
]
"#,
    );
    let printed = machine.run(&["run", "-q", &pipeline]).ok();
    assert_eq!(json_lines(&printed), [json!({"sum": 6})]);
}

#[test]
fn what_a_file_says_wrong_is_named_by_file_line_and_key() {
    let machine = Machine::new();
    machine.file("f.py", "def main(args): return args");
    let stage = "[[stage]]\nname = \"a\"\nfunction = \"f.py\"\n";
    for (rest, words) in [
        ("inputs = \"none.jsonl\"\n", "p.toml:4: inputs: "),
        ("inputs = \"*.none\"\n", "p.toml:4: inputs: no file is named"),
        ("inputs = \"f.py\"\nmemory = \"much\"\n", "p.toml:5: memory: "),
        ("inputs = \"f.py\"\noutput = \"/no/such/folder/o\"\n", "p.toml:5: output: cannot write"),
        ("after = \"b\"\n", "p.toml:4: after: there is no stage \"b\""),
    ] {
        let pipeline = machine.file("p.toml", &format!("{stage}{rest}"));
        let error = machine.run(&["run", &pipeline]).error();
        assert!(error.contains(words), "{rest}: {error}");
    }
    let circle = stage.replace("\"a\"", "\"b\"");
    let pipeline = format!("{stage}after = \"b\"\n{circle}after = \"a\"\n");
    let error = machine.run(&["run", &machine.file("p.toml", &pipeline)]).error();
    assert!(
        error.contains("p.toml:4: after: ") && error.contains("wait for each other"),
        "{error}"
    );
    let pipeline = machine.file("p.toml", &stage.replace("f.py", "g.py"));
    let error = machine.run(&["run", &pipeline]).error();
    assert!(error.contains("p.toml:2: name: the stage \"a\" needs inputs"), "{error}");
    assert!(machine.run(&["run", "none.toml"]).error().contains("cannot read none.toml"));
    machine.assert_clean();
}

#[test]
fn a_plan_that_cannot_run_leaves_the_results_of_another_run() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    machine.file("f.py", "def main(args): return args");
    machine.file("inputs.jsonl", "{\"n\": 1}\n");
    let stage = "[[stage]]\nname = \"a\"\nfunction = \"f.py\"\ninputs = \"inputs.jsonl\"\noutput = \"o.jsonl\"\n";
    let good = machine.file("good.toml", stage);
    let before =
        |name: &str| stage.replace("\"a\"", &format!("\"{name}\"")).replace("o.jsonl", "p.jsonl");
    // The second one is found when the plan is read, the others when the platform is there.
    let packages = format!("{}requirements = \"none.txt\"\n", before("b"));
    let runtime = format!("{}runtime = \"cobol\"\n", before("b"));
    let bad = [
        ("packages", format!("{stage}{packages}"), &[][..]),
        ("inputs", format!("{stage}{}", before("b").replace("inputs.jsonl", "none.jsonl")), &[]),
        ("runtime", format!("{stage}{runtime}"), &[]),
        ("platform", stage.to_owned(), &["--platform", "openwhisk"]),
        ("deployment", stage.to_owned(), &["--memory", "900000000"]),
    ];
    let yesterday = "{\"n\": 0, \"of\": \"yesterday\"}\n";
    machine.file("o.jsonl", yesterday);
    for (what, plan, flags) in bad {
        let plan = machine.file("bad.toml", &plan);
        let printed = machine.run(&[&["run", "-q", &plan], flags].concat());
        assert_ne!(printed.code, Some(0), "{what}");
        assert_eq!(read(machine.path("o.jsonl")), yesterday, "{what}: {}", printed.stderr);
        assert!(!machine.path("p.jsonl").exists(), "{what} made a file");
    }
    machine.run(&["run", "-q", &good]).ok();
    assert_eq!(read(machine.path("o.jsonl")), "{\"n\":1}\n");
    machine.assert_clean();
}

/// Answers at once for 0; for others once the file `go` is there, and says whether it came.
const WAITS: &str = "
import os, time
def main(args):
    until = time.time() + 60
    while args['n'] and not os.path.exists(os.environ['GO']) and time.time() < until:
        time.sleep(0.01)
    return {'n': args['n'], 'came': os.path.exists(os.environ['GO'])}
";

#[test]
fn results_are_printed_as_they_are_known() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    machine.file("waits.py", WAITS);
    machine.file("inputs.jsonl", "{\"n\": 1}\n{\"n\": 0}\n");
    let pipeline = machine.file(
        "p.toml",
        "[[stage]]\nname = \"waits\"\nfunction = \"waits.py\"\ninputs = \"inputs.jsonl\"\n",
    );
    let env = format!("--env=GO={}", machine.path("go").display());
    let mut command = machine.command(&["run", "-q", &pipeline, &env, "--concurrency", "2"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut results = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = json_lines(&results.next().unwrap().unwrap());
    assert_eq!(first, [json!({"n": 0, "came": false})]);
    machine.file("go", "");
    let second = json_lines(&results.next().unwrap().unwrap());
    assert_eq!(
        second,
        [json!({"n": 1, "came": true})],
        "it was known before the first was printed"
    );
    assert!(results.next().is_none());
    assert!(child.wait().unwrap().success());
    machine.assert_clean();
}

#[test]
fn a_reader_that_goes_away_ends_the_pipeline_and_nothing_is_left() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    machine.file("echo.py", "def main(args): return args");
    machine.file("inputs.txt", &"line\n".repeat(200_000));
    let pipeline = machine.file(
        "p.toml",
        "[[stage]]\nname = \"echo\"\nfunction = \"echo.py\"\ninputs = \"inputs.txt\"\nformat = \"text\"\n",
    );
    let mut command = machine.command(&["run", "-q", &pipeline]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut results = BufReader::new(child.stdout.take().unwrap());
    results.read_line(&mut String::new()).unwrap();
    drop(results);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(141), ""));
    machine.assert_clean();
}
