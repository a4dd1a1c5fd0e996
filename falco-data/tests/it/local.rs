//! Whole pipelines on this machine: functions in Python and Node.js over folders.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use falco_core::{
    Deployable, Driver, ErrorKind, ExecutionPlan, ExecutionStrategy, FunctionErrorKind, Result,
    RunId, Stage,
};
use falco_data::{Data, DataPolicy, Exchange, Object, Sink, Splits, Store, clean, commit};
use falco_executors::{
    AsyncExecutor, DriverExt, FanIn, KeepResults, OneToOne, ParallelExecutor, RunOptions,
    RunOutcome, Shuffle,
};
use falco_local::{LocalConfig, LocalPlatform};
use futures_util::FutureExt;

pub(crate) const COUNT_PYTHON: &str = r#"
def main(args):
    out = args["out"].combine(lambda a, b: a + b)
    for line in args["input"].lines():
        for word in line.split():
            out.emit(word.decode(), 1)
    return {"out": out.close()}
"#;

pub(crate) const TOTAL_PYTHON: &str = r#"
def main(args):
    with args["out"] as out:
        for key, values in args["in"].groups():
            out.write(f"{key}\t{sum(values)}\n".encode())
    return {"out": out.close()}
"#;

pub(crate) const COUNT_NODE: &str = r#"
async function main(args) {
  for await (const line of args.input.lines()) {
    for (const word of line.toString().split(/\s+/)) if (word !== '') args.out.emit(word, 1);
  }
  return { out: await args.out.close() };
}
"#;

pub(crate) const TOTAL_NODE: &str = r#"
async function main(args) {
  for await (const [key, values] of args.in.groups()) {
    let total = 0;
    for (const value of values) total += value;
    args.out.write(`${key}\t${total}\n`);
  }
  return { out: await args.out.close() };
}
"#;

#[derive(Debug)]
pub(crate) struct Plan(pub(crate) Vec<Stage>);

impl Driver for Plan {
    fn name(&self) -> &str {
        "data"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        ExecutionPlan::new(self.0.clone())
    }
}

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) input: Store,
    pub(crate) output: Store,
    pub(crate) scratch: Store,
}

impl World {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join("in").join(name), text).unwrap();
        }
        let store = |name| Store::folder(folder.path().join(name)).unwrap();
        Self { input: store("in"), output: store("out"), scratch: store("scratch"), folder }
    }

    pub(crate) fn data(&self, policy: DataPolicy) -> Data<LocalPlatform> {
        let config = LocalConfig::builder().directory(self.folder.path().join("local"));
        let local = LocalPlatform::connect(config.build().unwrap()).now_or_never();
        let local = local.expect("connecting waits for nothing").unwrap();
        let data = Data::new(local, self.scratch.clone(), policy).unwrap();
        data.with_store(self.input.clone()).with_store(self.output.clone())
    }

    pub(crate) fn files(&self, below: &str) -> Vec<std::path::PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join(below)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }
}

pub(crate) async fn run(data: &Data<LocalPlatform>, stages: Vec<Stage>) -> RunOutcome {
    run_with(data, stages, Arc::new(ParallelExecutor::new())).await
}

async fn run_with(
    data: &Data<LocalPlatform>,
    stages: Vec<Stage>,
    strategy: Arc<dyn ExecutionStrategy>,
) -> RunOutcome {
    let keep = KeepResults::Stages(stages.iter().map(|stage| stage.name.clone()).collect());
    let options = RunOptions::new(Arc::new(data.clone()), strategy);
    Plan(stages).run(options.with_kept_results(keep)).await.unwrap()
}

fn counted(path: &Path) -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(path).unwrap();
    let pairs = text.lines().map(|line| line.split_once('\t').unwrap());
    pairs.map(|(key, count)| (key.to_owned(), count.parse().unwrap())).collect()
}

fn texts() -> Vec<(&'static str, &'static str)> {
    vec![
        ("a.txt", "to be or not to be\nthat is the question ä\u{10000} \u{e000}\n"),
        ("b.txt", "quote\" back\\slash to\nbe be\n"),
        ("c.txt", "no line end to"),
    ]
}

fn expected() -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (_, text) in texts() {
        for word in text.split_whitespace() {
            *counts.entry(word.to_owned()).or_default() += 1;
        }
    }
    counts
}

#[tokio::test]
async fn words_are_counted_by_any_mix_of_languages_and_committed_once() {
    let count = |language| match language {
        "python" => Deployable::python("count", COUNT_PYTHON),
        _ => Deployable::nodejs("count", COUNT_NODE),
    };
    let total = |language| match language {
        "python" => Deployable::python("total", TOTAL_PYTHON),
        _ => Deployable::nodejs("total", TOTAL_NODE),
    };
    for (map, reduce) in [("python", "nodejs"), ("nodejs", "python")] {
        let world = World::new(&texts());
        let data = world.data(DataPolicy::default());
        // In one of the two runs small files share a split.
        let target = if map == "python" { 20 } else { 1000 };
        let splits = Splits::lines(&world.input, "").target(target);
        let splits = splits.with_sink(Sink::scratch().partitions(4));
        let exchange = Exchange::of_field("out").with_sink(world.output.sink("part.tsv"));
        let outcome = run(
            &data,
            vec![
                Stage::new("map", count(map), move || splits.inputs()),
                Stage::derived("reduce", total(reduce), ["map"], exchange),
            ],
        )
        .await;
        let results = outcome.results("reduce").unwrap();
        let run = outcome.report.run.clone();
        let manifest = commit(&world.output, &run, results).await.unwrap();
        let mut counts = BTreeMap::new();
        for object in &manifest.objects {
            let path = object.url.strip_prefix("file://").unwrap();
            for (key, count) in counted(Path::new(path)) {
                assert!(counts.insert(key, count).is_none());
            }
        }
        assert_eq!(counts, expected(), "{map} and {reduce}");
        assert!(world.folder.path().join("out/_SUCCESS").exists());

        let error = commit(&world.output, &RunId::from("other"), results).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(!world.files("scratch").is_empty());
        assert!(clean(&world.scratch, &run).await.unwrap().is_empty());
        assert!(world.files("scratch").is_empty());
    }
}

#[tokio::test]
async fn two_levels_give_what_one_level_gives() {
    let world = World::new(&texts());
    let data = world.data(DataPolicy::default());
    let splits = Splits::lines(&world.input, "").target(8);
    let splits = splits.with_sink(Sink::scratch().partitions(5));
    let (merge, exchange) = Exchange::two_level("map", "out", 2).unwrap();
    let exchange = exchange.with_sink(world.output.sink("part")).coalesce(40);
    let outcome = run(
        &data,
        vec![
            Stage::new("map", Deployable::python("count", COUNT_PYTHON), move || splits.inputs()),
            merge,
            Stage::derived(
                "reduce",
                Deployable::python("total", TOTAL_PYTHON),
                ["map-merge"],
                exchange,
            ),
        ],
    )
    .await;
    assert!(outcome.is_success(), "{}", outcome.report);
    let mut counts = BTreeMap::new();
    for path in world.files("out") {
        counts.extend(counted(&path));
    }
    assert_eq!(counts, expected());
}

#[tokio::test]
async fn what_does_not_fit_into_memory_is_sorted_on_disk_with_the_same_result() {
    let emit = r#"
def main(args):
    out = args["out"]
    out.bound = args["bound"]
    for number in range(400):
        out.emit(f"k{number * 7 % 50}", number)
    return {"out": out.close()}
"#;
    let collect = r#"
def main(args):
    args["in"].bound = args.get("bound", 100)
    groups = [[key, list(values)] for key, values in args["in"].groups()]
    return {"groups": groups, "lines": 0}
"#;
    let mut results = Vec::new();
    for bound in [200, 1 << 30] {
        let world = World::new(&[]);
        let data = world.data(DataPolicy::default());
        let input = serde_json::json!({"out": Sink::scratch().partitions(3), "bound": bound});
        let outcome = run(
            &data,
            vec![
                Stage::from_values("map", Deployable::python("emit", emit), [&input, &input])
                    .unwrap(),
                Stage::derived(
                    "reduce",
                    Deployable::python("collect", collect),
                    ["map"],
                    Exchange::of_field("out"),
                ),
            ],
        )
        .await;
        assert!(outcome.is_success(), "{}", outcome.report);
        results.push(outcome.results("reduce").unwrap().to_vec());
    }
    assert_eq!(results[0], results[1]);
    let text = results[0].iter().map(|(_, result)| result.as_str()).collect::<String>();
    assert_eq!(text.matches("\"k").count(), 50);
}

#[tokio::test]
async fn long_arguments_and_results_travel_through_the_scratch_store() {
    let grow = "def main(args): return {'text': args['text'] + args['text'], 'n': 1.5}";
    let measure = "def main(args): return {'length': sum(len(r['text']) for r in args['results'])}";
    let world = World::new(&[]);
    for function in [
        Deployable::python("grow", grow),
        Deployable::nodejs(
            "grow",
            "function main(args) { return { text: args.text + args.text, n: 1.5 }; }",
        ),
    ] {
        let data = world.data(DataPolicy::default().with_inline(1000));
        let long = serde_json::json!({"text": "x\u{e4}".repeat(5000)});
        let outcome = run(
            &data,
            vec![
                Stage::from_values("grow", function, [&long, &long]).unwrap(),
                Stage::derived(
                    "measure",
                    Deployable::python("measure", measure),
                    ["grow"],
                    FanIn::new(),
                ),
            ],
        )
        .await;
        assert!(outcome.is_success(), "{}", outcome.report);
        let (_, length) = &outcome.results("measure").unwrap()[0];
        assert_eq!(length.as_str(), r#"{"length":40000}"#);
        let (_, spilled) = &outcome.results("grow").unwrap()[0];
        assert!(spilled.as_str().starts_with(r#"{"falco:value":"#), "{spilled:?}");
        let value = data.value(spilled).await.unwrap();
        assert!(value.len() > 30_000 && value.as_str().contains("1.5"));
    }
}

#[tokio::test]
async fn a_derivation_that_looks_into_results_gets_them_and_one_that_does_not_leaves_them() {
    let pairs = "def main(args): return {'pairs': {'k' * 500 + str(n): n for n in range(9)}}";
    let again = "def main(args): return {'keys': len(args['pairs'])}";
    let total = "def main(args): return {'keys': len(args['groups'])}";
    let world = World::new(&[]);
    let data = world.data(DataPolicy::default().with_inline(1000));
    let keys = Deployable::python("again", again);
    let total = Deployable::python("total", total);
    let one = || [serde_json::json!({})];
    for executor in 0..2 {
        let function = Deployable::python("pairs", pairs);
        let stages = vec![
            Stage::from_values("read", function.clone(), one()).unwrap(),
            Stage::derived(
                "shuffled",
                total.clone(),
                ["read"],
                Shuffle::of_field("pairs", 1).unwrap(),
            ),
            Stage::from_values("left", function, one()).unwrap(),
            Stage::derived("then", keys.clone(), ["left"], OneToOne::new()),
        ];
        let outcome = match executor {
            0 => run(&data, stages).await,
            _ => run_with(&data, stages, Arc::new(AsyncExecutor::new())).await,
        };
        assert!(outcome.is_success(), "{}", outcome.report);
        let result = |stage| outcome.results(stage).unwrap()[0].1.as_str().to_owned();
        assert!(result("read").starts_with(r#"{"pairs":"#), "{}", result("read"));
        assert!(result("left").starts_with(r#"{"falco:value":"#), "{}", result("left"));
        assert_eq!([result("shuffled"), result("then")], [r#"{"keys":9}"#, r#"{"keys":9}"#]);
    }
}

#[tokio::test]
async fn results_are_fetched_at_once_where_the_policy_says_so() {
    let world = World::new(&[]);
    let data = world.data(DataPolicy::default().with_inline(1000).with_fetch_results(100_000));
    let grow = Deployable::python("grow", "def main(args): return {'text': 'x' * args['n']}");
    let sizes = [5000, 200_000].map(|n| serde_json::json!({"n": n}));
    let outcome = run(&data, vec![Stage::from_values("grow", grow, sizes).unwrap()]).await;
    let results = outcome.results("grow").unwrap();
    assert!(results[0].1.as_str().starts_with(r#"{"text":"xxx"#));
    assert!(results[1].1.as_str().starts_with(r#"{"falco:value":"#));
}

#[tokio::test]
async fn a_plain_function_gets_the_references_themselves() {
    let world = World::new(&[("a.txt", "hello")]);
    let data = world.data(DataPolicy::default().with_inline(10));
    let read = r#"
def main(args):
    assert "falco:data" not in args
    with open(args["input"]["falco:object"]["get"][len("file://"):]) as file:
        return {"text": file.read()}
"#;
    let input = serde_json::json!({"input": world.input.object("a.txt")});
    let function = Deployable::python("read", read).plain();
    let outcome = run(&data, vec![Stage::from_values("read", function, [input]).unwrap()]).await;
    assert_eq!(outcome.results("read").unwrap()[0].1.as_str(), r#"{"text":"hello"}"#);
}

#[tokio::test]
async fn what_goes_wrong_in_a_function_names_the_object_and_the_users_line() {
    let world = World::new(&[("a.txt", "hello")]);
    let data = world.data(DataPolicy::default());
    let read = "def main(args):\n    return {'text': args['input'].read().decode()}\n";
    let object = world.input.object("a.txt");
    for (input, error_type, text) in [
        (world.input.object("gone.txt"), "ObjectMissing", "gone.txt is not there"),
        (object.clone().with_etag(Some("\"1-2-3\"".into())), "ObjectChanged", "plan the run again"),
        (object.with_range(0, 99), "ObjectChanged", "shorter than planned"),
    ] {
        let input = serde_json::json!({ "input": input });
        let stage = Stage::from_values("read", Deployable::python("read", read), [input]).unwrap();
        let outcome = run(&data, vec![stage]).await;
        let failure = outcome.report.stages[0].failures[0].reason.clone();
        assert!(failure.contains(error_type) && failure.contains(text), "{failure}");
    }
    // The kind is the function's: the platform has done its part.
    assert_eq!(FunctionErrorKind::Raised.to_string(), "function error");
}

#[tokio::test]
async fn what_no_store_of_the_layer_holds_is_refused_by_name() {
    let world = World::new(&[]);
    let data = world.data(DataPolicy::default());
    let input = serde_json::json!({"input": Object::new("s3://elsewhere/key")});
    let function = Deployable::python("f", "def main(args): return {}");
    let outcome = run(&data, vec![Stage::from_values("read", function, [input]).unwrap()]).await;
    let failure = outcome.report.stages[0].failures[0].reason.clone();
    assert!(failure.contains("s3://elsewhere/key lies in none of the stores"), "{failure}");
}
