//! Makes the calls of a section, and compares.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{
    AsyncPlatform, Deployable, Deployment, FunctionError, FunctionErrorKind, Invocation, Payload,
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::cases::{Case, Right, cases};
use super::{Section, function, sources};
use crate::conformance::Harness;
use crate::conformance::run::tell;
use crate::conformance::subject::unthrottled;

/// How long one call may take. `forkserver` starts three interpreters.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a process that dies while it is idle is given for that.
const DEATH: Duration = Duration::from_millis(1500);

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
        return tell(&format!(
            "skipped on {}: {section:?} of {family}: it is not there",
            platform.name()
        ));
    };
    let is_exempt = |name: &str| {
        let name = format!("shim_{language}_{name}");
        let skip = harness.exempt(&name);
        if let Some(skip) = &skip {
            tell(&format!("skipped on {}: {name}: {skip}", platform.name()));
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
        Section::AtOnce | Section::Idle => {}
    }
    let wrong = suite.wrong.join("\n");
    assert!(wrong.is_empty(), "wrong in {family} on {}:\n{wrong}", platform.name());
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
        let invoked = unthrottled(|| self.platform.invoke(deployment, &invocation));
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
            let most = self.platform.capabilities().max_result.unwrap_or(u64::MAX);
            let most = usize::try_from(most.saturating_sub(MARGIN)).unwrap_or(usize::MAX);
            *length = most.min(*length);
            argument["length"] = json!(*length);
        }
        let shown = argument.to_string();
        let outcome = self.call(deployment, argument).await;
        self.compare(&shown, outcome, &right);
        self.innocent(deployment, &shown).await;
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
