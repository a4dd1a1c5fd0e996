use crate::program::{Machine, has};

/// A clear error that names the thing, and nothing left behind.
#[track_caller]
fn refused(machine: &Machine, program: &str, arguments: &[&str], names: &str) {
    let error = machine.run(program, arguments).error();
    assert!(error.contains(names), "{program} {arguments:?} says {error:?}");
    let left = machine.run("cleanup", &["--older-than", "0s", "--dry-run"]).ok();
    assert_eq!(left, "", "{program} {arguments:?}");
}

#[test]
fn impossible_options_are_named() {
    let machine = Machine::new();
    refused(&machine, "hello", &["--concurrency", "0"], "--concurrency");
    refused(&machine, "hello", &["--concurrency", "0"], "it has to be a whole number, 1 or more");
    refused(&machine, "hello", &["--memory", "5000000000"], "it is too large");
    refused(&machine, "hello", &["--memory", "0"], "--memory");
    refused(&machine, "hello", &["--timeout", "0s"], "--timeout");
    refused(&machine, "hello", &["--attempt-timeout", "0s"], "--attempt-timeout");
    refused(&machine, "hello", &["--speculate", "-1"], "--speculate");
    refused(&machine, "hello", &["--max-rate", "-1"], "--max-rate");
    refused(&machine, "hello", &["--max-rate", "0"], "--max-rate");
    refused(&machine, "hello", &["--executor", "lazy"], "lazy");
    refused(&machine, "hello", &["--platform", "moon"], "moon");
    refused(&machine, "hello", &["--no-such-option"], "--no-such-option");
    refused(&machine, "wordcount", &["--reducers", "0"], "--reducers");
    refused(&machine, "montecarlo", &["--invocations", "0"], "--invocations");
    refused(&machine, "montecarlo", &["--samples", "0"], "--samples");
    refused(&machine, "cleanup", &["--older-than", "soon"], "--older-than");
}

#[test]
fn a_negative_number_is_named_by_its_option() {
    let machine = Machine::new();
    for (program, option) in [
        ("hello", "--concurrency"),
        ("hello", "--memory"),
        ("hello", "--retries"),
        ("montecarlo", "--invocations"),
        ("montecarlo", "--samples"),
        ("montecarlo", "--seed"),
        ("wordcount", "--reducers"),
        ("wordcount", "--top"),
    ] {
        refused(&machine, program, &[option, "-1"], &format!("invalid value '-1' for '{option}"));
    }
    refused(&machine, "chain", &["-1"], "invalid value '-1' for '[NUMBERS]'");
}

#[test]
fn files_that_cannot_be_read_are_named_before_anything_is_deployed() {
    let machine = Machine::new();
    let folder = tempfile::tempdir().unwrap();
    let text = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(text("a.txt"), "alpha beta").unwrap();
    std::os::unix::fs::symlink("/nowhere", text("c.txt")).unwrap();
    refused(&machine, "wordcount", &[folder.path().to_str().unwrap()], &text("c.txt"));
    for (name, content, words) in
        [("utf16.txt", &b"\xff\xfea\0"[..], "iconv"), ("a.gz", b"\x1f\x8b\x08", "gunzip")]
    {
        std::fs::write(text(name), content).unwrap();
        refused(&machine, "wordcount", &[&text(name)], words);
    }
    refused(&machine, "wordcount", &["/no/such/file"], "/no/such/file");
    let empty = tempfile::tempdir().unwrap();
    let empty = empty.path().to_str().unwrap();
    refused(&machine, "wordcount", &[empty], empty);
}

#[test]
fn a_function_that_needs_more_time_than_it_has_fails_the_run() {
    if !has("node") {
        return;
    }
    let machine = Machine::new();
    let arguments = ["--timeout", "50ms", "--samples", "2000000000", "--invocations", "1"];
    let error = machine.run("montecarlo", &arguments).error();
    assert!(error.contains("timed out"), "{error}");
    for quiet in [&["--quiet"][..], &[]] {
        let error = machine.run("montecarlo", &[&arguments, quiet].concat()).error();
        let reported = error.lines().filter(|line| line.starts_with("stage \"throw\"")).count();
        assert_eq!(reported, 1, "once is enough: {error}");
    }
}
