//! Functions in Rust over objects, inside this process.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::Arc;

use falco_core::{Deployable, Input, Payload, Stage};
use falco_data::{Data, DataPolicy, Exchange, Sink, Splits, Store};
use falco_executors::{DriverExt, ParallelExecutor, RunOptions};
use falco_function::data::{DataError, Groups, Input as Split, Output, Written};
use falco_function::{Executable, Functions, Registered};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Map {
    input: Split,
    out: Output,
}

#[derive(Deserialize)]
struct Reduce {
    #[serde(rename = "in")]
    parts: Groups,
    out: Output,
}

#[derive(Serialize, Deserialize)]
struct Wrote<T> {
    out: T,
}

#[derive(Serialize, Deserialize)]
struct Text {
    text: String,
}

fn map(Map { input, mut out }: Map) -> Result<Wrote<Written>, DataError> {
    for line in input.lines()?.lines() {
        for word in line?.split_whitespace() {
            out.emit(word, &1)?;
        }
    }
    Ok(Wrote { out: out.close()? })
}

fn reduce(Reduce { parts, mut out }: Reduce) -> Result<Wrote<Written>, DataError> {
    let mut counts = BTreeMap::<String, u64>::new();
    parts.for_each(|key, count: u64| {
        *counts.entry(key.to_owned()).or_default() += count;
        Ok::<_, DataError>(())
    })?;
    for (word, count) in counts {
        out.write(format!("{word}\t{count}\n").as_bytes())?;
    }
    Ok(Wrote { out: out.close()? })
}

fn code<A, R>(function: &Registered<A, R>) -> Deployable {
    Executable::none().function(function).unwrap().deployable().clone()
}

#[derive(Debug)]
struct Plan(Vec<Stage>);

impl falco_core::Driver for Plan {
    fn name(&self) -> &str {
        "rust"
    }

    fn plan(&self) -> falco_core::Result<falco_core::ExecutionPlan> {
        falco_core::ExecutionPlan::new(self.0.clone())
    }
}

#[tokio::test]
async fn functions_in_rust_read_shuffle_and_write_objects_and_spill_long_values() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    std::fs::write(folder.path().join("in/a.txt"), "to be or not to be\nthat is\n").unwrap();
    let store = |name| Store::folder(folder.path().join(name)).unwrap();
    let (input, output) = (store("in"), store("out"));
    let mut functions = Functions::new();
    let (map, reduce) = (functions.add("map", map), functions.add("reduce", reduce));
    let twice = |Text { text }: Text| Ok::<_, DataError>(Text { text: text.repeat(2) });
    let twice = functions.add("twice", twice);
    let policy = DataPolicy::default().with_inline(2000);
    let data = Data::new(functions.in_process(), store("scratch"), policy).unwrap();
    let data = data.with_store(input.clone()).with_store(output.clone());
    let splits = Splits::lines(&input, "").target(10).with_sink(Sink::scratch().partitions(3));
    let exchange = Exchange::of_field("out").with_sink(output.sink("part"));
    let long = Payload::json(&Text { text: "\u{e4}".repeat(3000) }).unwrap();
    let plan = Plan(vec![
        Stage::new("map", code(&map), move || splits.inputs()),
        Stage::derived("reduce", code(&reduce), ["map"], exchange),
        Stage::new("long", code(&twice), move || {
            futures_util::stream::iter([Ok(Input::numbered(0, long.clone()))])
        }),
    ]);
    let options = RunOptions::new(Arc::new(data.clone()), Arc::new(ParallelExecutor::new()));
    let outcome = plan.run(options).await.unwrap();
    assert!(outcome.is_success(), "{}", outcome.report);
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(folder.path().join("out")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.sort();
    assert_eq!(lines, ["be\t2", "is\t1", "not\t1", "or\t1", "that\t1", "to\t2"]);
    let (_, spilled) = &outcome.results("long").unwrap()[0];
    assert!(spilled.as_str().starts_with(r#"{"falco:value":"#), "{spilled:?}");
    let value: Text = data.value(spilled).await.unwrap().parse().unwrap();
    assert_eq!(value.text.chars().count(), 6000);
}
