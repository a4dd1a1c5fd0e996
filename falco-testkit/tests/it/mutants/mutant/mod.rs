//! A platform that keeps every promise but one.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Capabilities, Code, Collected,
    Deployable, Deployment, Environment, Error, ErrorKind, FunctionErrorKind, Invocation,
    InvocationId, Payload, Pending, Platform, Release, Result, Scaling, async_trait,
};
use falco_testkit::fixture;
use tokio::time::sleep;

use super::mutation::Mutation;

pub(super) struct Mutant {
    mutation: Mutation,
    inner: Arc<dyn AsyncPlatform>,
    one_at_a_time: tokio::sync::Mutex<()>,
    submitted: Mutex<Vec<Pending>>,
    released: Mutex<Vec<Activation>>,
    just_deployed: AtomicBool,
    crashed: AtomicBool,
    /// The variables of every deployment so far.
    variables: Mutex<Environment>,
    /// Calls that have begun and not ended; a dropped one never does.
    open: AtomicU32,
}

impl Mutant {
    pub(super) fn new(mutation: Mutation, inner: Arc<dyn AsyncPlatform>) -> Self {
        Self {
            mutation,
            inner,
            one_at_a_time: tokio::sync::Mutex::default(),
            submitted: Mutex::default(),
            released: Mutex::default(),
            just_deployed: AtomicBool::new(false),
            crashed: AtomicBool::new(false),
            variables: Mutex::default(),
            open: AtomicU32::new(0),
        }
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == mutation
    }

    fn changed<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match (self.mutation, error.kind()) {
            (Mutation::CallsAbsenceAFailure, ErrorKind::NotFound) => {
                Error::new(ErrorKind::Unavailable, "nothing there")
            }
            (Mutation::TakesThrottlingForAFault, ErrorKind::Throttled) => {
                Error::new(ErrorKind::Unavailable, "429")
            }
            (Mutation::TakesARefusalForAFault, ErrorKind::Unauthorized) => {
                Error::new(ErrorKind::Unavailable, "401").with_hint("try again")
            }
            (Mutation::SaysThatALostCallDidNotRun, _) => error.with_may_have_run(false),
            (Mutation::TakesAnOutageForAFault, _) => error.with_unreachable(false),
            (Mutation::ListsNoRuntimes, ErrorKind::Unsupported) => {
                Error::unsupported("there is no such runtime")
            }
            (Mutation::TellsNoOperation, kind) => Error::new(kind, error.message()),
            _ => error,
        })
    }

    /// What comes of an activation, where the platform does not keep it as it is.
    fn altered(&self, mut activation: Activation) -> Result<Activation> {
        if let Ok(result) = &mut activation.outcome {
            match self.mutation {
                Mutation::SwallowsUnicode => {
                    let ascii = result.as_str().replace(|c| !char::is_ascii(&c), "?");
                    *result = Payload::from_bytes(ascii)?;
                }
                Mutation::CallsEmptyNull if result.as_str() == "{}" => {
                    *result = Payload::from_bytes("null")?;
                }
                _ => {}
            }
        }
        if let Err(error) = &mut activation.outcome {
            match (self.mutation, error.kind) {
                (Mutation::CallsBrokenCodeAFault, FunctionErrorKind::Initialization)
                | (Mutation::CallsRaisingAFault, FunctionErrorKind::Raised) => {
                    return Err(Error::new(ErrorKind::Unavailable, error.message.clone()));
                }
                (Mutation::CallsEverythingRaised, _) => error.kind = FunctionErrorKind::Raised,
                (Mutation::CallsTimeoutsCrashes, FunctionErrorKind::Timeout) => {
                    error.kind = FunctionErrorKind::Crashed;
                }
                (Mutation::TruncatesResults, FunctionErrorKind::BadResult) => {
                    activation.outcome = Ok(Payload::from_bytes("{\"value\":\"xx\"}")?);
                }
                (Mutation::StaysDeadAfterACrash, FunctionErrorKind::Crashed) => {
                    self.crashed.store(true, Ordering::Relaxed);
                }
                _ => {}
            }
        }
        match self.mutation {
            Mutation::GivesOneIdToAll => activation.id = "one".into(),
            Mutation::CallsEverythingCold => activation.cold_start = Some(true),
            Mutation::TellsTooShortATime => activation.execution = Some(Duration::from_millis(1)),
            _ => {}
        }
        Ok(activation)
    }

    /// Counts a call without a guard, as a platform does that unlocks at the end only.
    async fn enter(&self) -> Result<()> {
        if self.is(Mutation::LocksUpWhenDropped) {
            if self.open.load(Ordering::Relaxed) > 0 {
                return Err(Error::new(ErrorKind::Unavailable, "locked"));
            }
            self.open.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    fn leave(&self) {
        self.open.store(0, Ordering::Relaxed);
    }
}

/// Deploys a second after it was dropped, as a thread may that nobody has stopped.
struct LateDeploy(Option<(Arc<dyn AsyncPlatform>, Deployable)>);

impl Drop for LateDeploy {
    fn drop(&mut self) {
        if let Some((platform, function)) = self.0.take() {
            tokio::spawn(async move {
                sleep(Duration::from_secs(1)).await;
                let _ = platform.deploy(&function).await;
            });
        }
    }
}

impl fmt::Debug for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.is(Mutation::TellsASecret) { "marked-key" } else { "REDACTED" };
        f.debug_struct("Mutant").field("key", &key).finish()
    }
}

#[async_trait]
impl Platform for Mutant {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.inner.capabilities();
        capabilities.submit &= !self.is(Mutation::SubmitsInSecret);
        capabilities
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        let mut function = function.clone();
        match self.mutation {
            Mutation::KeepsOldCode => {
                if let Ok(there) = self.inner.fetch_deployment(&function.name).await {
                    return Ok(there);
                }
            }
            Mutation::ForgetsOwners => function.ownership = None,
            Mutation::DropsEnvironment => function.env = Environment::default(),
            Mutation::LeaksTheDriversEnvironment => {
                let variables = std::env::vars();
                variables.for_each(|(name, value)| function.env.set(name, value));
            }
            Mutation::KeepsOldVariables => {
                let mut old = self.variables.lock().unwrap();
                for (name, value) in function.env.iter() {
                    old.set(name, value);
                }
                function.env = old.clone();
            }
            Mutation::KeepsOldSizes => {
                if let Ok(there) = self.inner.fetch_deployment(&function.name).await {
                    function.scaling = there.scaling;
                }
            }
            Mutation::TagsInASecondRequest => {
                let mut untagged = function.clone();
                untagged.ownership = None;
                self.inner.deploy(&untagged).await?;
            }
            Mutation::CallsMain => function.entry_point = None,
            Mutation::TakesTheFirstModule if matches!(function.code, Code::Archive(_)) => {
                function.code = Code::Source(fixture::PYTHON.into());
            }
            Mutation::ReturnsBeforeTheCodeAnswers => {
                self.just_deployed.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
        let late = self
            .is(Mutation::AppliesADroppedDeployLate)
            .then(|| LateDeploy(Some((self.inner.clone(), function.clone()))));
        if let Some(mut late) = late {
            sleep(Duration::from_millis(30)).await;
            late.0 = None;
        }
        let deployed = self.inner.deploy(&function).await;
        let takes_it = deployed.as_ref().is_err_and(|error| match error.kind() {
            ErrorKind::InvalidInput => self.is(Mutation::DeploysAnything),
            ErrorKind::PayloadTooLarge => self.is(Mutation::TakesAnyLength),
            _ => false,
        });
        if takes_it {
            let name = function.name.as_str();
            return Ok(Deployment::new(name, function.runtime.clone()).with_platform(self.name()));
        }
        self.changed(deployed)
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        let mut fetched = self.changed(self.inner.fetch_deployment(name).await)?;
        if self.is(Mutation::FetchesAnotherId) {
            fetched.id.push('2');
        }
        Ok(fetched)
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        let mut listed = self.inner.list_deployments().await?;
        if self.is(Mutation::ListsTwice) {
            listed.extend(listed.clone());
        }
        if self.is(Mutation::ListsStrangers) {
            let runtime = "python:3".parse()?;
            listed.push(Deployment::new("stranger", runtime).with_platform(self.name()));
        }
        Ok(listed)
    }

    async fn scale(&self, deployment: &Deployment, to: &Scaling) -> Result<Deployment> {
        let mut to = to.clone();
        match self.mutation {
            Mutation::KeepsTheTimeout => to.timeout = None,
            Mutation::ScalesWhatIsNotNamed => {
                to.timeout.get_or_insert(Duration::from_secs(1));
            }
            _ => {}
        }
        match self.inner.scale(deployment, &to).await {
            Err(_) if self.is(Mutation::ScalesToAnything) => Ok(deployment.clone()),
            other => other,
        }
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        match self.inner.remove(deployment).await {
            Err(_) if self.is(Mutation::RemovesTwice) => Ok(()),
            other => self.changed(other),
        }
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let _turn = match self.mutation {
            Mutation::AnswersOneAtATime => Some(self.one_at_a_time.lock().await),
            _ => None,
        };
        let takes_any = match self.mutation {
            Mutation::TakesAnyPayload => invocation.payload().len() > 1_000_000,
            Mutation::TakesAnyArgument => !invocation.payload().is_object(),
            _ => false,
        };
        if takes_any {
            return Ok(Activation::succeeded("a", Payload::empty()));
        }
        if self.just_deployed.swap(false, Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::NotFound, "it is still starting"));
        }
        if self.crashed.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "the process has ended"));
        }
        self.enter().await?;
        let mut result = self.inner.invoke(deployment, invocation).await;
        self.leave();
        let is_throttled = |result: &Result<Activation>| {
            result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Throttled)
        };
        if self.is(Mutation::RepeatsThrottledCalls) && is_throttled(&result) {
            result = self.inner.invoke(deployment, invocation).await;
        }
        if self.is(Mutation::TellsNoOperationOfInvoke) {
            result = result.map_err(|error| Error::new(error.kind(), error.message()));
        }
        let args: serde_json::Value = invocation.payload().parse().unwrap_or_default();
        let mut activation = self.altered(self.changed(result)?)?;
        if self.is(Mutation::AnswersWithWhatIsPrinted) && args["stdout"].is_array() {
            activation.outcome = Ok(Payload::json(&serde_json::json!({"out": args["stdout"]}))?);
        }
        if self.is(Mutation::RunsOnAfterATimeout)
            && let Some(path) = args["path"].as_str()
        {
            std::fs::write(path, "").unwrap();
        }
        Ok(activation)
    }
}

#[async_trait]
impl AsyncPlatform for Mutant {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        self.enter().await?;
        let is_unique = invocation.is_unique() && !self.is(Mutation::RunsAnAttemptTwice);
        let invocation = &invocation.clone().with_unique(is_unique);
        let submission = self.inner.submit(deployment, invocation).await;
        self.leave();
        let pending = match self.changed(submission) {
            Err(_) if self.is(Mutation::TakesAnySubmission) => {
                return Ok(Pending::new("a", SystemTime::now()));
            }
            other => other?,
        };
        let mut submitted = self.submitted.lock().unwrap();
        submitted.push(pending.clone());
        if self.is(Mutation::LosesOneInAThousand) && submitted.len() == 700 {
            let lost = std::slice::from_ref(&pending.id);
            self.inner.release(deployment, lost, Release::Abandoned);
        }
        Ok(pending)
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        let all = self.submitted.lock().unwrap().clone();
        let own: Vec<_> = pending.iter().filter(|it| all.contains(it)).cloned().collect();
        let asked = match self.mutation {
            Mutation::ReportsWhatNobodyAskedFor => &all,
            Mutation::CollectsOnlyItsOwn => &own,
            _ => pending,
        };
        let mut collected = self.inner.collect(deployment, asked).await?;
        while self.is(Mutation::WaitsInCollect) && collected.finished.is_empty() {
            sleep(collected.poll_after).await;
            collected = self.inner.collect(deployment, asked).await?;
        }
        match self.mutation {
            Mutation::LosesWhatADroppedCollectHeld => {
                let held: Vec<_> = collected.finished.iter().map(|a| a.id.clone()).collect();
                self.inner.release(deployment, &held, Release::Taken);
                sleep(Duration::from_micros(1)).await;
            }
            Mutation::CallsUnknownIdsGone => {
                let unknown = pending.iter().filter(|p| !all.contains(p));
                let lost = || Error::new(ErrorKind::Lost, "unknown");
                collected.gone.extend(unknown.map(|p| (p.id.clone(), lost())));
            }
            Mutation::ForgetsResults => {
                for activation in &mut collected.finished {
                    activation.outcome = Ok(Payload::empty());
                }
            }
            Mutation::CallsFailuresSuccesses => {
                for activation in collected.finished.iter_mut().filter(|a| !a.is_success()) {
                    activation.outcome = Ok(Payload::empty());
                }
            }
            Mutation::ReportsTheReleased => {
                let mut released = self.released.lock().unwrap();
                let news = collected.finished.clone();
                collected.finished.extend(released.iter().cloned());
                released.extend(news);
            }
            Mutation::KeepsQuietAboutTheGone => collected.gone.clear(),
            Mutation::FailsOnDuplicates => {
                let mut ids: Vec<_> = collected.finished.iter().map(|a| &a.id).collect();
                ids.sort();
                if ids.windows(2).any(|pair| pair[0] == pair[1]) {
                    return Err(Error::new(ErrorKind::Protocol, "a result came twice"));
                }
            }
            _ => {}
        }
        Ok(collected)
    }

    fn release(&self, deployment: &Deployment, ids: &[ActivationId], release: Release) {
        let mut submitted = self.submitted.lock().unwrap();
        if self.is(Mutation::AbandonsAll) && release == Release::Abandoned {
            let all: Vec<_> = submitted.iter().map(|pending| pending.id.clone()).collect();
            self.inner.release(deployment, &all, release);
        }
        if !self.is(Mutation::ReportsWhatNobodyAskedFor) {
            submitted.retain(|pending| !ids.contains(&pending.id));
        }
        self.inner.release(deployment, ids, release);
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        ids: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        let mut logs = self.inner.activation_log(deployment, ids).await?;
        if self.is(Mutation::ReversesLogs) {
            logs.iter_mut().for_each(|log| log.lines.reverse());
        }
        Ok(logs)
    }

    async fn find_submitted(
        &self,
        deployment: &Deployment,
        in_doubt: &[Invocation],
    ) -> Result<Vec<(InvocationId, Pending)>> {
        let mut found = self.inner.find_submitted(deployment, in_doubt).await?;
        if self.is(Mutation::FindsWhatWasNeverSent) && found.is_empty() {
            let made_up = |it: &Invocation| (it.id().clone(), Pending::new("a", SystemTime::now()));
            found.extend(in_doubt.iter().map(made_up));
        }
        Ok(found)
    }
}
