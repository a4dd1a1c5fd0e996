//! Runs on disk, compression and memory.

#![expect(clippy::print_stdout, reason = "a child process reports its figure")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{DataError, Groups, MEMORY, Output, Written};

/// Memory of which nothing reaches a quarter.
const AMPLE: u64 = 1 << 30;

fn output(folder: &Path, name: &str, sink: &Value, memory: u64) -> Output {
    MEMORY.set(memory);
    let url = format!("file://{}/{name}", folder.display());
    let mut sink = sink.clone();
    (sink["url"], sink["put"]) = (url.clone().into(), url.into());
    serde_json::from_value(json!({ "falco:sink": sink })).unwrap()
}

/// The pairs that reducers read of all partitions of some objects.
fn read(folder: &Path, written: &[&Written], memory: u64) -> Vec<(String, u64)> {
    MEMORY.set(memory);
    let objects: Vec<Value> = written.iter().map(|it| json!(it)["falco:object"].clone()).collect();
    let parts: Vec<Value> = objects
        .iter()
        .map(|object| {
            let name = object["url"].as_str().unwrap().rsplit('/').next().unwrap();
            let mut part = vec![json!(name), json!(""), json!(0)];
            let mut end = 0;
            for length in object["parts"].as_array().unwrap() {
                end += length.as_u64().unwrap();
                part.push(end.into());
            }
            part.into()
        })
        .collect();
    let head = format!("file://{}/", folder.display());
    let groups = json!([{"head": head, "mid": "", "tail": "", "parts": parts}]);
    let gzip = objects[0].get("gzip").cloned().unwrap_or(false.into());
    let groups = json!({"falco:parts": {"groups": groups, "gzip": gzip}});
    let groups: Groups = serde_json::from_value(groups).unwrap();
    let mut found = Vec::new();
    groups
        .for_each(|key, value: u64| {
            found.push((key.to_owned(), value));
            Ok::<_, DataError>(())
        })
        .unwrap();
    found
}

fn emitted(mut out: Output, pairs: &[(String, u64)]) -> Written {
    for (key, value) in pairs {
        out.emit(key, value).unwrap();
    }
    out.close().unwrap()
}

fn combined(out: Output, pairs: &[(String, u64)]) -> Written {
    let mut out = out.combine(|one: u64, other| one + other).unwrap();
    for (key, value) in pairs {
        out.emit(key, *value).unwrap();
    }
    out.close().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_and_compression_change_nothing(
        pairs in prop::collection::vec(("[a-e\"\u{e4}]{0,3}", 0..50_u64), 0..200),
        partitions in 1..5_u64,
        memory in 4..4000_u64,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let plain = json!({ "partitions": partitions });
        let gzip = json!({ "partitions": partitions, "gzip": true });
        let bytes = |name: &str| std::fs::read(folder.join(name)).unwrap();

        let ample = emitted(output(folder, "ample", &plain, AMPLE), &pairs);
        let tight = emitted(output(folder, "tight", &plain, memory), &pairs);
        prop_assert_eq!(bytes("ample"), bytes("tight"));
        prop_assert_eq!(&json!(ample)["falco:object"]["parts"], &json!(tight)["falco:object"]["parts"]);
        let packed = emitted(output(folder, "packed", &gzip, memory), &pairs);
        prop_assert!(bytes("packed").is_empty() == pairs.is_empty());
        prop_assert!(pairs.is_empty() || bytes("packed").starts_with(b"\x1f\x8b"));

        let once = read(folder, &[&ample], AMPLE);
        for (written, memory) in [(&ample, memory), (&packed, AMPLE), (&packed, memory)] {
            prop_assert_eq!(&read(folder, &[written], memory), &once);
        }
        let mut sorted = once.clone();
        sorted.sort();
        let mut expected = pairs.clone();
        expected.sort();
        prop_assert_eq!(sorted, expected);

        let sums = |pairs: &[(String, u64)]| {
            let mut sums = BTreeMap::<String, u64>::new();
            for (key, value) in pairs {
                *sums.entry(key.clone()).or_default() += value;
            }
            sums
        };
        for (name, sink, memory) in [("all", &plain, AMPLE), ("some", &plain, memory), ("zip", &gzip, memory)] {
            let folded = combined(output(folder, name, sink, memory), &pairs);
            let read = read(folder, &[&folded], memory);
            prop_assert_eq!(read.len(), sums(&read).len(), "a key came twice");
            prop_assert_eq!(sums(&read), sums(&pairs));
        }
        prop_assert_eq!(bytes("all"), bytes("some"));
    }
}

#[test]
fn bytes_are_compressed_as_one_member_also_when_there_are_none() {
    use std::io::Read;

    let folder = tempfile::tempdir().unwrap();
    for content in ["", "some bytes\n"] {
        let mut out = output(folder.path(), "bytes", &json!({"gzip": true}), AMPLE);
        out.write(content.as_bytes()).unwrap();
        let written = json!(out.close().unwrap());
        let packed = std::fs::read(folder.path().join("bytes")).unwrap();
        assert_eq!(written["falco:object"]["size"], packed.len());
        let mut unpacked = String::new();
        let mut decoder = flate2::read::MultiGzDecoder::new(&*packed);
        decoder.read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, content);
    }
}

#[test]
fn wrong_uses_of_an_output_say_what_to_use() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = output(folder.path(), "a", &json!({}), AMPLE);
    assert!(bytes.emit("k", &1).unwrap_err().to_string().contains("use write"));
    let mut pairs = output(folder.path(), "b", &json!({"partitions": 2}), AMPLE);
    assert!(pairs.write(b"x").unwrap_err().to_string().contains("use emit"));
    pairs.emit("k", &1).unwrap();
    let late = pairs.combine(|one: u64, _| one).err().unwrap();
    assert!(late.to_string().contains("before the first emit"));
}

/// A function with this much memory holds a quarter of it.
const LIMIT: u64 = 16 << 20;

/// Emits and reads 16 times as much as it may hold, in a process of its own, and prints by how much that grew.
#[test]
#[ignore = "the next test runs it"]
fn emits_and_reads_far_more_than_it_may_hold() {
    let resident = |field: &str| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    };
    let folder = tempfile::tempdir().unwrap();
    let before = resident("VmRSS:");
    let mut out = output(folder.path(), "much", &json!({"partitions": 2}), LIMIT);
    let value = "x".repeat(4000);
    for number in 0..16_000 {
        out.emit(&format!("key{}", number * 7 % 16_000), &value).unwrap();
    }
    let object = json!(out.close().unwrap())["falco:object"].clone();
    let lengths: Vec<u64> = serde_json::from_value(object["parts"].clone()).unwrap();
    let head = format!("file://{}/", folder.path().display());
    let part = json!(["much", "", 0, lengths[0], lengths[0] + lengths[1]]);
    let groups = json!([{"head": head, "mid": "", "tail": "", "parts": [part]}]);
    MEMORY.set(LIMIT);
    let groups: Groups =
        serde_json::from_value(json!({"falco:parts": {"groups": groups}})).unwrap();
    let mut read = 0;
    groups
        .for_each(|_, value: String| {
            read += value.len();
            Ok::<_, DataError>(())
        })
        .unwrap();
    assert_eq!(read, 16_000 * 4000);
    println!("grown={}", resident("VmHWM:") - before);
}

#[test]
fn a_function_keeps_to_a_quarter_of_its_memory_over_sixteen_times_as_much_data() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture"])
        .arg("data::tests::emits_and_reads_far_more_than_it_may_hold")
        .output()
        .unwrap();
    let text = String::from_utf8(child.stdout).unwrap();
    let (_, grown) = text.split_once("grown=").unwrap_or_else(|| panic!("{text}"));
    let grown: u64 = grown.split_whitespace().next().unwrap().parse().unwrap();
    // Buckets grow by doubling, which for a moment needs as much again.
    assert!(grown < 2 * LIMIT / 4 + (8 << 20), "{grown}");
}
