//! Third-party packages, installed by pip and npm, on this machine and on every platform's fake.

use std::process::Command;

use futures_util::future::join_all;

use crate::program::{Machine, Printed, has, json_lines};
use crate::remote::Remote;

const MEAN: &str = "
import numpy
def main(args):
    return {'mean': float(numpy.mean(args['numbers'])), 'numpy': numpy.__version__}
";
const NUMBERS: &str = "{\"numbers\": [1, 2, 6]}\n";

/// Whether pip can install: it is there, and reaches a registry.
fn can_install() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let pip = ["-m", "pip", "download", "-q", "--no-deps", "six", "-d"];
    let mut pip_command = Command::new("python3");
    pip_command.args(pip).arg(folder.path());
    let found = has("python3") && pip_command.output().is_ok_and(|output| output.status.success());
    assert!(found || std::env::var_os("CI").is_none(), "pip cannot install");
    if !found {
        eprintln!("skipped: pip cannot install");
    }
    found
}

/// The version of the Python that the fakes run functions with, such as `python:3.11`.
pub(crate) fn python() -> String {
    let ask = "import sys; print('python:%d.%d' % sys.version_info[:2])";
    let output = Command::new("python3").args(["-c", ask]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[track_caller]
fn assert_mean(printed: Printed) {
    let lines = json_lines(&printed.ok());
    assert_eq!(lines[0]["mean"], 3.0, "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn numpy_runs_on_this_machine_and_on_every_platforms_fake() {
    if !can_install() {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("mean.py", MEAN);
    let requirements = machine.file("requirements.txt", "numpy<2.4\n");
    let python = python();
    let map = ["map", "-q", "-f", &function, "--requirements", &requirements];
    let here = machine.run_with(NUMBERS, &map);
    assert_mean(here);
    let inputs = machine.file("inputs.jsonl", NUMBERS);
    let map = [&map[..], &["--runtime", &python, "--timeout", "60s", &inputs]].concat();
    let remotes = Remote::all();
    // All at once: each is slow in another place.
    for printed in join_all(remotes.iter().map(|remote| remote.run(&machine, &map))).await {
        assert_mean(printed);
    }
}

#[test]
fn requirements_that_cannot_be_installed_are_named_before_anything_is_deployed() {
    if !can_install() {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("f.py", "def main(args): return args");
    let script = machine.file("f.js", "exports.main = args => args");
    let unknown = machine.file("unknown.txt", "falco-no-such-package==1.0\n");
    for (arguments, words) in [
        (["-f", &function, "--requirements", "/no/such.txt"], "/no/such.txt"),
        (["-f", &function, "--requirements", &unknown], "falco-no-such-package"),
        (["-f", &script, "--requirements", &unknown], "package.json"),
        (["-f", &function, "--package", "/no/such/folder"], "/no/such/folder"),
    ] {
        let error = machine.run(&[&["invoke"], &arguments[..]].concat()).error();
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
    machine.assert_clean();
}

#[test]
fn a_folder_of_modules_and_one_with_dependencies_of_npm_travel_with_the_function() {
    if !has("python3") || !has("node") || !has("npm") {
        return;
    }
    let machine = Machine::new();
    std::fs::create_dir_all(machine.path("lib/greetings")).unwrap();
    machine.file("lib/greetings/__init__.py", "WORD = 'Hello'");
    let function =
        machine.file("f.py", "import greetings\ndef main(args): return {'word': greetings.WORD}");
    let printed = machine.run(&["invoke", "-qf", &function, "--package", "lib"]).ok();
    assert_eq!(json_lines(&printed)[0]["word"], "Hello");

    std::fs::create_dir_all(machine.path("node/local")).unwrap();
    machine.file("node/local/index.js", "exports.word = 'Hello'");
    machine.file("node/local/package.json", r#"{"name": "local", "version": "1.0.0"}"#);
    machine.file("node/package.json", r#"{"name": "x", "dependencies": {"left-pad": "1.3.0"}}"#);
    let function = machine.file(
        "pad.js",
        "const pad = require('left-pad')\nfunction main(args) { return {padded: pad('a', 3)} }",
    );
    let printed = machine.run(&["invoke", "-qf", &function, "--package", "node"]).ok();
    assert_eq!(json_lines(&printed)[0]["padded"], "  a");
}
