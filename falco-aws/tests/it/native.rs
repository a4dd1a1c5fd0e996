//! Native functions: how the bootstrap starts their executable, and what it does when that ends.

use falco_core::{Deployable, FunctionErrorKind, Platform};
use serde_json::{Value, json};

use crate::support::{Aws, has_ended, invocation};

/// Holds two functions, and refuses to start as any other. It keeps the count of its calls.
const SEVERAL: &str = r#"#!/usr/bin/env python3
import json, os, sys, time
results = os.fdopen(3, "w", 1)
name = os.environ.get("FALCO_FUNCTION", "none")
if "__OW_WAIT_FOR_ACK" in os.environ:
    if name == "silent":
        sys.exit(4)
    if name not in ("one", "-"):
        results.write(json.dumps({"error": {"name": "Unknown", "message": 'no "%s"' % name}}) + "\n")
        sys.exit(1)
    results.write('{"ok": true}\n')
    results.flush()
calls = 0
for line in sys.stdin:
    calls += 1
    answer = {"name": name, "calls": calls, "api": os.environ.get("AWS_LAMBDA_RUNTIME_API")}
    if "die" in json.loads(line)["value"]:
        answer["pid"] = os.getpid()
    if "lc" in json.loads(line)["value"]:
        answer["lc"] = os.environ.get("LC_ALL")
    results.write(json.dumps(answer) + "\n")
    results.flush()
    if "die" in json.loads(line)["value"]:
        sys.exit(0)
"#;

fn function(entry_point: Option<&str>) -> Deployable {
    let function = Deployable::from_source("f", "native".parse().unwrap(), SEVERAL);
    match entry_point {
        Some(name) => function.with_entry_point(name),
        None => function,
    }
}

async fn value(aws: &Aws, deployment: &falco_core::Deployment, argument: Value) -> Value {
    let activation = aws.platform.invoke(deployment, &invocation(argument)).await.unwrap();
    activation.outcome.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_point_chooses_a_function_of_the_executable_and_none_is_plain_action_loop() {
    let aws = Aws::start().await;
    for (entry_point, name) in [(Some("one"), "one"), (Some("-"), "-"), (None, "none")] {
        let deployment = aws.deploy(&function(entry_point)).await;
        for calls in 1..=2 {
            let expected = json!({"name": name, "calls": calls, "api": null});
            assert_eq!(value(&aws, &deployment, json!({})).await, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executable_that_cannot_start_is_an_initialization_error_and_ends_its_environment() {
    let aws = Aws::start().await;
    for (entry_point, words) in [("other", "no \"other\""), ("silent", "before it acknowledged")] {
        let deployment = aws.deploy(&function(Some(entry_point))).await;
        for _ in 0..2 {
            let argument = invocation(json!({}));
            let activation = aws.platform.invoke(&deployment, &argument).await.unwrap();
            let error = activation.outcome.unwrap_err();
            assert_eq!(error.kind, FunctionErrorKind::Initialization, "{error}");
            assert!(error.message.contains(words), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executable_that_ends_between_two_calls_is_started_again_for_the_next() {
    let aws = Aws::start().await;
    let deployment = aws.deploy(&function(None)).await;
    for calls in [1, 1, 1] {
        let answer = value(&aws, &deployment, json!({"die": true})).await;
        assert_eq!(answer["calls"], calls);
        has_ended(answer["pid"].as_u64().unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_results_of_all_lengths_pass_byte_for_byte() {
    let echo = "#!/usr/bin/env python3\nimport json, os, sys\nresults = os.fdopen(3, 'w')\n\
                for line in sys.stdin:\n    \
                results.write(json.dumps({'got': json.loads(line)['value']}, ensure_ascii=False) + '\\n')\n    \
                results.flush()\n";
    let aws = Aws::start().await;
    let echo = Deployable::from_source("f", "native".parse().unwrap(), echo);
    let deployment = aws.deploy(&echo.with_env("LC_ALL", "C.UTF-8")).await;
    // Around the lengths at which the bootstrap changes its way: 1024 bytes of a result, 8192 of an event.
    for length in (1000..1040).step_by(3).chain([8160, 8192, 70_000, 2_000_000]) {
        let argument = json!({"text": "x".repeat(length), "odd": "ä\u{7f}\u{1}\\\"\u{2028}日本"});
        assert_eq!(value(&aws, &deployment, argument.clone()).await["got"], argument, "{length}");
    }
}
