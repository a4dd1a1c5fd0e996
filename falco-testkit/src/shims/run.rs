//! Makes the calls of a section, and compares.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{
    Activation, AsyncPlatform, Deployable, Deployment, FunctionError, FunctionErrorKind,
    Invocation, Payload, Scaling,
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::cases::{Case, Right, cases};
use super::{Section, function, sources};
use crate::conformance::Harness;
use crate::conformance::skips::skipped;
use crate::conformance::subject::unthrottled;

/// How long one call may take. `forkserver` starts three interpreters.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a process that dies while it is idle is given for that.
const DEATH: Duration = Duration::from_millis(1500);

/// The timeout of a function that prints until then.
const PRINTING: Duration = Duration::from_secs(2);

/// The longest log that such a call may leave, in bytes.
const LONGEST_LOG: usize = 32 << 20;

/// Room for what a provider puts around a result.
const MARGIN: u64 = 64 * 1024;

/// Runs a section in the harness's runtime of this family: what [`shim_tests!`](crate::shim_tests) expands to.
///
/// # Panics
///
/// With the list of all outcomes that are not right.
pub async fn check<H: Harness>(family: &str, section: Section) {
    let harness = H::start().await;
    let platform = harness.platform();
    let raised = if family == "nodejs" { "RangeError" } else { "ValueError" };
    let language = if family == "nodejs" { "node" } else { family };
    let Some(runtime) = harness.runtimes().into_iter().find(|one| one.family() == family) else {
        return skipped(&harness, &format!("{section:?} of {family}"), "it is not there");
    };
    let is_exempt = |name: &str| {
        let name = format!("shim_{language}_{name}");
        let skip = harness.exempt(&name);
        if let Some(skip) = &skip {
            skipped(&harness, &name, &skip.to_string());
        }
        skip.is_some()
    };
    let mut suite = Suite { platform: platform.clone(), family, wrong: Vec::new(), calls: 0 };
    match section {
        Section::Calls => {
            let deployment = suite.deploy(function("shims", &runtime)).await;
            let wanted = cases().into_iter().filter(|case| case.right(family).is_some());
            for case in wanted.filter(|case| !is_exempt(case.name)) {
                suite.case(&deployment, &case).await;
            }
            if !is_exempt("instance") {
                suite.instance(&deployment).await;
            }
            if !is_exempt("trace") {
                suite.trace(&deployment).await;
            }
            suite.remove(&deployment).await;
        }
        Section::Sources => {
            for (name, function) in sources(&runtime) {
                if is_exempt(name) {
                    continue;
                }
                let deployment = suite.deploy(Some(function)).await;
                for (argument, right) in [
                    (json!({}), Right::Value(json!({"n": 1}))),
                    (json!({"raise": true}), Right::Raised(Some(raised), "raised", "main")),
                    (json!({}), Right::Value(json!({"n": 1}))),
                ] {
                    let outcome = suite.call(&deployment, argument).await;
                    suite.compare(name, outcome, &right);
                }
                suite.remove(&deployment).await;
            }
        }
        Section::AtOnce if !is_exempt("at_once") => {
            let deployment = suite.deploy(function("shims", &runtime)).await;
            for calls in [1_u64, 2, 16, 64] {
                let all =
                    (0..calls).map(|n| suite.one(&deployment, json!({"case": "slow", "n": n}), n));
                for (n, outcome) in join_all(all).await.into_iter().enumerate() {
                    let name = format!("{calls} calls at once");
                    suite.compare(&name, outcome, &Right::Value(json!({ "n": n })));
                }
            }
            suite.remove(&deployment).await;
        }
        Section::Idle if !is_exempt("idle") => {
            let deployment = suite.deploy(function("shims", &runtime)).await;
            for _ in 0..2 {
                let outcome = suite.call(&deployment, json!({"case": "die_later"})).await;
                suite.compare("die_later", outcome, &Right::Value(json!({})));
                sleep(DEATH).await;
                suite.innocent(&deployment, "dying while idle").await;
            }
            suite.remove(&deployment).await;
        }
        Section::Endless if !is_exempt("endless") => {
            let function = function("shims", &runtime)
                .map(|function| function.with_scaling(Scaling::default().with_timeout(PRINTING)));
            let deployment = suite.deploy(function).await;
            suite.endless(&deployment).await;
            suite.innocent(&deployment, "printing without end").await;
            suite.remove(&deployment).await;
        }
        Section::AtOnce | Section::Idle | Section::Endless => {}
    }
    let wrong = suite.wrong.join("\n");
    let (platform, name) = (platform.name(), harness.name());
    assert!(wrong.is_empty(), "wrong in {family} on {platform} ({name}):\n{wrong}");
}

struct Suite<'a> {
    platform: Arc<dyn AsyncPlatform>,
    family: &'a str,
    wrong: Vec<String>,
    calls: u64,
}

type Outcome = Result<Result<Payload, FunctionError>, String>;

impl Suite<'_> {
    async fn deploy(&self, function: Option<Deployable>) -> Deployment {
        let Some(function) = function else {
            panic!("the suite has no function for {}", self.family)
        };
        let name = format!("shims-{:08x}", fastrand::u32(..));
        match self.platform.deploy(&function.with_name(name)).await {
            Ok(deployment) => deployment,
            Err(error) => panic!("the suite's function has to be deployed: {error}"),
        }
    }

    async fn remove(&self, deployment: &Deployment) {
        if let Err(error) = self.platform.remove(deployment).await {
            panic!("the suite's function has to be removed: {error}");
        }
    }

    /// One call. The platform itself must not fail.
    async fn one(&self, deployment: &Deployment, argument: Value, number: u64) -> Outcome {
        let payload = Payload::json(&argument).map_err(|error| error.to_string())?;
        let invocation = Invocation::new("shims", self.family, number.to_string(), payload);
        self.one_invocation(deployment, &invocation).await
    }

    async fn one_invocation(&self, deployment: &Deployment, invocation: &Invocation) -> Outcome {
        let invoked = unthrottled(|| self.platform.invoke(deployment, invocation));
        match timeout(PATIENCE, invoked).await {
            Ok(Ok(activation)) => Ok(activation.outcome),
            Ok(Err(error)) => Err(format!("the platform failed: {error}")),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        }
    }

    async fn call(&mut self, deployment: &Deployment, argument: Value) -> Outcome {
        self.calls += 1;
        self.one(deployment, argument, self.calls).await
    }

    async fn case(&mut self, deployment: &Deployment, case: &Case) {
        let Some(right) = case.right(self.family) else { return };
        let (mut argument, mut right) = (case.argument.clone(), right.clone());
        if let Right::Length(length) = &mut right {
            let limits = self.platform.capabilities().for_runtime(&deployment.runtime);
            let most = limits.max_result.unwrap_or(u64::MAX);
            let most = usize::try_from(most.saturating_sub(MARGIN)).unwrap_or(usize::MAX);
            *length = most.min(*length);
            argument["length"] = json!(*length);
        }
        let shown = argument.to_string();
        let outcome = self.call(deployment, argument).await;
        self.compare(&shown, outcome, &right);
        self.innocent(deployment, &shown).await;
    }

    /// The platform says where a call has run, and since when that instance is there; two calls one after the other may
    /// share it. The first call of an instance says what the function runs under.
    async fn instance(&mut self, deployment: &Deployment) {
        let argument = Payload::json(&json!({"case": "object"}));
        let Ok(argument) = argument else { return };
        let invocation = Invocation::new("shims", self.family, "instance", argument);
        match unthrottled(|| self.platform.invoke(deployment, &invocation)).await {
            Ok(activation) => {
                let Activation { container, booted_at, started_at, ended_at, .. } = activation;
                let is_ordered = booted_at <= started_at && started_at <= ended_at;
                if container.is_none() || booted_at.is_none() || !is_ordered {
                    let times = [booted_at, started_at, ended_at];
                    self.wrong
                        .push(format!("  the instance is {container:?}, its times {times:?}"));
                }
            }
            Err(error) => self.wrong.push(format!("  the platform failed: {error}")),
        }
    }

    /// A call that prints until its timeout ends it.
    async fn endless(&mut self, deployment: &Deployment) {
        let argument = Payload::json(&json!({"case": "print_endlessly"}));
        let Ok(argument) = argument else { return };
        self.calls += 1;
        let number = self.calls.to_string();
        let invocation = Invocation::new("shims", self.family, number, argument);
        let invoked = unthrottled(|| self.platform.invoke(deployment, &invocation));
        let activation = match timeout(PATIENCE, invoked).await {
            Ok(Ok(activation)) => activation,
            Ok(Err(error)) => {
                return self.wrong.push(format!("  printing without end: {error}"));
            }
            Err(_) => {
                return self.wrong.push(format!("  printing without end: nothing in {PATIENCE:?}"));
            }
        };
        let is_timeout = |error: &FunctionError| error.kind == FunctionErrorKind::Timeout;
        if !activation.outcome.as_ref().is_err_and(is_timeout) {
            let shown = shown(&activation.outcome);
            self.wrong.push(format!("  printing without end: not a timeout: {shown}"));
        }
        if !self.platform.capabilities().logs {
            return;
        }
        match self.platform.activation_log(deployment, &[activation.id]).await {
            Ok(logs) => {
                let lines = logs.iter().flat_map(|log| &log.lines);
                let length: usize = lines.map(|line| line.text.len()).sum();
                if length > LONGEST_LOG {
                    self.wrong.push(format!("  printing without end: {length} bytes of log"));
                }
            }
            Err(error) => self.wrong.push(format!("  the log of printing without end: {error}")),
        }
    }

    /// The function sees the trace context of its attempt, called both ways; it sees another in the next call.
    async fn trace(&mut self, deployment: &Deployment) {
        let argument = Payload::json(&json!({"case": "trace"})).map_err(|error| error.to_string());
        let Ok(argument) = argument else { return };
        for number in 0..2 {
            let invocation =
                Invocation::new("shims", self.family, format!("trace-{number}"), argument.clone());
            let right = Right::Value(json!({"trace": invocation.trace_context().to_string()}));
            let invoked = self.one_invocation(deployment, &invocation).await;
            self.compare("trace, invoked", invoked, &right);
            if self.platform.capabilities().submit {
                let submitted = self.submitted(deployment, &invocation).await;
                self.compare("trace, submitted", submitted, &right);
            }
        }
    }

    async fn submitted(&self, deployment: &Deployment, invocation: &Invocation) -> Outcome {
        let text = |error: falco_core::Error| format!("the platform failed: {error}");
        let pending = self.platform.submit(deployment, invocation).await.map_err(text)?;
        let collected = async {
            loop {
                let pending = std::slice::from_ref(&pending);
                let collected = self.platform.collect(deployment, pending).await.map_err(text)?;
                if let Some((_, error)) = collected.gone.into_iter().next() {
                    return Err(text(error));
                }
                if let Some(activation) = collected.finished.into_iter().next() {
                    return Ok(activation.outcome);
                }
                sleep(collected.poll_after).await;
            }
        };
        let late = |_| Err(format!("no answer within {PATIENCE:?}"));
        timeout(PATIENCE, collected).await.unwrap_or_else(late)
    }

    /// A call that has to succeed whatever was called before.
    async fn innocent(&mut self, deployment: &Deployment, before: &str) {
        let Some(case) = cases().into_iter().find(|case| case.name == "object") else { return };
        let Some(right) = case.right(self.family) else { return };
        let outcome = self.call(deployment, case.argument.clone()).await;
        self.compare(&format!("the call after {before}"), outcome, right);
    }

    fn compare(&mut self, what: &str, outcome: Outcome, right: &Right) {
        let said = match outcome {
            Ok(outcome) => match difference(&outcome, right) {
                Some(difference) => format!("{difference}: {}", shown(&outcome)),
                None => return,
            },
            Err(error) => error,
        };
        self.wrong.push(format!("  {what}: {said}"));
    }
}

/// How an outcome differs from the right one.
fn difference(outcome: &Result<Payload, FunctionError>, right: &Right) -> Option<String> {
    let is_right = match (outcome, right) {
        (Ok(result), Right::Value(value)) => {
            result.parse::<Value>().is_ok_and(|result| result == *value)
        }
        (Ok(result), Right::Text(text)) => result.as_str().contains(text),
        (Ok(result), Right::Length(length)) => result
            .parse::<Value>()
            .is_ok_and(|result| result["value"].as_str().is_some_and(|text| text.len() == *length)),
        (Err(error), Right::Raised(kind, message, trace)) => {
            error.kind == FunctionErrorKind::Raised
                && error.error_type.as_deref() == *kind
                && error.message.contains(message)
                && error.trace.as_deref().unwrap_or_default().contains(trace)
        }
        (Err(error), Right::BadResult(message)) => {
            error.kind == FunctionErrorKind::BadResult && error.message.contains(message)
        }
        (Err(error), Right::Crashed) => error.kind == FunctionErrorKind::Crashed,
        _ => false,
    };
    (!is_right).then(|| format!("not {right:?}"))
}

fn shown(outcome: &Result<Payload, FunctionError>) -> String {
    match outcome {
        Ok(result) => format!("{result:?}"),
        Err(error) => {
            let (kind, name) = (error.kind, &error.error_type);
            format!("{kind:?} of type {name:?}: {} {:?}", error.message, error.trace)
        }
    }
}
