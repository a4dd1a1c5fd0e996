//! `falco map` and `falco run` over objects: folders, and a store with the protocol of S3.

use std::path::Path;
use std::process::Command;

use falco_fakes::FakeS3;
use serde_json::Value;

use crate::program::{Machine, has, json_lines, read};

/// Writes each line of its split in capitals.
const CAPITALS: &str = "
def main(args):
    with args['out'] as out:
        for line in args['input'].lines():
            if line.startswith(b'!'):
                raise ValueError('refused')
            out.write(line.upper())
    return {'out': out.close()}
";

const LINES: &str = "def main(args): return {'lines': sum(1 for _ in args['input'].lines())}";

const TEXT: &str = "to be\nor not\nto be\nthat is\nthe question\n";

fn folder(machine: &Machine, name: &str) -> String {
    let path = machine.path(name);
    std::fs::create_dir_all(&path).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The contents of the objects that the manifest lists, in its order.
fn committed(output: &str) -> String {
    let manifest: Value =
        serde_json::from_str(&read(Path::new(output).join("_manifest.json"))).unwrap();
    let objects = manifest["objects"].as_array().unwrap().iter();
    let urls = objects.map(|object| object["url"].as_str().unwrap());
    urls.map(|url| read(url.strip_prefix("file://").unwrap())).collect()
}

#[test]
fn a_function_maps_splits_of_a_folder_to_objects_that_are_complete_at_once() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let (input, output) = (folder(&machine, "in"), folder(&machine, "out"));
    machine.file("in/a.txt", TEXT);
    let capitals = machine.file("capitals.py", CAPITALS);
    let arguments = ["map", "-q", "-f", &capitals, "--input", &input, "--split", "lines:12"];
    let printed = machine.run(&[&arguments[..], &["--output", &output]].concat()).ok();
    assert_eq!(committed(&output), TEXT.to_uppercase());
    let objects = json_lines(&printed);
    assert!(objects.len() > 2, "{printed}");
    assert_eq!(
        objects.iter().map(|it| it["size"].as_u64().unwrap()).sum::<u64>(),
        TEXT.len() as u64
    );
    assert!(Path::new(&output).join("_SUCCESS").exists());
    let left = Path::new(&output).join("_scratch/runs");
    let left = left.read_dir().into_iter().flatten().flatten();
    assert!(left.map(|run| run.path().join("falco.json")).all(|mark| !mark.exists()));

    // Without an output the results go to stdout, as ever.
    let lines = machine.file("lines.py", LINES);
    let printed =
        machine.run(&["map", "-q", "-f", &lines, "--input", &input, "--split", "lines/2"]);
    let counts: Vec<_> =
        json_lines(&printed.ok()).iter().map(|it| it["lines"].as_u64().unwrap()).collect();
    assert_eq!((counts.len(), counts.iter().sum::<u64>()), (2, 5));

    let again = machine.run(&[&arguments[..], &["--output", &output]].concat());
    assert!(again.error().contains("holds a complete output already"));
    machine.file("in/b.txt", "! no\n");
    let other = folder(&machine, "other");
    let failed = machine.run(&[&arguments[..], &["--output", &other]].concat());
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains("refused"), "{}", failed.stderr);
    assert!(!Path::new(&other).join("_SUCCESS").exists(), "a failed run completes nothing");
    machine.assert_clean();
}

#[test]
fn lines_from_stdin_become_objects_and_a_function_that_writes_none_is_named() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let output = folder(&machine, "out");
    let write = machine.file(
        "write.py",
        "
def main(args):
    with args['out'] as out:
        out.write(args['line'].encode() * 2)
    return {'out': out.close()}
",
    );
    let arguments = ["map", "-q", "--text", "-f", &write, "--output", &output];
    machine.run_with("a\nb\n", &arguments).ok();
    assert_eq!(committed(&output), "aabb");
    let nothing = machine.file("nothing.py", "def main(args): return {}");
    let other = folder(&machine, "other");
    let printed =
        machine.run_with("a\n", &["map", "-q", "--text", "-f", &nothing, "--output", &other]);
    let error = printed.error();
    assert!(
        error.contains("names an object in file://") && error.contains("out.close()"),
        "{error}"
    );
}

#[test]
fn what_is_wrong_with_urls_and_splits_is_said_before_anything_is_deployed() {
    let machine = Machine::new();
    let function = machine.file("f.py", LINES);
    let input = folder(&machine, "in");
    for (arguments, words) in [
        (&["--input", &*input, "--split", "rows"][..], "the format \"rows\" is unknown"),
        (&["--split", "lines"], "--input"),
        (&["--input", &input, "--text"], "cannot be used with"),
        (&["--input", "ftp://host/x"], "the scheme \"ftp\" is unknown"),
        (&["--input", "s3://bucket/in"], "pass --scratch URL, or --output URL"),
        (&["--input", &input], "there is no file in file://"),
    ] {
        let printed = machine.run(&[&["map", "-q", "-f", &function][..], arguments].concat());
        assert!(printed.code != Some(0) && printed.stderr.contains(words), "{}", printed.stderr);
    }
    machine.assert_clean();
}

const MAP: &str = "
def main(args):
    out = args['out'].combine(lambda a, b: a + b)
    for line in args['input'].lines():
        for word in line.split():
            out.emit(word.decode(), 1)
    return {'out': out.close()}
";

const REDUCE: &str = "
def main(args):
    with args['out'] as out:
        for word, counts in args['in'].groups():
            out.write(f'{word} {sum(counts)}\\n'.encode())
    return {'out': out.close()}
";

fn words(machine: &Machine, bucket: &str, derivation: &str) -> String {
    machine.file("map.py", MAP);
    machine.file("reduce.py", REDUCE);
    machine.file(
        "words.toml",
        &format!(
            r#"
[[stage]]
name = "map"
function = "map.py"
inputs = "{bucket}/in"
split = "lines:12"
idempotent = true

[[stage]]
name = "reduce"
function = "reduce.py"
after = "map"
derivation = {derivation}
output = "{bucket}/out"
"#
        ),
    )
}

#[test]
fn a_pipeline_without_rust_counts_words_from_s3_to_s3() {
    if !has("python3") {
        return;
    }
    for derivation in [
        "{ exchange = \"out\", partitions = 3 }",
        "{ exchange = \"out\", partitions = 3, fan-in = 2 }",
    ] {
        let (machine, s3) = (Machine::new(), FakeS3::start());
        s3.put("in/a.txt", TEXT);
        let pipeline = words(&machine, "s3://bucket", derivation);
        let mut command: Command = machine.command(&["run", "-q", &pipeline]);
        let output = command.envs(s3.environment()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && output.stdout.is_empty(), "{stderr}");
        let parts = s3.objects("out").into_iter().filter(|(key, _)| key.contains("/part"));
        let text: String = parts.map(|(_, part)| String::from_utf8(part).unwrap()).collect();
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        let expected = ["be 2", "is 1", "not 1", "or 1", "question 1", "that 1", "the 1", "to 2"];
        assert_eq!(lines, expected);
        let names: Vec<_> = s3.objects("out").into_iter().map(|(key, _)| key).collect();
        assert!(names.contains(&"out/_SUCCESS".to_owned()), "{names:?}");
        assert!(!names.iter().any(|key| key.contains("_scratch")), "{names:?}");
        machine.assert_clean();
    }
}

#[test]
fn a_partition_that_is_larger_than_the_file_allows_fails_the_run_by_name() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    folder(&machine, "in");
    machine.file("in/a.txt", TEXT);
    let bucket = format!("file://{}", machine.path("").display());
    let derivation = "{ exchange = \"out\", partitions = 1, max-partition = \"20B\" }";
    let pipeline = words(&machine, bucket.trim_end_matches('/'), derivation);
    let failed = machine.run(&["run", "-q", &pipeline]);
    let expected = "partition 0 has ";
    assert!(failed.code != Some(0) && failed.stderr.contains(expected), "{}", failed.stderr);
    assert!(failed.stderr.contains("and 20 are allowed"), "{}", failed.stderr);
    assert!(!machine.path("out/_SUCCESS").exists());
    machine.assert_clean();
}

#[test]
fn what_a_file_says_wrong_about_objects_is_named() {
    let machine = Machine::new();
    machine.file("f.py", LINES);
    let stage = |name: &str, rest: &str| {
        format!("[[stage]]\nname = \"{name}\"\nfunction = \"f.py\"\n{rest}")
    };
    let exchanged =
        stage("b", "after = \"a\"\nderivation = { exchange = \"out\", partitions = 2 }\n");
    for (text, expected) in [
        (stage("a", "inputs = \"s3://b/x\"\n"), "add scratch = \"URL\" before the first stage"),
        (stage("a", "inputs = \"ftp://b/x\"\n"), "p.toml:4: inputs: "),
        (
            stage("a", "inputs = \"file:///x\"\noutput = \"file:///y\"\n") + &exchanged,
            "the stage \"a\" has an output",
        ),
        (
            stage("a", "inputs = \"file:///x\"\n") + &exchanged.replace("= 2", "= 0"),
            "p.toml:9: derivation",
        ),
        (
            stage("a", "inputs = \"file:///x\"\noutput = \"file:///y/z\"\n")
                + &stage("b", "inputs = \"file:///x\"\noutput = \"file:///y\"\n"),
            "p.toml:10: output: stage a writes to file:///y/z",
        ),
    ] {
        let pipeline = machine.file("p.toml", &text);
        let error = machine.run(&["run", &pipeline]).error();
        assert!(error.contains(expected), "{text}\n{error}");
    }
}

#[test]
fn a_resumed_run_may_take_its_own_output_and_not_that_of_another_run() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let (input, output) = (folder(&machine, "in"), folder(&machine, "out"));
    let bad = machine.file("in/a.txt", "! no\n");
    let capitals = machine.file("capitals.py", CAPITALS);
    let map = ["map", "-q", "-f", &capitals, "--input", &input, "--output", &output];
    let failed = machine.run(&[&map[..], &["--journal"]].concat());
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    let runs: Value = serde_json::from_str(&machine.run(&["runs", "--json"]).ok()).unwrap();
    let first = runs[0]["run"].as_str().unwrap();

    // Another run completes the output meanwhile.
    std::fs::write(bad, TEXT).unwrap();
    machine.run(&[&map[..], &["--journal"]].concat()).ok();
    machine.run(&[&map[..], &["--resume", "last"]].concat()).ok();
    let refused = machine.run(&[&map[..], &["--resume", first]].concat());
    assert!(refused.error().contains("holds a complete output already"));
    assert_eq!(committed(&output), TEXT.to_uppercase());
}
