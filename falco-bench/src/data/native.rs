//! The shuffle of functions in Rust, on one thread's worth of processor time.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, ensure};
use falco_function::data::{Groups, Output};
use serde_json::{Value, json};

use super::process::own;

const MAPPERS: usize = 16;
const PARTITIONS: usize = 16;

/// Shuffles the pairs in a file into sorted files, and returns the processor seconds that it took.
pub(super) fn shuffle(pairs: &Path, folder: &Path) -> anyhow::Result<f64> {
    let place = folder.join("native");
    fs::create_dir_all(&place)?;
    let url = |name: String| format!("file://{}/{name}", place.display());
    let before = own()?;
    let mut outputs = (0..MAPPERS)
        .map(|mapper| {
            let url = url(format!("mapper-{mapper}"));
            let sink = json!({"falco:sink": {"url": url, "put": url, "partitions": PARTITIONS}});
            serde_json::from_value(sink)
        })
        .collect::<Result<Vec<Output>, _>>()?;
    let mut emitted = 0_u64;
    // Each mapper takes lines that follow one another.
    let size = fs::metadata(pairs)?.len();
    let mut position = 0;
    let mut line = String::new();
    let mut lines = BufReader::with_capacity(1 << 20, fs::File::open(pairs)?);
    loop {
        line.clear();
        let length = lines.read_line(&mut line)?;
        if length == 0 {
            break;
        }
        let mapper = position * MAPPERS as u64 / size;
        let (key, number) = line.trim_end().split_once('\t').context("a key and a number")?;
        outputs[usize::try_from(mapper)?].emit(key, &number.parse::<u64>()?)?;
        position += length as u64;
        emitted += 1;
    }
    let mut written: Vec<Value> = Vec::new();
    for output in outputs {
        written.push(serde_json::to_value(output.close()?)?["falco:object"].take());
    }
    let mut reduced = 0_u64;
    for partition in 0..PARTITIONS {
        let groups = groups(&place, &written, partition)?;
        let out = url(format!("sorted-{partition}"));
        let sink = json!({"falco:sink": {"url": out, "put": out}});
        let mut out: Output = serde_json::from_value(sink)?;
        let mut text = Vec::new();
        groups.for_each(|key, value: u64| {
            use std::io::Write as _;
            text.clear();
            // Writing to memory does not fail.
            let _ = writeln!(text, "{key}\t{value}");
            reduced += 1;
            out.write(&text)
        })?;
        out.close()?;
    }
    let took = own()? - before;
    ensure!(reduced == emitted, "{emitted} pairs went in, and {reduced} came out");
    fs::remove_dir_all(&place)?;
    Ok(took)
}

/// The input of a reducer.
fn groups(place: &Path, written: &[Value], partition: usize) -> Result<Groups, anyhow::Error> {
    let mut parts = Vec::new();
    for object in written {
        let lengths = object["parts"].as_array().context("lengths of partitions")?;
        let lengths = lengths.iter().filter_map(Value::as_u64);
        let first: u64 = lengths.clone().take(partition).sum();
        let length: u64 = lengths.skip(partition).take(1).sum();
        let name = object["url"].as_str().and_then(|url| url.rsplit('/').next());
        parts.push(json!([name.context("a URL")?, "", first, first + length]));
    }
    let head = format!("file://{}/", place.display());
    let groups = json!([{"head": head, "mid": "", "tail": "", "parts": parts}]);
    Ok(serde_json::from_value(json!({"falco:parts": {"groups": groups}}))?)
}
