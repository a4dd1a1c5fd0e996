//! The examples over folders, as over any store.

use std::collections::BTreeMap;
use std::path::Path;

use crate::program::{Machine, has};

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// The contents of the objects that a manifest lists.
fn committed(output: &Path) -> Vec<String> {
    assert!(output.join("_SUCCESS").exists());
    let manifest = std::fs::read_to_string(output.join("_manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let objects = manifest["objects"].as_array().unwrap().iter();
    let paths =
        objects.map(|object| object["url"].as_str().unwrap().strip_prefix("file://").unwrap());
    paths.map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn words_of_objects_are_counted_as_words_of_payloads_are() {
    if !has("python3") {
        return;
    }
    let (machine, folder) = (Machine::new(), tempfile::tempdir().unwrap());
    let output = folder.path().join("out");
    let payloads = machine.run("wordcount", &["--quiet", "--top", "20"]).ok();
    let arguments = ["--quiet", "--top", "20", "--split", "5000", "--output", &text(&output)];
    assert_eq!(machine.run("wordcount", &arguments).ok(), payloads);
    assert!(!committed(&output).is_empty());
    assert!(!output.join("_scratch/runs").join("map").exists());

    let again = machine.run("wordcount", &arguments);
    assert!(
        !again.success && again.stderr.contains("holds a complete output already"),
        "{}",
        again.stderr
    );
}

#[test]
fn rows_are_grouped_exactly_whatever_the_splits() {
    if !has("python3") {
        return;
    }
    let (machine, folder) = (Machine::new(), tempfile::tempdir().unwrap());
    let mut results = Vec::new();
    for (name, split) in [("a", "100"), ("b", "100000")] {
        let output = folder.path().join(name);
        let arguments = ["--quiet", "--output", &text(&output), "--split", split];
        machine.run("etl", &arguments).ok();
        results.push(committed(&output));
    }
    assert_eq!(results[0], results[1]);
    let rows = results[0].concat();
    assert!(rows.contains("\"New\nYork\",") && rows.contains("\"The \"\"Hague\"\"\","), "{rows}");

    let output = text(&folder.path().join("c"));
    let failed = machine.run("etl", &["--quiet", "--output", &output, "--sum", "price"]);
    assert!(failed.stderr.contains("there is no column 'price'"), "{}", failed.stderr);
    assert!(!folder.path().join("c/_SUCCESS").exists());
}

#[test]
fn a_row_without_its_number_is_named_and_empty_lines_are_left_out() {
    if !has("python3") {
        return;
    }
    let (machine, folder) = (Machine::new(), tempfile::tempdir().unwrap());
    let (input, output) = (folder.path().join("rows.csv"), folder.path().join("out"));
    let arguments = ["--quiet", "--input", &text(&input), "--output", &text(&output)];
    for row in ["Bern", "Bern,few"] {
        std::fs::write(&input, format!("city,amount\nRome,1\n{row}\n")).unwrap();
        let failed = machine.run("etl", &arguments);
        let words = "has no number in the column 'amount'";
        assert!(!failed.success && failed.stderr.contains(words), "{}", failed.stderr);
        assert!(failed.stderr.contains("'Bern'"), "{}", failed.stderr);
        assert!(!output.join("_SUCCESS").exists());
    }
    std::fs::write(&input, "city,amount\nRome,1\n\nRome,2.50\n\n").unwrap();
    machine.run("etl", &arguments).ok();
    assert_eq!(committed(&output).concat(), "city,count,sum\nRome,2,3.50\n");
}

#[test]
fn darts_are_thrown_for_each_line_of_the_input() {
    if !has("node") {
        return;
    }
    let (machine, folder) = (Machine::new(), tempfile::tempdir().unwrap());
    let (input, output) = (folder.path().join("seeds.txt"), folder.path().join("out"));
    std::fs::write(&input, (1..=40).map(|seed| format!("{seed} 1000\n")).collect::<String>())
        .unwrap();
    let arguments = ["--input", &text(&input), "--output", &text(&output), "--json", "--quiet"];
    let printed = machine.run("montecarlo", &arguments).json();
    assert_eq!(printed["result"]["samples"], 40_000);
    let lines: Vec<_> = committed(&output).concat().lines().map(str::to_owned).collect();
    let by_seed: BTreeMap<u64, u64> = lines
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| (line["seed"].as_u64().unwrap(), line["inside"].as_u64().unwrap()))
        .collect();
    assert_eq!((lines.len(), by_seed.len()), (40, 40));
}

#[test]
fn what_is_wrong_with_a_store_is_said_before_anything_is_deployed() {
    let machine = Machine::new();
    for (input, expected) in [
        ("ftp://host/in", "the scheme \"ftp\" is unknown"),
        ("/no/such/folder", "there is no file in file:///no/such/folder"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = text(folder.path());
        let printed = machine.run("etl", &["--quiet", "--input", input, "--output", &output]);
        assert!(!printed.success && printed.stderr.contains(expected), "{}", printed.stderr);
    }
}

#[test]
fn cleanup_sweeps_a_store_that_is_named() {
    let (machine, folder) = (Machine::new(), tempfile::tempdir().unwrap());
    let run = folder.path().join("runs/old");
    let leave = || {
        std::fs::create_dir_all(&run).unwrap();
        std::fs::write(run.join("0-1-ab"), "x").unwrap();
        let mark = r#"{"run":"old","owner":"ada","expires_at":1}"#;
        std::fs::write(run.join("falco.json"), mark).unwrap();
    };
    leave();
    let store = text(folder.path());
    let listed = machine.run("cleanup", &["--store", &store, "--dry-run"]).ok();
    assert!(listed.contains("would delete what run old left in file://"), "{listed}");
    let listed = machine.run("cleanup", &["--store", &store, "--dry-run", "--json"]).json();
    assert_eq!(listed["would_delete"], serde_json::json!(["old"]));
    let cleaned = machine.run("cleanup", &["--store", &store]).ok();
    assert!(cleaned.contains("deleted what run old left in file://"), "{cleaned}");
    assert!(!run.join("0-1-ab").exists() && !run.join("falco.json").exists());

    // For programs it is one JSON value, and nothing else on stdout.
    leave();
    let cleaned = machine.run("cleanup", &["--store", &store, "--json"]).json();
    assert_eq!(cleaned["store"], serde_json::json!({"deleted": ["old"], "left": []}));
    leave();
    assert_eq!(machine.run("cleanup", &["--store", &store, "--quiet"]).ok(), "");
    assert!(!run.join("0-1-ab").exists());
}
