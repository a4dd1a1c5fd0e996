//! Python, Node.js and Rust write the same bytes and read the same records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use falco_core::{
    AsyncPlatform, Attempts, Capabilities, Completion, Deployable, Deployment, Derivation,
    DerivationContext, Input, Invocation, Outcome, Payload, Platform,
};
use falco_data::{Data, DataPolicy, Exchange, Object, Sink, Store};
use falco_fakes::FakeS3;
use falco_function::data::{DataError, Groups, Output, Written};
use falco_function::{Executable, Functions};
use falco_local::{LocalConfig, LocalPlatform};
use futures_util::TryStreamExt;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::program::has;

const PYTHON: &str = r#"
def main(args):
    if "in" in args:
        if args["bound"]:
            args["in"].bound = args["bound"]
        return {"groups": [[key, list(values)] for key, values in args["in"].groups()]}
    out = args["out"]
    if args["bound"]:
        out.bound = args["bound"]
    for key, value in args["pairs"]:
        out.emit(key, value)
    return {"out": out.close()}
"#;

const NODE: &str = r#"
async function main(args) {
  if (args.in) {
    if (args.bound) args.in.bound = args.bound;
    const groups = [];
    for await (const [key, values] of args.in.groups()) groups.push([key, [...values]]);
    return { groups };
  }
  if (args.bound) args.out.bound = args.bound;
  for (const [key, value] of args.pairs) args.out.emit(key, value);
  return { out: await args.out.close() };
}
"#;

#[derive(Deserialize)]
struct Argument {
    #[serde(rename = "in")]
    parts: Option<Groups>,
    out: Option<Output>,
    #[serde(default)]
    pairs: Vec<(String, Value)>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Answer<T> {
    Out { out: T },
    Groups { groups: Vec<(String, Vec<Value>)> },
}

fn rust(argument: Argument) -> Result<Answer<Written>, DataError> {
    if let Some(mut out) = argument.out {
        for (key, value) in argument.pairs {
            out.emit(&key, &value)?;
        }
        return Ok(Answer::Out { out: out.close()? });
    }
    let mut groups: Vec<(String, Vec<Value>)> = Vec::new();
    let parts = argument.parts.expect("a place to write or parts to read");
    parts.for_each(|key, value: Value| {
        match groups.last_mut().filter(|(last, _)| last == key) {
            Some((_, values)) => values.push(value),
            None => groups.push((key.to_owned(), vec![value])),
        }
        Ok::<_, DataError>(())
    })?;
    Ok(Answer::Groups { groups })
}

/// The function in one language, deployed behind the layer.
struct Language {
    name: &'static str,
    data: Data<Arc<dyn AsyncPlatform>>,
    deployment: Deployment,
}

impl Language {
    async fn new(
        name: &'static str,
        platform: Arc<dyn AsyncPlatform>,
        code: Deployable,
        scratch: &Store,
    ) -> Self {
        let data = Data::new(platform, scratch.clone(), DataPolicy::default()).unwrap();
        let deployment = data.deploy(&code).await.unwrap();
        Self { name, data, deployment }
    }

    async fn call(&self, argument: &Value) -> (Invocation, Payload, Completion) {
        let payload = Payload::json(argument).unwrap();
        let invocation = Invocation::new("run", "map", self.name, payload);
        let activation = self.data.invoke(&self.deployment, &invocation).await.unwrap();
        let result = activation.outcome.clone();
        let result = result.unwrap_or_else(|error| panic!("{} failed: {error:#?}", self.name));
        let outcome = Outcome::Succeeded(activation);
        let completion =
            invocation.clone().complete(outcome, Attempts::default(), UNIX_EPOCH, Duration::ZERO);
        (invocation, result, completion)
    }
}

async fn languages(folder: &std::path::Path, scratch: &Store) -> Vec<Language> {
    let config = LocalConfig::builder().directory(folder.join("local")).build().unwrap();
    let local: Arc<dyn AsyncPlatform> = Arc::new(LocalPlatform::connect(config).await.unwrap());
    let mut functions = Functions::new();
    let function = functions.add("rust", rust);
    let code = Executable::none().function(&function).unwrap().deployable().clone();
    vec![
        Language::new("rust", Arc::new(functions.in_process()), code, scratch).await,
        Language::new("python", local.clone(), Deployable::python("python", PYTHON), scratch).await,
        Language::new("node", local, Deployable::nodejs("node", NODE), scratch).await,
    ]
}

/// The inputs of the reducers over what all mappers wrote.
fn exchanged(completions: &[Completion]) -> Vec<Input> {
    let upstream = vec!["map".into()];
    let context = DerivationContext::new("reduce".into(), upstream, Capabilities::default());
    let mut deriver = Exchange::of_field("out").start(context).unwrap();
    for completion in completions {
        assert!(deriver.on_completion(completion).unwrap().is_empty());
    }
    deriver.finish().unwrap()
}

async fn bytes(store: &Store, object: &Object) -> Vec<u8> {
    let pieces: Vec<_> = store.read(object).await.unwrap().try_collect().await.unwrap();
    pieces.concat()
}

#[derive(Clone, Debug)]
struct Case {
    pairs: Vec<(String, Value)>,
    partitions: u32,
    gzip: bool,
    bound: u32,
}

fn key() -> impl Strategy<Value = String> {
    let nasty =
        "[\"\\\\/\u{0}-\u{1f}\u{7f}\u{80}\u{2028}\u{fffd}\u{10000}\u{10ffff},\\[\\]a ]{0,4}";
    prop_oneof![nasty, "[a-c]{0,2}", any::<String>()]
}

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        // The integers that a double holds exactly.
        (-(1_i64 << 53)..1 << 53).prop_map(Value::from),
        key().prop_map(Value::from),
    ];
    scalar.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            (key(), inner).prop_map(|(key, value)| json!({ key: value })),
        ]
    })
}

fn case() -> impl Strategy<Value = Case> {
    let pairs = prop::collection::vec((key(), value()), 0..40);
    let bound = prop_oneof![Just(0_u32), 1..300_u32];
    (pairs, 1..5_u32, any::<bool>(), bound).prop_map(|(pairs, partitions, gzip, bound)| Case {
        pairs,
        partitions,
        gzip,
        bound,
    })
}

/// Compares what each language writes and reads of one case.
async fn compare(languages: &[Language], case: &Case) -> Result<(), TestCaseError> {
    let store = languages[0].data.scratch();
    let sink = Sink::scratch().partitions(case.partitions);
    let sink = if case.gzip { sink.gzip() } else { sink };
    let argument = json!({"pairs": case.pairs, "out": sink, "bound": case.bound});
    let (mut completions, mut written) = (Vec::new(), Vec::new());
    for language in languages {
        let (_, result, completion) = language.call(&argument).await;
        completions.push(completion);
        let Answer::Out { out } = result.parse::<Answer<Object>>().unwrap() else {
            panic!("{} returned no object", language.name);
        };
        written.push((language.name, out.parts.clone(), bytes(store, &out).await));
    }
    // Compressors differ, and what they compress does not.
    for (name, parts, bytes) in written.iter().filter(|_| !case.gzip) {
        let (_, first_parts, first) = &written[0];
        prop_assert_eq!((parts, bytes), (first_parts, first), "{}", name);
    }
    let mut expected: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (key, value) in &case.pairs {
        let of_all = std::iter::repeat_n(value.to_string(), languages.len());
        expected.entry(key).or_default().extend(of_all);
    }
    let mut read = BTreeMap::new();
    let inputs = exchanged(&completions);
    for input in &inputs {
        let mut argument: Value = input.payload.parse().unwrap();
        argument["bound"] = case.bound.into();
        let mut first = None;
        for language in languages {
            let (_, result, _) = language.call(&argument).await;
            let Answer::Groups { groups } = result.parse::<Answer<Object>>().unwrap() else {
                panic!("{} returned no groups", language.name);
            };
            let first = first.get_or_insert_with(|| groups.clone());
            prop_assert_eq!(&groups, &*first, "{}", language.name);
        }
        for (key, values) in first.unwrap() {
            let values: Vec<_> = values.iter().map(Value::to_string).collect();
            prop_assert!(values.is_sorted(), "{:?}", values);
            prop_assert!(read.insert(key.clone(), values).is_none(), "{:?} came twice", key);
        }
    }
    let expected: BTreeMap<String, Vec<String>> = expected
        .into_iter()
        .map(|(key, mut values)| {
            values.sort();
            (key.to_owned(), values)
        })
        .collect();
    prop_assert_eq!(read, expected);
    Ok(())
}

/// Status and code of the store, and how the function fails; without a name it is the platform's call that fails.
const REFUSALS: [(u16, &str, Option<&str>, &str); 5] = [
    (412, "PreconditionFailed", Some("ObjectChanged"), "plan the run again"),
    (404, "NoSuchKey", Some("ObjectMissing"), "is not there"),
    (403, "AccessDenied", Some("StoreRefused"), "403 AccessDenied"),
    (403, "ExpiredToken", None, "ExpiredToken"),
    (503, "SlowDown", None, "failed 4 times"),
];

/// A store that refuses is the same error in each language, and shows no signature.
async fn refused(languages: &[Language], s3: &FakeS3) {
    let url = languages[0].data.scratch().url();
    let parts = json!({"base": url, "parts": [["gone", 0, 5]]});
    let argument = json!({"in": {"falco:parts": parts}, "bound": 0});
    let payload = Payload::json(&argument).unwrap();
    for (status, code, name, words) in REFUSALS {
        s3.refuse_all(status, code);
        for language in languages {
            let invocation = Invocation::new("run", "read", "1", payload.clone());
            let invoked = language.data.invoke(&language.deployment, &invocation).await;
            let text = match (invoked, name) {
                (Ok(activation), Some(name)) => {
                    let text = format!("{:#?}", activation.outcome.unwrap_err());
                    assert!(text.contains(name), "{code} in {}: {text}", language.name);
                    text
                }
                (Err(error), None) => {
                    let text = format!("{error:#?}");
                    assert!(error.is_retryable() && error.may_have_run(), "{text}");
                    text
                }
                (other, _) => panic!("{code} in {}: {other:#?}", language.name),
            };
            assert!(text.contains(words), "{code} in {}: {text}", language.name);
            assert!(text.contains("/scratch/gone") && !text.contains("X-Amz-Signature"), "{text}");
        }
    }
    s3.heal();
}

fn all_agree(folder: &tempfile::TempDir, scratch: &Store, cases: u32) {
    if !has("python3") || !has("node") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let languages = runtime.block_on(languages(folder.path(), scratch));
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let compared =
        TestRunner::new(config).run(&case(), |case| runtime.block_on(compare(&languages, &case)));
    for language in &languages {
        runtime.block_on(language.data.remove(&language.deployment)).unwrap();
    }
    compared.unwrap();
}

#[test]
fn all_languages_write_the_same_bytes_and_read_the_same_records_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let scratch = Store::folder(folder.path().join("scratch")).unwrap();
    all_agree(&folder, &scratch, 64);
}

#[test]
fn a_store_that_refuses_is_the_same_error_in_all_languages() {
    if !has("python3") || !has("node") {
        return;
    }
    let (s3, folder) = (FakeS3::start(), tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let languages = languages(folder.path(), &s3.store("scratch")).await;
        refused(&languages, &s3).await;
    });
}

#[test]
fn all_languages_write_the_same_bytes_and_read_the_same_records_over_http() {
    let (s3, folder) = (FakeS3::start(), tempfile::tempdir().unwrap());
    all_agree(&folder, &s3.store("scratch"), 24);
    assert!(s3.requests() > 100, "{} requests", s3.requests());
}
