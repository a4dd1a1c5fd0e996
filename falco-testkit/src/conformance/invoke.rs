//! Arguments, results, limits, concurrency.

use std::collections::HashSet;
use std::time::{Duration, UNIX_EPOCH};

use falco_core::{Activation, Deployment, ErrorKind, Payload};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::harness::{Skip, Verdict};
use super::subject::{Subject, refused_as, served, unthrottled, value};
use crate::fixture;

/// Payloads above this are not sent: interpreters and debug builds take a second over it, in each of several cases. A
/// harness may configure a lower limit.
const LARGEST_SENT: u64 = 32 << 20;

/// An argument that is refused before it is sent may be larger.
const LARGEST_REFUSED: u64 = 64 << 20;

pub(super) async fn nested_and_non_ascii_json_passes_unchanged(subject: &Subject) -> Verdict {
    let mut deep = json!("ground");
    for _ in 0..50 {
        deep = json!({"deeper": [deep]});
    }
    let values = json!({
        "scripts": ["Grüße", "Ελλάδα", "世界", "مرحبا", "🦅👩‍👩‍👧", "e\u{301}", "\u{2028}"],
        "signs": "quote \" backslash \\ slash / line\nbreak tab\t null-ish \u{1} </script>",
        "ends": [" blank ", "line break\n", "\n", "\t", "\r\n"],
        "ключ": {"键": [null, true, false, {}, [], ""]},
        "numbers": [0, -1, 1.5, -2.25e-7, 9_007_199_254_740_991_i64, -9_007_199_254_740_991_i64],
        "deep": deep,
    });
    for deployment in subject.deployed_in_each_runtime().await? {
        let answer = subject.value(&deployment, json!({"do": "echo", "value": values})).await;
        assert_eq!(answer["value"], values, "{}", deployment.runtime);
        // JavaScript has no integers above 2^53.
        if deployment.runtime.family() != "nodejs" {
            let large = json!([9_007_199_254_740_993_i64, i64::MIN, u64::MAX]);
            let answer = subject.value(&deployment, json!({"do": "echo", "value": large})).await;
            assert_eq!(answer["value"], large, "{}", deployment.runtime);
        }
    }
    Ok(())
}

pub(super) async fn what_a_function_prints_is_no_part_of_its_answer(subject: &Subject) -> Verdict {
    let lines = ["{\"value\": 1}", "plain, größe", "{\"error\": \"no\"}", ""];
    for runtime in subject.runtimes()? {
        let mut function = subject.function_for(&runtime)?;
        // A harness may bring a fixture of its own.
        let own = fixture::function(&function.name, &runtime);
        if own.is_some_and(|own| own.code == function.code)
            && let Some(printing) = fixture::printing(&function.name, &runtime)
        {
            function.code = printing.code;
        }
        let deployment = subject.deploy(&function).await;
        let args = json!({"do": "print", "stdout": lines, "stderr": lines});
        assert_eq!(subject.value(&deployment, args).await, json!({}), "{}", deployment.runtime);
        let echo = json!({"do": "echo", "value": "after"});
        assert_eq!(subject.value(&deployment, echo).await, json!({"value": "after"}));
    }
    Ok(())
}

pub(super) async fn an_empty_result_is_an_empty_object(subject: &Subject) -> Verdict {
    for deployment in subject.deployed_in_each_runtime().await? {
        assert_eq!(subject.value(&deployment, json!({"do": "nothing"})).await, json!({}));
        // No command at all: the argument is empty too.
        assert_eq!(subject.value(&deployment, json!({})).await, json!({}));
    }
    Ok(())
}

pub(super) async fn a_payload_at_the_limit_is_taken(subject: &Subject) -> Verdict {
    small_limit(subject.capabilities.max_payload)?;
    for deployment in subject.deployed_in_each_runtime().await? {
        // A runtime may take less than the platform; never more.
        let limit = small_limit(subject.limits_of(&deployment).max_payload)?;
        let (payload, length) = payload_of(limit);
        let invocation = subject.invocation_of(payload);
        let activation = subject.platform.invoke(&deployment, &invocation).await;
        let answer = value(&served("a payload at the limit", activation));
        assert_eq!(answer, json!({"length": length}), "all of it has to arrive");
    }
    Ok(())
}

pub(super) async fn a_payload_over_the_limit_is_refused(subject: &Subject) -> Verdict {
    limit_below(subject.capabilities.max_payload, LARGEST_REFUSED)?;
    for deployment in subject.deployed_in_runtimes_of_different_limits().await? {
        let limit = limit_below(subject.limits_of(&deployment).max_payload, LARGEST_REFUSED)?;
        let invocation = subject.invocation_of(payload_of(limit + 1).0);
        let invoked = subject.platform.invoke(&deployment, &invocation).await;
        let error = refused_as("one byte more", invoked, &[ErrorKind::PayloadTooLarge]);
        assert!(!error.may_have_run() && !error.is_retryable(), "{error:?}");
        subject.says_where(&error, "invoke", &deployment.name);
    }
    Ok(())
}

pub(super) async fn an_argument_that_is_no_object_is_refused(subject: &Subject) -> Verdict {
    let deployment = subject.deployed().await?;
    for json in ["[]", "null", "1", "\"text\""] {
        let payload = served("JSON", Payload::from_bytes(json));
        let invocation = subject.invocation_of(payload);
        let invoked = subject.platform.invoke(&deployment, &invocation).await;
        let error = refused_as(json, invoked, &[ErrorKind::InvalidInput]);
        subject.says_where(&error, "invoke", &deployment.name);
        if subject.capabilities.submit {
            let submitted = subject.platform.submit(&deployment, &invocation).await;
            let error = refused_as(json, submitted, &[ErrorKind::InvalidInput]);
            subject.says_where(&error, "submit", &deployment.name);
        }
    }
    Ok(())
}

pub(super) async fn a_batch_is_answered_input_by_input(subject: &Subject) -> Verdict {
    if !subject.capabilities.shim {
        return Err(Skip::new("functions on it take one input at a time"));
    }
    for function in subject.functions_with_shim()? {
        let runtime = function.runtime.clone();
        let deployment = subject.deploy(&function).await;
        let inputs = [
            json!({"do": "echo", "value": "ä"}),
            json!({"do": "raise", "message": "not this one"}),
            json!({"do": "version"}),
        ];
        let limits = json!({"ms": 10_000, "bytes": 10_000, "mark": "0a1b2c3d"});
        let batch = subject.invocation(json!({"falco:batch": inputs, "falco:limits": limits}));
        let members: Vec<_> = inputs.into_iter().map(|input| subject.invocation(input)).collect();
        let batch = batch.with_members(members);
        let answer = value(&served("invoke", subject.platform.invoke(&deployment, &batch).await));
        let answers = &answer["falco:batch"];
        assert_eq!(answers.as_array().map(Vec::len), Some(3), "{runtime}: {answer}");
        assert_eq!(answers[0]["ok"], json!({"value": "ä"}), "{runtime}: {answer}");
        assert_eq!(answers[1]["error"]["kind"], "raised", "{runtime}: {answer}");
        let message = answers[1]["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("not this one"), "{runtime}: {answer}");
        assert_eq!(answers[2]["ok"], json!({"version": 1}), "{runtime}: {answer}");
        assert!(answers[2]["ms"].is_number(), "{runtime}: {answer}");
    }
    Ok(())
}

pub(super) async fn each_invocation_gets_its_own_answer(subject: &Subject) -> Verdict {
    let deployment = subject.deployed().await?;
    let calls = (0..50).map(|n| {
        let invocation = subject.invocation(json!({"do": "echo", "value": n}));
        let deployment = &deployment;
        async move {
            let invoke = || subject.platform.invoke(deployment, &invocation);
            (n, served("invoke", unthrottled(invoke).await))
        }
    });
    let mut ids = HashSet::new();
    for (n, activation) in join_all(calls).await {
        assert_eq!(value(&activation), json!({"value": n}));
        assert!(ids.insert(activation.id.clone()), "{} was given twice", activation.id);
    }
    Ok(())
}

pub(super) async fn invocations_run_at_the_same_time(subject: &Subject) -> Verdict {
    if subject.capabilities.concurrency == Some(1) {
        return Err(Skip::new("it runs one invocation at a time"));
    }
    let deployment = subject.deployed().await?;
    // Instances start first: how long each takes says nothing about the platform crate.
    join_all((0..3).map(|_| sleeping(subject, &deployment, 0.5))).await;
    let calls = (0..3).map(|_| sleeping(subject, &deployment, 1.5));
    let spans: Vec<_> = join_all(calls).await.iter().map(span).collect();
    let overlap = |a: &(f64, f64), b: &(f64, f64)| a.0 < b.1 && b.0 < a.1;
    let overlapping = (0..3).any(|a| (0..a).any(|b| overlap(&spans[a], &spans[b])));
    assert!(overlapping, "of three, at least two have to overlap: {spans:?}");
    Ok(())
}

pub(super) async fn the_first_activation_is_cold_and_a_later_one_warm(
    subject: &Subject,
) -> Verdict {
    let deployment = subject.deployed().await?;
    let first = subject.call(&deployment, json!({"do": "nothing"})).await;
    let Some(cold) = first.cold_start else {
        return Err(Skip::new("it does not report cold starts"));
    };
    assert!(cold, "nothing ran before the first activation");
    if let (Some(init), Some(started), Some(ended)) = (first.init, first.started_at, first.ended_at)
    {
        let whole = ended.duration_since(started).unwrap_or_default();
        assert!(init <= whole + Duration::from_millis(2), "init {init:?} is within {whole:?}");
    }
    // The instance may need a moment until it takes the next one.
    for _ in 0..50 {
        let next = subject.call(&deployment, json!({"do": "nothing"})).await;
        if next.cold_start == Some(false) {
            assert_eq!(next.init, None, "only a cold start has an initialisation");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("none of 50 later activations was warm")
}

pub(super) async fn an_activation_reports_plausible_times(subject: &Subject) -> Verdict {
    let deployment = subject.deployed().await?;
    let activation = sleeping(subject, &deployment, 0.2).await;
    let reported = [activation.execution, activation.billed];
    for duration in reported.into_iter().flatten() {
        // Node's timers may fire a millisecond early, and some providers round.
        assert!(duration >= Duration::from_millis(190), "it slept 200 ms: {activation:?}");
    }
    if let (Some(started), Some(ended)) = (activation.started_at, activation.ended_at) {
        let Ok(whole) = ended.duration_since(started) else { panic!("{activation:?}") };
        let execution = activation.execution.unwrap_or_default();
        assert!(execution <= whole + Duration::from_millis(2), "{activation:?}");
    }
    if activation.execution.is_none() && activation.started_at.is_none() {
        return Err(Skip::new("it reports no times"));
    }
    Ok(())
}

pub(super) async fn a_dropped_invoke_leaves_the_platform_usable(subject: &Subject) -> Verdict {
    let deployment = subject.deployed().await?;
    for patience in [0, 1, 5, 20, 100] {
        let invocation = subject.invocation(json!({"do": "sleep", "seconds": 0.3}));
        let invoke = subject.platform.invoke(&deployment, &invocation);
        // Whether it ends before it is dropped does not matter here.
        let _ = timeout(Duration::from_millis(patience), invoke).await;
    }
    let after = subject.invocation(json!({"do": "echo", "value": "after"}));
    let invoke = || subject.platform.invoke(&deployment, &after);
    let activation = served("the next invoke", unthrottled(invoke).await);
    assert_eq!(value(&activation), json!({"value": "after"}), "it has to get its own answer");
    Ok(())
}

async fn sleeping(subject: &Subject, deployment: &Deployment, seconds: f64) -> Activation {
    subject.call(deployment, json!({"do": "sleep", "seconds": seconds})).await
}

/// When it ran: as the platform reports it, else as the function does.
fn span(activation: &Activation) -> (f64, f64) {
    let answer = value(activation);
    let since_epoch = |time: std::time::SystemTime| {
        time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    };
    match (activation.started_at, activation.ended_at) {
        (Some(started), Some(ended)) => (since_epoch(started), since_epoch(ended)),
        _ => (seconds(&answer, "began"), seconds(&answer, "ended")),
    }
}

fn seconds(answer: &Value, name: &str) -> f64 {
    answer[name].as_f64().unwrap_or_else(|| panic!("no {name} in {answer}"))
}

/// A limit that a test can reach.
pub(super) fn small_limit(limit: Option<u64>) -> Result<u64, Skip> {
    limit_below(limit, LARGEST_SENT)
}

pub(super) fn limit_below(limit: Option<u64>, most: u64) -> Result<u64, Skip> {
    match limit {
        None => Err(Skip::new("it states no limit")),
        Some(limit) if limit > most => {
            Err(Skip::new(format!("its limit of {limit} bytes is too much for a test")))
        }
        Some(limit) => Ok(limit),
    }
}

/// A payload of exactly so many bytes, and the length that the fixture will find in it.
pub(super) fn payload_of(bytes: u64) -> (Payload, u64) {
    let frame = json!({"do": "length", "value": ""}).to_string().len() as u64;
    let length = bytes.saturating_sub(frame);
    let text = "x".repeat(usize::try_from(length).unwrap_or(usize::MAX));
    let payload = served("JSON", Payload::json(&json!({"do": "length", "value": text})));
    (payload, length)
}
