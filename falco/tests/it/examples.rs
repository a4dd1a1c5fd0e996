//! The examples run, and print what they promise.

use std::path::PathBuf;
use std::process::Command;

/// The example's executable, which `cargo test -p falco` and `cargo xtask test` build beside the tests.
fn executable(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name);
    assert!(path.is_file(), "build the examples first: cargo build -p falco --examples");
    path
}

/// The output of the program, on a local platform of its own.
fn output_of(name: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(executable(name));
    let output = command.env("FALCO_LOCAL_DIR", directory.path()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn hello_greets() {
    assert_eq!(output_of("hello"), "Hello world!\nHello Ada!\n");
}

#[test]
fn map_counts_primes_and_shows_the_input_that_failed() {
    let output = output_of("map");
    assert!(output.contains("no count from 7 to 7"), "{output}");
    assert!(output.contains(r#"{"start":7,"end":7}"#), "{output}");
    assert!(output.contains("ValueError: an empty range"), "{output}");
    assert!(output.contains("Traceback"), "{output}");
    assert!(output.ends_with("2262 primes below 20002\n"), "{output}");
}

#[test]
fn pipeline_counts_words() {
    let output = output_of("pipeline");
    assert!(output.contains("3 be\n") && output.contains("2 to\n"), "{output}");
    assert_eq!(output.lines().count(), 11, "{output}");
}

#[test]
fn own_loop_finds_the_lowest_point() {
    assert_eq!(output_of("own_loop"), "lowest at 1.25: 3.00\n");
}

#[test]
fn budget_stops_before_it_is_passed() {
    let output = output_of("budget");
    for part in [
        "estimate: stage square: $0.02 for 2 of 10 invocations, about $0.10 for all of them\n",
        "$0.04 spent of a budget of $0.05",
    ] {
        assert!(output.contains(part), "{part}: {output}");
    }
}

#[test]
fn spread_uses_both_platforms() {
    let output = output_of("spread");
    assert!(output.starts_with("20 results\n"), "{output}");
    assert!(output.contains("first") && output.contains("second"), "{output}");
}

#[test]
fn escalation_gives_more_time() {
    assert_eq!(output_of("escalation").lines().count(), 4);
}

#[test]
fn third_party_packages_travel_with_the_code() {
    assert_eq!(output_of("third_party_packages"), "Hello world!\nHello Ada!\n");
}

#[test]
fn examples_are_short_and_have_no_command_line() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let mut examples = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let code = std::fs::read_to_string(&path).unwrap();
            assert!(code.lines().count() < 60, "{}", path.display());
            assert!(!code.contains("clap") && !code.contains("env::args"), "{}", path.display());
            examples += 1;
        }
    }
    assert_eq!(examples, 8);
}
