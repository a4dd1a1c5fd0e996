//! The platform under test, with what cases do to it again and again.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use falco_core::{
    Activation, ActivationId, AsyncPlatform, Capabilities, Deployable, Deployment, Error,
    ErrorKind, FunctionError, Invocation, Payload, Pending, Release, Result, RuntimeName,
};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::harness::{Fault, Harness, Skip};
use super::skips::skipped;

/// The platform under test in one case. It removes what the case has deployed.
pub(super) struct Subject {
    pub(super) harness: Arc<dyn Harness>,
    pub(super) platform: Arc<dyn AsyncPlatform>,
    pub(super) capabilities: Capabilities,
    /// The name of the case.
    case: &'static str,
    /// Keeps apart what runs at the same time in one account.
    token: String,
    /// The runtime of the function that was deployed or called last.
    last_runtime: Mutex<Option<RuntimeName>>,
    /// Whether runtimes that are exempt were named.
    named_exempt: AtomicBool,
    deployed: Mutex<Vec<Deployment>>,
    counter: AtomicU64,
}

impl Subject {
    pub(super) fn new(harness: Arc<dyn Harness>, case: &'static str) -> Self {
        let platform = harness.platform();
        let capabilities = platform.capabilities();
        let token = format!("{:08x}", fastrand::u32(..));
        Self {
            harness,
            platform,
            capabilities,
            case,
            token,
            last_runtime: Mutex::default(),
            named_exempt: AtomicBool::new(false),
            deployed: Mutex::default(),
            counter: AtomicU64::new(0),
        }
    }

    /// The runtime of the function that was deployed or called last.
    pub(super) fn last_runtime(&self) -> Option<RuntimeName> {
        self.last_runtime.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, runtime: &RuntimeName) {
        *self.last_runtime.lock().unwrap_or_else(PoisonError::into_inner) = Some(runtime.clone());
    }

    fn number(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A name that nothing else has.
    pub(super) fn name(&self) -> String {
        format!("conformance-{}-{}", self.token, self.number())
    }

    pub(super) fn secrets(&self) -> Vec<String> {
        self.harness.secrets()
    }

    pub(super) async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        self.harness.provoke(fault).await
    }

    /// Goes on only where submissions exist.
    pub(super) fn needs_submit(&self) -> Result<(), Skip> {
        if self.capabilities.submit { Ok(()) } else { Err(Skip::new("it cannot submit")) }
    }

    /// The runtimes to try, at least one. Those that the harness exempts are named once.
    pub(super) fn runtimes(&self) -> Result<Vec<RuntimeName>, Skip> {
        let is_first = !self.named_exempt.swap(true, Ordering::Relaxed);
        let (mut usable, mut last_skip) = (Vec::new(), None);
        for runtime in self.harness.runtimes() {
            if self.harness.fixture("f", &runtime).is_none() {
                continue;
            }
            match self.harness.exempt_runtime(self.case, &runtime) {
                None => usable.push(runtime),
                Some(skip) => {
                    if is_first {
                        let what = format!("{} in {runtime}", self.case);
                        skipped(&*self.harness, &what, &skip.to_string());
                    }
                    last_skip = Some(skip);
                }
            }
        }
        match (usable.is_empty(), last_skip) {
            (false, _) => Ok(usable),
            (true, Some(skip)) => Err(skip),
            (true, None) => Err(Skip::new("no runtime of the fixture is there")),
        }
    }

    /// The fixture under a new name, for the first runtime.
    pub(super) fn function(&self) -> Result<Deployable, Skip> {
        self.function_for(&self.runtimes()?[0])
    }

    pub(super) fn function_for(&self, runtime: &RuntimeName) -> Result<Deployable, Skip> {
        self.harness.fixture(&self.name(), runtime).ok_or_else(|| no_fixture(runtime))
    }

    /// The fixture for each runtime in which it is under a shim. An executable brings one along if it has entry points.
    pub(super) fn functions_with_shim(&self) -> Result<Vec<Deployable>, Skip> {
        let mut all = Vec::new();
        for runtime in self.runtimes()? {
            let function = self.function_for(&runtime)?;
            if runtime.family() != "native" || function.entry_point.is_some() {
                all.push(function);
            }
        }
        Ok(all)
    }

    /// Deploys the fixture for the first runtime.
    pub(super) async fn deployed(&self) -> Result<Deployment, Skip> {
        let function = self.function()?;
        Ok(self.deploy(&function).await)
    }

    /// Deploys the fixture for each runtime.
    pub(super) async fn deployed_in_each_runtime(&self) -> Result<Vec<Deployment>, Skip> {
        let mut all = Vec::new();
        for runtime in self.runtimes()? {
            let function = self.function_for(&runtime)?;
            all.push(self.deploy(&function).await);
        }
        Ok(all)
    }

    /// The first runtime, and each other one that has narrower limits of its own.
    pub(super) fn runtimes_of_different_limits(&self) -> Result<Vec<RuntimeName>, Skip> {
        let mut runtimes = self.runtimes()?;
        let others = runtimes.split_off(1).into_iter();
        let limits = &self.capabilities.runtime_limits;
        runtimes.extend(others.filter(|runtime| limits.contains_key(runtime.family())));
        Ok(runtimes)
    }

    /// Deploys the fixture for the first runtime, and for each other one that has narrower limits of its own.
    pub(super) async fn deployed_in_runtimes_of_different_limits(
        &self,
    ) -> Result<Vec<Deployment>, Skip> {
        let mut all = Vec::new();
        for runtime in self.runtimes_of_different_limits()? {
            let function = self.function_for(&runtime)?;
            all.push(self.deploy(&function).await);
        }
        Ok(all)
    }

    /// The capabilities for functions in the runtime of a deployment.
    pub(super) fn limits_of(&self, deployment: &Deployment) -> Capabilities {
        self.note(&deployment.runtime);
        self.capabilities.for_runtime(&deployment.runtime)
    }

    pub(super) async fn deploy(&self, function: &Deployable) -> Deployment {
        self.note(&function.runtime);
        let deployment = served("deploy", self.platform.deploy(function).await);
        self.will_remove(&deployment);
        deployment
    }

    /// Fails where an error does not name the platform, the trait's method and the function.
    #[track_caller]
    pub(super) fn says_where(&self, error: &Error, operation: &str, function: &str) {
        let shown = (error.platform(), error.operation(), error.function());
        let wanted = (Some(self.platform.name()), Some(operation), Some(function));
        assert_eq!(shown, wanted, "{error:?}");
    }

    /// Sees to it that a deployment is removed after the case.
    pub(super) fn will_remove(&self, deployment: &Deployment) {
        let mut deployed = self.deployed.lock().unwrap_or_else(PoisonError::into_inner);
        deployed.push(deployment.clone());
    }

    /// Removes what the case has deployed and not removed itself.
    pub(super) async fn clean_up(&self) {
        let deployed =
            std::mem::take(&mut *self.deployed.lock().unwrap_or_else(PoisonError::into_inner));
        let remove_all = async {
            for deployment in deployed {
                // Most cases have removed it already, or take their provider with them.
                let _ = self.platform.remove(&deployment).await;
            }
        };
        // A case may have made the provider silent.
        let _ = timeout(Duration::from_secs(5), remove_all).await;
    }

    /// An invocation of the fixture with these arguments.
    pub(super) fn invocation(&self, args: Value) -> Invocation {
        let payload = served("writing the arguments", Payload::json(&args));
        self.invocation_of(payload)
    }

    pub(super) fn invocation_of(&self, payload: Payload) -> Invocation {
        Invocation::new(self.token.as_str(), "conformance", self.number().to_string(), payload)
    }

    /// Invokes the fixture; the platform has to answer.
    pub(super) async fn call(&self, deployment: &Deployment, args: Value) -> Activation {
        self.note(&deployment.runtime);
        let invocation = self.invocation(args);
        served("invoke", self.platform.invoke(deployment, &invocation).await)
    }

    /// Invokes the fixture; it has to succeed.
    pub(super) async fn value(&self, deployment: &Deployment, args: Value) -> Value {
        value(&self.call(deployment, args).await)
    }

    /// Invokes the fixture; it has to fail.
    pub(super) async fn failure(&self, deployment: &Deployment, args: Value) -> FunctionError {
        match self.call(deployment, args).await.outcome {
            Err(error) => error,
            Ok(result) => panic!("the function has to fail, and it returned {result:?}"),
        }
    }

    /// Submits an invocation of the fixture; waits where the platform says that it is full.
    pub(super) async fn submit(&self, deployment: &Deployment, args: Value) -> Pending {
        self.note(&deployment.runtime);
        let invocation = self.invocation(args);
        let submit = || self.platform.submit(deployment, &invocation);
        served("submit", unthrottled(submit).await)
    }

    /// Collects until all of `pending` are there, releases them, and gives them in the order asked.
    pub(super) async fn collect(
        &self,
        deployment: &Deployment,
        pending: &[Pending],
    ) -> Vec<Activation> {
        let mut found: Vec<Option<Activation>> = pending.iter().map(|_| None).collect();
        while let Some(missing) = missing(pending, &found) {
            let collected = served("collect", self.platform.collect(deployment, &missing).await);
            assert!(collected.gone.is_empty(), "nothing is gone, but {:?}", collected.gone);
            for activation in collected.finished {
                let place = pending.iter().position(|p| p.id == activation.id);
                let place = place.unwrap_or_else(|| panic!("nobody asked for {activation:?}"));
                found[place] = Some(activation);
            }
            if found.iter().any(Option::is_none) {
                sleep(collected.poll_after.max(Duration::from_millis(1))).await;
            }
        }
        self.platform.release(deployment, &ids(pending), Release::Taken);
        found.into_iter().flatten().collect()
    }
}

fn missing(pending: &[Pending], found: &[Option<Activation>]) -> Option<Vec<Pending>> {
    let missing: Vec<_> = pending
        .iter()
        .zip(found)
        .filter(|(_, found)| found.is_none())
        .map(|(pending, _)| pending.clone())
        .collect();
    (!missing.is_empty()).then_some(missing)
}

pub(super) fn ids(pending: &[Pending]) -> Vec<ActivationId> {
    pending.iter().map(|pending| pending.id.clone()).collect()
}

/// The platform's answer, where it has to answer.
#[track_caller]
pub(super) fn served<T>(what: &str, result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what} has to work: {error}"),
    }
}

/// The error of a call that has to fail.
#[track_caller]
pub(super) fn refused<T: std::fmt::Debug>(what: &str, result: Result<T>) -> Error {
    match result {
        Ok(value) => panic!("{what} has to fail, and it gave {value:?}"),
        Err(error) => error,
    }
}

/// The error of a call that has to fail in one of these ways.
#[track_caller]
pub(super) fn refused_as<T>(what: &str, result: Result<T>, kinds: &[ErrorKind]) -> Error
where
    T: std::fmt::Debug,
{
    let error = refused(what, result);
    let kind = error.kind();
    assert!(
        kinds.contains(&kind),
        "{what} has to fail as {kinds:?}, and failed as {kind:?}: {error}"
    );
    error
}

/// The result of a function that has to succeed.
#[track_caller]
pub(super) fn value(activation: &Activation) -> Value {
    match &activation.outcome {
        Ok(result) => served("reading the result", result.parse()),
        Err(error) => panic!("the function has to succeed: {error}\n{:?}", error.trace),
    }
}

/// Repeats a call for as long as the platform throttles it: platforms do not retry.
pub(crate) async fn unthrottled<T, F>(mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    loop {
        match call().await {
            Err(error) if error.kind() == ErrorKind::Throttled => {
                sleep(error.retry_after().unwrap_or(Duration::from_millis(20))).await;
            }
            other => return other,
        }
    }
}

pub(super) fn no_fixture(runtime: &RuntimeName) -> Skip {
    Skip::new(format!("there is no fixture for {runtime}"))
}
