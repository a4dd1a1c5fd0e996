//! Runs on disk, compression and memory.

#![expect(clippy::print_stdout, reason = "a child process reports its figure")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{DataError, Groups, Input, MEMORY, Output, Written};

/// Memory of which nothing reaches a quarter.
const AMPLE: u64 = 1 << 30;

fn output(folder: &Path, name: &str, sink: &Value, memory: u64) -> Output {
    MEMORY.set(memory);
    let url = format!("file://{}/{name}", folder.display());
    let mut sink = sink.clone();
    (sink["url"], sink["put"]) = (url.clone().into(), url.into());
    serde_json::from_value(json!({ "falco:sink": sink })).unwrap()
}

/// The argument of a reducer of all partitions of some objects.
fn groups(folder: &Path, written: &[&Written], memory: u64) -> Groups {
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
    serde_json::from_value(groups).unwrap()
}

/// The pairs that reducers read of all partitions of some objects.
fn read(folder: &Path, written: &[&Written], memory: u64) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    groups(folder, written, memory)
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

/// The bytes that reducers read of all partitions of some objects, part by part.
fn parts(folder: &Path, written: &[&Written], memory: u64) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    let read = groups(folder, written, memory).for_each_part(|part| {
        let mut bytes = Vec::new();
        part.read_to_end(&mut bytes)?;
        parts.push(bytes);
        Ok::<_, DataError>(())
    });
    read.unwrap();
    parts
}

#[test]
fn bytes_of_partitions_come_back_in_the_order_of_writing_whatever_fits_into_memory() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (sink, memory) in
        [(json!({"partitions": 3}), AMPLE), (json!({"partitions": 3, "gzip": true}), 40)]
    {
        let written = |name, from: u8| {
            let mut out = output(folder, name, &sink, memory).partitioned().unwrap();
            for number in from..from + 60 {
                out.write(usize::from(number % 2) * 2, &[number]).unwrap();
                // The partition in the middle stays empty.
                out.write(1, &[]).unwrap();
            }
            out.close().unwrap()
        };
        let (one, two) = (written("one", 0), written("two", 100));
        assert_eq!(json!(one)["falco:object"]["parts"][1], 0);
        let expected: Vec<Vec<u8>> = [(0, 0), (100, 0), (0, 1), (100, 1)]
            .map(|(from, odd)| (from + odd..from + 60).step_by(2).collect())
            .into();
        for memory in [AMPLE, 40] {
            assert_eq!(parts(folder, &[&one, &two], memory), expected);
        }
    }
}

#[test]
fn a_split_reads_ranges_of_the_whole_object() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "0123456789").unwrap();
    let url = format!("file://{}/a", folder.path().display());
    let object = json!({"url": url, "get": url, "range": [2, 5], "size": 10});
    let input = |object: &Value| {
        serde_json::from_value::<Input>(json!({"falco:object": object.clone()})).unwrap()
    };
    let whole = input(&object).whole().unwrap();
    assert_eq!((whole.len(), whole.split()), (10, 2..5));
    assert_eq!(whole.read(7..10).unwrap(), b"789");
    assert_eq!(whole.read_ranges(&[0..1, 4..4, 2..6]).unwrap(), [&b"0"[..], b"", b"2345"]);
    assert!(whole.read(9..11).unwrap_err().to_string().contains("an object of 10 bytes"));

    let wrong = |field: &str, value: Value| {
        let mut object = object.clone();
        object[field] = value;
        input(&object).whole().unwrap_err().to_string()
    };
    assert!(wrong("gzip", true.into()).contains("a compressed object has no ranges"));
    assert!(wrong("size", Value::Null).contains("does not say how large"));
    let two = json!({"falco:objects": [object, object]});
    let two: Input = serde_json::from_value(two).unwrap();
    assert!(two.whole().unwrap_err().to_string().contains("not a part of one object"));
}

#[test]
fn bytes_are_compressed_as_one_member_also_when_there_are_none() {
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
    let mut own =
        output(folder.path(), "c", &json!({"partitions": 2}), AMPLE).partitioned().unwrap();
    assert!(own.write(2, b"x").unwrap_err().to_string().contains("use 0 to 1"));
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
