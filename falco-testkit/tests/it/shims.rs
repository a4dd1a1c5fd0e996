//! The shim suite can fail: a platform that answers as its table says passes, and each way to answer wrongly is found in each
//! case.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use falco_core::{
    Activation, AsyncPlatform, Deployment, FunctionError, FunctionErrorKind, Invocation, Payload,
    Platform, Result, RuntimeLimits, RuntimeName, async_trait, forward,
};
use falco_testkit::conformance::{Fault, Harness, Skip};
use falco_testkit::shims::{Case, Right, Section, cases, check};
use falco_testkit::{FunctionCall, InMemory, Reply, Settings};
use futures_util::FutureExt;
use serde_json::{Value, json};

/// How a platform answers wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// It answers as the table says.
    Nothing,
    Succeeds,
    FailsInAnotherWay,
    LosesDetails,
    NamesAnotherType,
    SpoilsTheNextCall,
    NamesNoInstance,
    TracesEveryCallAlike,
    MixesUpAnswers,
    StaysDead,
    EndsWithoutATimeout,
    LogsWithoutEnd,
}

thread_local! {
    /// For the harness that is started next on this thread.
    static WRONG: Cell<Wrong> = const { Cell::new(Wrong::Nothing) };
}

/// The limit of results, so that the longest text of the suite is quickly made.
const MAX_RESULT: u64 = 200 << 10;

/// That of Node.js: less than the longest text of the others.
const MAX_RESULT_IN_NODE: u64 = 100 << 10;

/// The longest text: the suite leaves 64 KiB to the provider.
fn longest(family: &str) -> u64 {
    let limit = if family == "nodejs" { MAX_RESULT_IN_NODE } else { MAX_RESULT };
    limit - (64 << 10)
}

/// The platform in memory, which runs no code: it answers from the table.
#[derive(Debug)]
struct Played {
    inner: InMemory,
    wrong: Wrong,
}

#[async_trait]
impl Platform for Played {
    forward! { self => self.inner;
        name, capabilities, account, deploy, fetch_deployment, list_deployments, scale, remove, watch_outages
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let mut activation = self.inner.invoke(deployment, invocation).await?;
        if self.wrong != Wrong::NamesNoInstance {
            activation.container = Some("one".into());
            activation.booted_at = activation.started_at;
        }
        Ok(activation)
    }
}

#[async_trait]
impl AsyncPlatform for Played {
    forward! { self => self.inner;
        submit, collect, release, activation_log, find_submitted, recent_logs
    }
}

struct Table(Arc<Played>);

#[async_trait]
impl Harness for Table {
    async fn start() -> Self {
        let wrong = WRONG.get();
        let defaults = Settings::default();
        let in_node = RuntimeLimits::default().with_max_result(MAX_RESULT_IN_NODE);
        let capabilities = defaults.capabilities.clone().with_max_result(MAX_RESULT);
        let capabilities = capabilities.with_runtime_limits("nodejs", in_node);
        let mut inner = InMemory::new(Settings { capabilities, ..defaults });
        for family in ["python", "nodejs", "native"] {
            // Whether the call before did anything but return the object, which every innocent call does.
            let is_spoilt = AtomicBool::new(false);
            inner = inner.with_function(family, move |call| reply(call, family, wrong, &is_spoilt));
        }
        Self(Arc::new(Played { inner, wrong }))
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.0.clone()
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        ["python:3", "nodejs:22", "native"].map(|runtime| runtime.parse().unwrap()).to_vec()
    }

    async fn provoke(&self, fault: Fault) -> std::result::Result<Arc<dyn AsyncPlatform>, Skip> {
        Err(Skip::new(format!("the table knows no {fault}")))
    }
}

fn reply(call: &FunctionCall<'_>, family: &str, wrong: Wrong, is_spoilt: &AtomicBool) -> Reply {
    let argument: Value = call.payload().parse().unwrap();
    let name = argument["case"].as_str().unwrap_or_default();
    let was_spoilt = is_spoilt.swap(name != "object", Ordering::Relaxed);

    let right = match name {
        "object" if was_spoilt && wrong == Wrong::SpoilsTheNextCall => Right::Crashed,
        "object" if was_spoilt && wrong == Wrong::StaysDead => Right::Crashed,
        "slow" if wrong == Wrong::MixesUpAnswers => Right::Value(json!({"n": 0})),
        "slow" => Right::Value(json!({"n": argument["n"]})),
        "die_later" => Right::Value(json!({})),
        "trace" if wrong == Wrong::TracesEveryCallAlike => Right::Value(json!({"trace": "0"})),
        "trace" => Right::Value(json!({"trace": call.invocation.trace_context().to_string()})),
        "print_endlessly" => return endless(wrong),
        "" if argument["raise"] == true => {
            let kind = if family == "nodejs" { "RangeError" } else { "ValueError" };
            Right::Raised(Some(kind), "raised", "in main")
        }
        "" => Right::Value(json!({"n": 1})),
        _ => {
            let case = cases().into_iter().find(|case| case.name == name).unwrap();
            case.right(family).unwrap().clone()
        }
    };
    let length = argument["length"].as_u64().unwrap_or_default();
    Reply::from(answer(&right, wrong, length as usize))
}

fn endless(wrong: Wrong) -> Reply {
    let kind = match wrong {
        Wrong::EndsWithoutATimeout => FunctionErrorKind::Crashed,
        _ => FunctionErrorKind::Timeout,
    };
    let reply = Reply::failed(FunctionError::new(kind, "it took too long"));
    match wrong {
        Wrong::LogsWithoutEnd => reply.printing("x".repeat(33 << 20)),
        _ => reply.printing("x"),
    }
}

/// The right answer, with a text of this length where it is one, or an answer that is wrong in this way.
fn answer(
    right: &Right,
    wrong: Wrong,
    length: usize,
) -> std::result::Result<Payload, FunctionError> {
    use FunctionErrorKind::{BadResult, Crashed, Raised, Timeout};
    let value = |value: Value| Ok(Payload::json(&value).unwrap());
    let failed = |kind, message: &str| Err(FunctionError::new(kind, message));
    match (right, wrong) {
        (_, Wrong::Succeeds) => value(json!({"wrong": true})),
        (Right::Value(_) | Right::Text(_) | Right::Length(_), Wrong::FailsInAnotherWay) => {
            failed(Crashed, "it has ended")
        }
        (Right::Raised(_, message, _), Wrong::FailsInAnotherWay) => failed(BadResult, message),
        (Right::BadResult(message), Wrong::FailsInAnotherWay) => failed(Raised, message),
        (Right::Crashed, Wrong::FailsInAnotherWay) => failed(Raised, "exit status 3"),
        (Right::Value(right), Wrong::LosesDetails) => {
            let mut less = right.clone();
            let map = less.as_object_mut().unwrap();
            // Of an empty object nothing can be lost.
            match map.keys().next().cloned() {
                Some(key) => map.remove(&key),
                None => map.insert("more".to_owned(), json!(1)),
            };
            value(less)
        }
        (Right::Text(_), Wrong::LosesDetails) => {
            value(json!({"value": 1.234_567_890_123_456_8e29}))
        }
        (Right::Length(_), Wrong::LosesDetails) => value(json!({"value": "x".repeat(length - 1)})),
        (Right::BadResult(_), Wrong::LosesDetails) => failed(BadResult, "?"),
        (Right::Crashed, Wrong::LosesDetails) => failed(Timeout, "it has ended"),
        (Right::Value(right), _) => value(right.clone()),
        (Right::Text(text), _) => Ok(Payload::from_bytes(format!("{{\"value\":{text}}}")).unwrap()),
        (Right::Length(_), _) => value(json!({"value": "x".repeat(length)})),
        (Right::BadResult(message), _) => failed(BadResult, message),
        (Right::Crashed, _) => failed(Crashed, "it has ended"),
        (Right::Raised(kind, message, trace), wrong) => {
            let mut error = FunctionError::new(Raised, format!("it says: {message}"));
            error.error_type = kind.map(str::to_owned);
            error.trace = Some((*trace).to_owned());
            match wrong {
                Wrong::LosesDetails if trace.is_empty() => error.message = "?".to_owned(),
                Wrong::LosesDetails => error.trace = None,
                Wrong::NamesAnotherType => error.error_type = Some("Another".to_owned()),
                _ => {}
            }
            Err(error)
        }
        (right, wrong) => panic!("the test does not know {right:?}, {wrong:?}"),
    }
}

/// The list of what the suite finds; empty when it passes.
async fn found(family: &str, section: Section, wrong: Wrong) -> String {
    WRONG.set(wrong);
    let checked = AssertUnwindSafe(check::<Table>(family, section)).catch_unwind().await;
    WRONG.set(Wrong::Nothing);
    match checked {
        Ok(()) => String::new(),
        Err(panic) => *panic.downcast::<String>().unwrap(),
    }
}

/// The case's argument, as the suite shows it.
fn shown(case: &Case, family: &str) -> String {
    let mut argument = case.argument.clone();
    if case.name == "big" {
        argument["length"] = json!(longest(family));
    }
    argument.to_string()
}

#[tokio::test(start_paused = true)]
async fn every_case_of_the_table_finds_each_wrong_answer() {
    for family in ["python", "nodejs", "native"] {
        let found = |wrong| found(family, Section::Calls, wrong);
        assert_eq!(found(Wrong::Nothing).await, "", "{family}");
        let wrong_in_each = [Wrong::Succeeds, Wrong::FailsInAnotherWay, Wrong::LosesDetails];
        for wrong in wrong_in_each.into_iter().chain([Wrong::NamesAnotherType]) {
            let found = found(wrong).await;
            for case in cases() {
                let Some(right) = case.right(family) else { continue };
                if wrong == Wrong::NamesAnotherType && !matches!(right, Right::Raised(..)) {
                    continue;
                }
                let line = format!("\n  {}: ", shown(&case, family));
                assert!(found.contains(&line), "{family}: {} passes with {wrong:?}", case.name);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_spoils_the_next_one_is_found_after_each_case() {
    for family in ["python", "nodejs", "native"] {
        let found = found(family, Section::Calls, Wrong::SpoilsTheNextCall).await;
        let spoiling = cases().into_iter().filter(|case| case.name != "object");
        for case in spoiling.filter(|case| case.right(family).is_some()) {
            let line = format!("\n  the call after {}: ", shown(&case, family));
            assert!(found.contains(&line), "{family}: {} may spoil the next call", case.name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_section_finds_what_it_is_about() {
    for (section, wrong, words) in [
        (Section::Calls, Wrong::NamesNoInstance, "the instance is None"),
        (Section::Calls, Wrong::TracesEveryCallAlike, "trace, invoked"),
        (Section::Calls, Wrong::TracesEveryCallAlike, "trace, submitted"),
        (Section::Sources, Wrong::Succeeds, "bom"),
        (Section::Sources, Wrong::LosesDetails, "async_main"),
        (Section::Sources, Wrong::NamesAnotherType, "modules"),
        (Section::AtOnce, Wrong::MixesUpAnswers, "64 calls at once"),
        (Section::Idle, Wrong::StaysDead, "the call after dying while idle"),
        (Section::Endless, Wrong::EndsWithoutATimeout, "printing without end: not a timeout"),
        (Section::Endless, Wrong::LogsWithoutEnd, "bytes of log"),
        (Section::Endless, Wrong::StaysDead, "the call after printing without end"),
    ] {
        for family in ["python", "nodejs"] {
            assert_eq!(found(family, section, Wrong::Nothing).await, "", "{section:?} of {family}");
            let found = found(family, section, wrong).await;
            assert!(found.contains(words), "{section:?} of {family}, {wrong:?}: {found}");
        }
    }
}
