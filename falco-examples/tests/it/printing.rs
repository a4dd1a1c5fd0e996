//! Where an example prints to, and what comes of it when that cannot be written to.

use std::fs::{self, File};
use std::process::Command;
use std::thread;

use crate::program::{Machine, Printed, has};

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[test]
fn a_reader_that_closes_the_pipe_is_not_a_failure() {
    if !has("python3") {
        return;
    }
    for json in [&["--json"][..], &[]] {
        let (reader, stdout) = std::io::pipe().unwrap();
        drop(reader);
        let mut wordcount = Machine::new().command("wordcount");
        wordcount.args(["--quiet", "--top", "0"]).args(json).stdout(stdout);
        let printed = Printed::of(wordcount.output().unwrap());
        assert_eq!((printed.success, printed.stderr.as_str()), (true, ""));
    }
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure_that_says_so() {
    if !has("python3") {
        return;
    }
    let mut hello = Machine::new().command("hello");
    let printed = Printed::of(hello.arg("--quiet").stdout(full()).output().unwrap());
    assert!(!printed.success);
    assert!(printed.stderr.starts_with("error: cannot write to stdout: "), "{}", printed.stderr);
}

#[test]
fn a_report_that_cannot_be_written_costs_no_result() {
    if !has("python3") {
        return;
    }
    let mut hello = Machine::new().command("hello");
    let printed = Printed::of(hello.stderr(full()).output().unwrap());
    assert_eq!(printed.ok(), "Hello world!\n");
}

#[test]
fn cleanup_removes_everything_even_if_its_output_is_cut() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    for name in ["Ada", "Grace"] {
        machine.run("hello", &["--keep", "--quiet", name]).ok();
    }
    let idle = machine.run("cleanup", &[]);
    assert!(idle.stderr.contains("nothing to remove; 2 deployed"), "{}", idle.stderr);
    let mut cleanup = machine.command("cleanup");
    cleanup.args(["--older-than", "0s"]).stdout(full());
    let printed = Printed::of(cleanup.output().unwrap());
    assert!(!printed.success, "it could not say what it removed");
    assert_eq!(machine.run("cleanup", &["--older-than", "0s"]).ok(), "");
}

#[test]
fn a_programs_own_options_stand_before_those_of_the_platforms() {
    let machine = Machine::new();
    for (program, own) in [
        ("chain", "[NUMBERS]"),
        ("cleanup", "--older-than <TIME>"),
        ("hello", "[NAMES]..."),
        ("montecarlo", "--invocations <N>"),
        ("wordcount", "--reducers <N>"),
    ] {
        let help = machine.run(program, &["--help"]).ok();
        let at = |text: &str| help.rfind(text).expect(text);
        assert!(at(own) < at("OpenWhisk (else"), "{program}: {help}");
    }
}

#[test]
fn a_pipe_is_read_like_a_file() {
    if !has("python3") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let path = pipe.to_str().unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| fs::write(&pipe, "tick tock tick"));
        let printed = Machine::new().run("wordcount", &[path]).ok();
        writer.join().unwrap().unwrap();
        assert_eq!(printed, "2 tick\n1 tock\n");
    });
}
