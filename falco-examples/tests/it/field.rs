//! Functions and arguments on which peers of Falco failed in the field: one right outcome on every platform, under the
//! providers' own runtimes where they are installed.

use std::sync::Arc;
use std::time::Duration;

use falco_aws::AwsLambda;
use falco_core::{
    AsyncPlatform, Deployable, ErrorKind, FunctionError, FunctionErrorKind, Invocation, Payload,
    Scaling,
};
use falco_fakes::aws::FakeAws;
use falco_fakes::field::{EXIT_BESIDE_A_THREAD, MULTIPROCESSING, RAISES_HALF_A_PAIR};
use falco_fakes::gcp::FakeGcp;
use falco_fakes::openwhisk::FakeOpenWhisk;
use falco_gcp::GcpFunctions;
use falco_local::{LocalConfig, LocalPlatform};
use falco_openwhisk::OpenWhisk;
use falco_testkit::runtimes;

use crate::program::has;

/// Answers as its argument says.
const ANSWERS_BACK: &str = "#!/usr/bin/env python3
import json, os, sys
for line in sys.stdin:
    args = json.loads(line)['value']
    os.write(3, args['answer'].encode() + b'\\n')
";

const FIRST_CHARACTER: &str = "def main(args):\n    return {'excerpt': args['text'][:1]}\n";

const LENGTH: &str = "function main(args) { return { length: args.text.length }; }\n";

/// A result, or how the function fails and what the message contains.
type Right = Result<&'static str, (FunctionErrorKind, &'static str)>;

/// The runtime, the source, and calls one after the other.
type Row = (&'static str, &'static str, Vec<(&'static str, Right)>);

fn table() -> Vec<Row> {
    use FunctionErrorKind::{BadResult, Raised};
    let squares = Ok(r#"{"squares":[1,4,9]}"#);
    vec![
        (
            "native",
            ANSWERS_BACK,
            vec![
                (
                    r#"{"answer":"{\"rows\":0,\"error\":\"cannot read caf\\udce9\"}"}"#,
                    Err((Raised, "cannot read caf")),
                ),
                (r#"{"answer":"{\"rows\":3,\"error\":null}"}"#, Err((Raised, "null"))),
                (r#"{"answer":"{\"mean\":NaN}"}"#, Err((BadResult, "JSON"))),
                (r#"{"answer":"{\"rows\":3}"}"#, Ok(r#"{"rows":3}"#)),
            ],
        ),
        (
            "python:3",
            EXIT_BESIDE_A_THREAD,
            vec![
                ("{}", Ok(r#"{"ok":true}"#)),
                (r#"{"quit":true,"thread":0}"#, Err((Raised, "no input rows"))),
                ("{}", Ok(r#"{"ok":true}"#)),
                (r#"{"quit":true,"thread":9}"#, Err((Raised, "no input rows"))),
                ("{}", Ok(r#"{"ok":true}"#)),
            ],
        ),
        (
            "python:3",
            MULTIPROCESSING,
            vec![
                (r#"{"method":"spawn"}"#, squares),
                (r#"{"method":"fork"}"#, squares),
                (r#"{"method":"forkserver"}"#, squares),
            ],
        ),
        (
            "python:3",
            RAISES_HALF_A_PAIR,
            vec![(
                r#"{"name":[99,97,102,233,46,116,120,116],"open":true}"#,
                Err((Raised, "not a picture: caf\u{fffd}.txt")),
            )],
        ),
        (
            "python:3",
            FIRST_CHARACTER,
            vec![("{\"text\":\"\u{1f600} hi\"}", Ok("{\"excerpt\":\"\u{1f600}\"}"))],
        ),
        (
            "nodejs:20",
            LENGTH,
            vec![
                ("{\"text\":\"line\u{2028}separator\"}", Ok(r#"{"length":14}"#)),
                ("{\"text\":\"para\u{2029}graph\"}", Ok(r#"{"length":10}"#)),
                ("{\"text\":\"next\u{85}line\"}", Ok(r#"{"length":9}"#)),
            ],
        ),
    ]
}

fn difference(outcome: &Result<Payload, FunctionError>, right: &Right) -> Option<String> {
    let is_right = match (outcome, right) {
        (Ok(result), Ok(text)) => {
            result.parse::<serde_json::Value>().ok() == serde_json::from_str(text).ok()
        }
        (Err(error), Err((kind, words))) => error.kind == *kind && error.message.contains(words),
        _ => false,
    };
    (!is_right).then(|| format!("not {right:?}: {outcome:?}"))
}

/// Makes all calls, and lists the wrong outcomes. Each call is made once: nothing is taken for a fault of the platform.
async fn check(platform: Arc<dyn AsyncPlatform>) {
    if !has("python3") || !has("node") {
        return;
    }
    let mut wrong = Vec::new();
    for (number, (runtime, source, calls)) in table().into_iter().enumerate() {
        let function =
            Deployable::from_source(format!("field-{number}"), runtime.parse().unwrap(), source)
                .with_scaling(Scaling::default().with_timeout(Duration::from_secs(30)));
        let deployment = platform.deploy(&function).await.unwrap();
        for (argument, right) in calls {
            let invocation =
                Invocation::new("run", "field", "0", Payload::from_bytes(argument).unwrap());
            match platform.invoke(&deployment, &invocation).await {
                Ok(activation) => wrong.extend(
                    difference(&activation.outcome, &right)
                        .map(|difference| format!("{runtime} {argument}: {difference}")),
                ),
                Err(error) => {
                    wrong.push(format!("{runtime} {argument}: the platform failed: {error}"))
                }
            }
        }
        platform.remove(&deployment).await.unwrap();
    }
    assert!(wrong.is_empty(), "wrong on {}:\n{}", platform.name(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_in_the_field_is_right_on_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let config = LocalConfig::builder().directory(folder.path()).build().unwrap();
    check(Arc::new(LocalPlatform::connect(config).await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_in_the_field_is_right_on_openwhisk() {
    let fake = FakeOpenWhisk::start();
    check(Arc::new(OpenWhisk::connect(fake.config().build().unwrap()).await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_in_the_field_is_right_under_the_runtimes_of_aws() {
    for name in ["awslambdaric", "aws-lambda-ric"] {
        runtimes::find(name);
    }
    let fake = FakeAws::start();
    check(Arc::new(AwsLambda::connect(fake.config().build().unwrap()).await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_in_the_field_is_right_under_the_functions_frameworks_of_google() {
    for name in ["functions-framework-python", "functions-framework-nodejs"] {
        runtimes::find(name);
    }
    let fake = FakeGcp::start();
    check(Arc::new(GcpFunctions::connect(fake.config().build().unwrap()).await.unwrap())).await;
}

#[test]
fn an_argument_with_half_of_a_surrogate_pair_is_refused_before_any_platform_gets_it() {
    for argument in [
        r#"{"text":"\ud83d hi"}"#,
        r#"{"answer":{"rows":0,"error":"cannot read caf\udce9"}}"#,
        r#"{"\udce9":1}"#,
    ] {
        let error = Payload::from_bytes(argument).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.hint().unwrap().contains("both halves"), "{error}");
    }
}
