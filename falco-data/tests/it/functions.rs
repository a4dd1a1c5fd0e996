//! The helpers of Python and Node.js: compression, lines of packed files, memory and the temporary folder.

use falco_core::{Deployable, Stage};
use falco_data::{DataPolicy, Exchange, Sink, Splits, commit};
use serde_json::{Value, json};

use crate::local::{COUNT_NODE, COUNT_PYTHON, TOTAL_NODE, TOTAL_PYTHON, World, run};

/// Emits far more than fits into the bound, so that runs on disk are merged.
const COUNT_IN_RUNS: &str = r#"
def main(args):
    out = args["out"]
    out.bound = 50
    for line in args["input"].lines():
        for word in line.split():
            out.emit(word.decode(), 1)
    return {"out": out.close()}
"#;

fn python(name: &str, source: &str) -> Deployable {
    Deployable::python(name, source)
}

fn node(name: &str, source: &str) -> Deployable {
    Deployable::nodejs(name, source)
}

#[tokio::test]
async fn compressed_objects_are_shuffled_merged_committed_and_read_again() {
    let text = "to be or not to be that is the question ".repeat(50);
    let world = World::new(&[("a.txt", &text), ("b.txt", &format!("{text}\n{text}"))]);
    for (map, reduce) in [
        (python("count", COUNT_PYTHON), node("total", TOTAL_NODE)),
        (node("count", COUNT_NODE), python("total", TOTAL_PYTHON)),
        (python("count", COUNT_IN_RUNS), python("total", TOTAL_PYTHON)),
    ] {
        let data = world.data(DataPolicy::default());
        let splits = Splits::lines(&world.input, "").target(1000);
        let splits = splits.with_sink(Sink::scratch().partitions(3).gzip());
        let (merge, exchange) = Exchange::two_level("map", "out", 2).unwrap();
        let exchange = exchange.with_sink(world.output.sink("part.tsv.gz").gzip());
        let stages = vec![
            Stage::new("map", map, move || splits.inputs()),
            merge,
            Stage::derived("reduce", reduce, ["map-merge"], exchange),
        ];
        let outcome = run(&data, stages).await;
        assert!(outcome.is_success(), "{}", outcome.report);
        let results = outcome.results("reduce").unwrap();
        commit(&world.output, &outcome.report.run, results).await.unwrap();
        for file in world.files("scratch/runs") {
            let content = std::fs::read(&file).unwrap();
            assert!(content.starts_with(b"\x1f\x8b") || file.ends_with("falco.json"), "{file:?}");
        }

        // A next run takes them for lines, in either language.
        let count = "
def main(args):
    return {'rows': sorted(line.decode().split() for line in args['input'].lines())}
";
        let lines = "
async function main(args) {
  const rows = (await args.input.read()).toString().trim().split('\\n');
  return { rows: rows.map((row) => row.split('\\t')).sort() };
}
";
        for function in [python("rows", count), node("rows", lines)] {
            let splits = Splits::lines(&world.output, "");
            let outcome =
                run(&data, vec![Stage::new("read", function, move || splits.inputs())]).await;
            let results = outcome.results("read").unwrap().iter();
            let values = results.map(|(_, result)| result.parse::<Value>().unwrap());
            let mut rows: Vec<Value> =
                values.flat_map(|it| it["rows"].as_array().unwrap().clone()).collect();
            rows.sort_by_key(ToString::to_string);
            let expected = json!([
                ["be", "300"],
                ["is", "150"],
                ["not", "150"],
                ["or", "150"],
                ["question", "150"],
                ["that", "150"],
                ["the", "150"],
                ["to", "300"],
            ]);
            assert_eq!(Value::from(rows), expected);
        }
        std::fs::remove_dir_all(world.folder.path().join("out")).unwrap();
    }
}

#[tokio::test]
async fn files_that_share_a_split_never_share_a_line() {
    let world = World::new(&[("a.csv", "x\n1"), ("b.csv", "x\n2\n"), ("c.csv", "x\n3")]);
    let data = world.data(DataPolicy::default());
    let text = "import csv\ndef main(args): return {'rows': [row[0] for row in csv.reader(args['input'].text())]}";
    let read = "def main(args): return {'rows': args['input'].read().decode().split()}";
    let chunks = "async function main(args) { return { rows: (await args.input.read()).toString().trim().split('\\n') }; }";
    for function in [python("text", text), python("read", read), node("chunks", chunks)] {
        let splits = Splits::csv(&world.input, "", falco_data::Csv::default());
        let outcome = run(&data, vec![Stage::new("read", function, move || splits.inputs())]).await;
        let results = outcome.results("read").unwrap();
        assert_eq!(results.len(), 1);
        assert_eq!(results[0].1.as_str(), r#"{"rows":["1","2","3"]}"#);
    }
}

/// Returns by how many bytes the function's memory grew over 64 MB of data, with a bound of 4 MB.
const EMIT_PYTHON: &str = r#"
import resource


def main(args):
    out = args["out"]
    out.bound = 4 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(16_000):
        out.emit("key%05d" % (number * 7 % 16_000), "x" * 4000)
    reference = out.close()
    return {"out": reference, "grown": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10}
"#;

const READ_PYTHON: &str = r#"
import resource


def main(args):
    args["in"].bound = 4 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = sum(len(value) for _, values in args["in"].groups() for value in values)
    return {"read": read, "grown": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10}
"#;

const EMIT_NODE: &str = r#"
async function main(args) {
  args.out.bound = 4 << 20;
  const before = process.resourceUsage().maxRSS;
  for (let n = 0; n < 32_000; n += 1) args.out.emit(`key${n * 7 % 32_000}`, 'x'.repeat(4000));
  const out = await args.out.close();
  return { out, grown: (process.resourceUsage().maxRSS - before) * 1024 };
}
"#;

const READ_NODE: &str = r#"
async function main(args) {
  args.in.bound = 4 << 20;
  const before = process.resourceUsage().maxRSS;
  let read = 0;
  for await (const [, values] of args.in.groups()) for (const value of values) read += value.length;
  return { read, grown: (process.resourceUsage().maxRSS - before) * 1024 };
}
"#;

#[tokio::test]
async fn functions_keep_to_their_memory_over_sixteen_times_as_much_data() {
    // V8 collects when it wants to: it grows by some 100 MB, whatever the amount of data.
    for (emit, read, values, most) in [
        (python("emit", EMIT_PYTHON), python("read", READ_PYTHON), 16_000, 16 << 20),
        (node("emit", EMIT_NODE), node("read", READ_NODE), 32_000, 200 << 20),
    ] {
        let world = World::new(&[]);
        let data = world.data(DataPolicy::default());
        let input = json!({"out": Sink::scratch().partitions(1)});
        let stages = vec![
            Stage::from_values("emit", emit, [&input]).unwrap(),
            Stage::derived("read", read, ["emit"], Exchange::of_field("out")),
        ];
        let outcome = run(&data, stages).await;
        assert!(outcome.is_success(), "{}", outcome.report);
        for stage in ["emit", "read"] {
            let (_, result) = &outcome.results(stage).unwrap()[0];
            let result: Value = result.parse().unwrap();
            assert!(result["grown"].as_u64().unwrap() < most, "{stage}: {result}");
            assert!(stage == "emit" || result["read"] == 4000 * values, "{result}");
        }
    }
}

#[tokio::test]
async fn values_that_grow_while_they_are_combined_are_moved_to_disk() {
    let python_lists = r#"
def main(args):
    out = args["out"]
    out.bound = 10_000
    out.combine(lambda left, right: left + right)
    for number in range(20_000):
        out.emit("k%d" % (number % 5), [number])
    runs = len(out.runs)
    return {"out": out.close(), "runs": runs}
"#;
    let node_lists = r#"
async function main(args) {
  const { out } = args;
  out.bound = 10_000;
  out.combine((left, right) => left.concat(right));
  for (let number = 0; number < 20_000; number += 1) out.emit(`k${number % 5}`, [number]);
  const runs = out.runs.length;
  return { out: await out.close(), runs };
}
"#;
    let total =
        "def main(args): return {'groups': {k: sum(map(len, v)) for k, v in args['in'].groups()}}";
    for emit in [python("lists", python_lists), node("lists", node_lists)] {
        let world = World::new(&[]);
        let input = json!({"out": Sink::scratch().partitions(1)});
        let stages = vec![
            Stage::from_values("emit", emit, [&input]).unwrap(),
            Stage::derived("total", python("total", total), ["emit"], Exchange::of_field("out")),
        ];
        let outcome = run(&world.data(DataPolicy::default()), stages).await;
        assert!(outcome.is_success(), "{}", outcome.report);
        let emitted: Value = outcome.results("emit").unwrap()[0].1.parse().unwrap();
        assert!(emitted["runs"].as_u64().unwrap() > 3, "{emitted}");
        let (_, result) = &outcome.results("total").unwrap()[0];
        let expected = r#"{"groups":{"k0":4000,"k1":4000,"k2":4000,"k3":4000,"k4":4000}}"#;
        assert_eq!(result.as_str(), expected);
    }
}

#[tokio::test]
async fn a_full_temporary_folder_is_an_error_by_name_and_no_object_is_written() {
    // No file of these processes may grow beyond 64 KB.
    let limited = r#"
import resource


def main(args):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.RLIM_INFINITY))
    out = args["out"]
    out.bound = 1000
    try:
        for number in range(10_000):
            out.emit("key%d" % number, "x" * 100)
    except Exception as full:
        try:
            out.close()
        except ValueError as error:
            assert "is lost" in str(error)
            raise full
        raise AssertionError("a part of the object was written")
"#;
    let world = World::new(&[]);
    let input = json!({"out": Sink::scratch().partitions(2)});
    let stage = Stage::from_values("emit", python("limited", limited), [&input]).unwrap();
    let outcome = run(&world.data(DataPolicy::default()), vec![stage]).await;
    let reason = outcome.report.stages[0].failures[0].to_string();
    assert!(reason.contains("TemporaryFolderFull"), "{reason}");
    let written = world.files("scratch/runs");
    assert!(written.iter().all(|file| file.ends_with("falco.json")), "{written:?}");
}

#[tokio::test]
async fn bytes_that_were_not_emitted_are_not_merged_in_two_levels() {
    let write = "
def main(args):
    args['out'].partition(0).write(b'2\\n1')
    return {'out': args['out'].close()}
";
    let world = World::new(&[]);
    let input = json!({"out": Sink::scratch().partitions(1)});
    let (merge, exchange) = Exchange::two_level("map", "out", 2).unwrap();
    let total = Deployable::python("total", "def main(args): return {}");
    let stages = vec![
        Stage::from_values("map", Deployable::python("write", write), [&input, &input]).unwrap(),
        merge,
        Stage::derived("reduce", total, ["map-merge"], exchange),
    ];
    let outcome = run(&world.data(DataPolicy::default()), stages).await;
    let reason = outcome.report.stages[1].failures[0].to_string();
    assert!(reason.contains("only what emit wrote can be merged in two levels"), "{reason}");
}

#[tokio::test]
async fn partitions_that_only_empty_bytes_were_written_to_stay_empty_when_compressed() {
    let in_python = r#"
def main(args):
    out = args["out"]
    for data in (b"", b'["k",1]\n', b""):
        for number in range(4):
            out.partition(number).write(data if number == 3 else b"")
    return {"out": out.close()}
"#;
    let in_node = r#"
async function main(args) {
  for (const data of ['', '["k",1]\n', '']) {
    for (let number = 0; number < 4; number += 1) args.out.partition(number).write(number === 3 ? data : '');
  }
  return { out: await args.out.close() };
}
"#;
    for (map, reduce) in [
        (python("write", in_python), node("total", TOTAL_NODE)),
        (node("write", in_node), python("total", TOTAL_PYTHON)),
    ] {
        let world = World::new(&[]);
        let input = json!({"out": Sink::scratch().partitions(4).gzip()});
        // The merge writes to each of its partitions, also where the mappers wrote nothing.
        let (merge, exchange) = Exchange::two_level("map", "out", 2).unwrap();
        let exchange = exchange.with_sink(world.output.sink("part.tsv"));
        let stages = vec![
            Stage::from_values("map", map, [&input, &input]).unwrap(),
            merge,
            Stage::derived("reduce", reduce, ["map-merge"], exchange),
        ];
        let outcome = run(&world.data(DataPolicy::default()), stages).await;
        for stage in ["map", "map-merge"] {
            for (_, result) in outcome.results(stage).unwrap() {
                let object = &result.parse::<Value>().unwrap()["out"]["falco:object"];
                assert_eq!(object["parts"], json!([0, 0, 0, object["size"]]), "{stage}");
            }
        }
        assert!(outcome.is_success(), "{}", outcome.report);
        // A partition without content has no reducer.
        let files = world.files("out");
        assert_eq!(files.len(), 1, "{files:?}");
        assert_eq!(std::fs::read_to_string(&files[0]).unwrap(), "k\t2\n");
    }
}
