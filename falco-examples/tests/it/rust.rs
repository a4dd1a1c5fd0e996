//! The programs that are driver and worker at once.

use std::path::Path;

use crate::program::Machine;
use crate::wordcount::expected;

#[test]
fn words_are_counted_by_functions_in_rust() {
    let machine = Machine::new();
    let expected = expected(&Path::new(env!("CARGO_MANIFEST_DIR")).join("data/texts"));
    assert_eq!(machine.run("wordcount-rs", &["--top", "0"]).ok(), expected);
}

#[test]
fn pi_is_estimated_by_functions_in_rust() {
    let machine = Machine::new();
    let arguments = ["--invocations", "20", "--samples", "20000", "--seed", "7"];
    let pi: f64 = machine.run("montecarlo-rs", &arguments).ok().trim().parse().unwrap();
    assert!((pi - std::f64::consts::PI).abs() < 0.013, "{pi}");
}

#[test]
fn a_variable_exported_by_mistake_does_not_make_a_worker_nor_a_driver() {
    let machine = Machine::new();
    let output =
        machine.command("wordcount-rs").env("FALCO_FUNCTION", "wordcount-map").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("FALCO_FUNCTION is set to \"wordcount-map\""), "{words}");
    assert!(output.stdout.is_empty());
}
