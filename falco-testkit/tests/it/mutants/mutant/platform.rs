//! A mutant's treatment of functions and calls.

use std::sync::atomic::Ordering;
use std::time::Duration;

use falco_core::{
    Activation, Capabilities, Code, Deployable, Deployment, Environment, Error, ErrorKind,
    FunctionError, FunctionErrorKind, Invocation, Payload, Platform, Result, Scaling, async_trait,
};
use falco_testkit::fixture;
use tokio::time::{Instant, sleep};

use super::{LateDeploy, Mutant, is_in_doubt, is_throttled};
use crate::mutants::mutation::Mutation;

#[async_trait]
impl Platform for Mutant {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.inner.capabilities();
        let in_secret = [Mutation::SubmitsInSecret, Mutation::CollectsInSecret];
        capabilities.submit &= !in_secret.contains(&self.mutation);
        if self.is(Mutation::HidesLimitsOfRuntimes) {
            capabilities.runtime_limits.clear();
        }
        capabilities
    }

    async fn account(&self) -> Result<Option<String>> {
        if self.is(Mutation::NamesNoOperationOfTheAccount) {
            return Err(Error::new(ErrorKind::Unauthorized, "401").with_platform(self.name()));
        }
        self.inner.account().await
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
            Mutation::ForgetsExpiries => {
                if let Some(ownership) = &mut function.ownership {
                    ownership.expires_at += Duration::from_secs(86_400);
                }
            }
            Mutation::IgnoresImages => function.image = None,
            Mutation::SetsMoreVariables => function.env.set("FALCO_UNSET", "set"),
            Mutation::DropsEnvironment => function.env = Environment::default(),
            Mutation::TrimsVariables => {
                for (name, value) in std::mem::take(&mut function.env).iter() {
                    function.env.set(name, value.trim());
                }
            }
            Mutation::DropsArguments => function.arguments = None,
            Mutation::UploadsTheSameAgain => {
                let number = self.deploys.fetch_add(1, Ordering::Relaxed);
                function.env.set("FALCO_NUMBER", number.to_string());
            }
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
            Mutation::KeepsOldMemory => {
                if let Ok(there) = self.inner.fetch_deployment(&function.name).await {
                    function.scaling.memory_mib = there.scaling.memory_mib;
                }
            }
            Mutation::KeepsOldEntryPoint => {
                let there = self.inner.fetch_deployment(&function.name).await;
                function.entry_point = function.entry_point.filter(|_| there.is_err());
            }
            Mutation::ForgetsADroppedDeploy => {
                self.unfinished.lock().unwrap().insert(function.name.clone());
                self.inner.deploy(&function).await?;
                sleep(Duration::from_millis(30)).await;
                self.unfinished.lock().unwrap().remove(&function.name);
            }
            Mutation::AnswersWithWhatIsPrintedWhileLoading => {
                if let Code::Source(text) = &function.code
                    && text.contains("loaded")
                {
                    self.talkative.lock().unwrap().insert(function.name.clone());
                }
            }
            Mutation::KeepsOldSizes => {
                if let Ok(there) = self.inner.fetch_deployment(&function.name).await {
                    function.scaling = there.scaling;
                }
            }
            Mutation::RedeploysLate => {
                if let Ok(mut there) = self.inner.fetch_deployment(&function.name).await {
                    there.scaling = function.scaling.clone();
                    let inner = self.inner.clone();
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(100)).await;
                        let _ = inner.deploy(&function).await;
                    });
                    return Ok(there);
                }
            }
            Mutation::LetsStoredArgumentsWin => {
                *self.arguments.lock().unwrap() = function.arguments.clone();
            }
            Mutation::TagsInASecondRequest | Mutation::MarksInASecondRequest => {
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
            ErrorKind::InvalidInput => match &function.code {
                Code::Source(text) if text.trim().is_empty() => {
                    self.is(Mutation::DeploysAnything) || self.is(Mutation::DeploysBlankCode)
                }
                _ => self.is(Mutation::DeploysAnything) || self.is(Mutation::DeploysAnyName),
            },
            ErrorKind::PayloadTooLarge => {
                let is_node = function.runtime.family() == "nodejs";
                self.is(Mutation::TakesAnyLength)
                    || (is_node && self.is(Mutation::TakesAnyLengthInNode))
            }
            _ => false,
        });
        if takes_it {
            let name = function.name.as_str();
            return Ok(Deployment::new(name, function.runtime.clone()).with_platform(self.name()));
        }
        match self.mutation {
            Mutation::ServesOnlyWhatWasFetched => {
                deployed.map(|deployment| deployment.with_attribute("handle", "gone"))
            }
            _ => self.changed(deployed),
        }
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        let name = match self.mutation {
            // As a path does.
            Mutation::FollowsAName => name.rsplit('/').next().unwrap_or(name),
            _ => name,
        };
        let mut fetched = self.changed(self.inner.fetch_deployment(name).await)?;
        if self.is(Mutation::FetchesNoSizes) {
            fetched.scaling = Scaling::default();
        }
        if self.is(Mutation::FetchesAnotherId) {
            fetched.id.push('2');
        }
        Ok(fetched)
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        let mut listed = match self.inner.list_deployments().await {
            Err(error) if self.is(Mutation::NamesNoOperationOfListing) => {
                return Err(Error::new(error.kind(), error.message()));
            }
            listed => listed?,
        };
        if self.is(Mutation::ListsTwice) {
            listed.extend(listed.clone());
        }
        if self.is(Mutation::ListsTheRemoved) {
            listed.extend(self.removed.lock().unwrap().iter().cloned());
        }
        if self.is(Mutation::MarksInASecondRequest) {
            listed.retain(|deployment| deployment.ownership.is_some());
        }
        let unfinished = self.unfinished.lock().unwrap().clone();
        listed.retain(|deployment| !unfinished.contains(&deployment.name));
        if self.is(Mutation::ListsNoSizes) {
            listed.iter_mut().for_each(|deployment| deployment.scaling = Scaling::default());
        }
        if self.is(Mutation::ListsTheFirstPage) {
            listed.truncate(1);
        }
        if self.is(Mutation::ListsNothing) {
            listed.clear();
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
            Mutation::ScalesNothing => return Ok(deployment.clone()),
            Mutation::ScalesWhatIsNotNamed => {
                to.timeout.get_or_insert(Duration::from_secs(1));
            }
            _ => {}
        }
        match self.inner.scale(deployment, &to).await {
            Err(_) if self.is(Mutation::ScalesToAnything) => Ok(deployment.clone()),
            other => self.changed(other),
        }
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        self.removed.lock().unwrap().push(deployment.clone());
        *self.removed_at.lock().unwrap() = Some(Instant::now());
        if self.is(Mutation::RemovesNothing) {
            return Ok(());
        }
        if self.unfinished.lock().unwrap().contains(&deployment.name) {
            return self.changed(Err(Error::new(ErrorKind::NotFound, "it was never deployed")));
        }
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
        let limit = self.inner.capabilities().for_runtime(&deployment.runtime).max_payload;
        if self.is_at_the_limit(invocation, limit) {
            return Err(Error::new(ErrorKind::PayloadTooLarge, "it is too long"));
        }
        if deployment.attribute("handle").is_some() {
            return Err(Error::new(ErrorKind::NotFound, "the handle is gone"));
        }
        if self.just_deployed.swap(false, Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::NotFound, "it is still starting"));
        }
        if self.crashed.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "the process has ended"));
        }
        self.enter().await?;
        let alone = self
            .is(Mutation::TakesABatchForOneInput)
            .then(|| invocation.clone().with_members(Vec::new()));
        let overlaid = self.overlaid(invocation)?;
        let invocation = overlaid.as_ref().or(alone.as_ref()).unwrap_or(invocation);
        let mut result = self.inner.invoke(deployment, invocation).await;
        self.leave();
        if self.is(Mutation::RepeatsThrottledCalls) && is_throttled(&result) {
            result = self.inner.invoke(deployment, invocation).await;
        }
        if self.is(Mutation::RepeatsLostCalls) && is_in_doubt(&result) {
            result = self.inner.invoke(deployment, invocation).await;
        }
        if self.is(Mutation::NamesNoOperationOfInvoke) {
            result = result.map_err(|error| Error::new(error.kind(), error.message()));
        }
        let args: serde_json::Value = invocation.payload().parse().unwrap_or_default();
        let mut activation = self.altered(self.changed(result)?)?;
        if self.is(Mutation::AnswersWithWhatIsPrinted) && args["stdout"].is_array() {
            activation.outcome = Ok(Payload::json(&serde_json::json!({"out": args["stdout"]}))?);
        }
        let wrong = match (self.mutation, args["value"].as_str()) {
            (Mutation::AnswersWithWhatIsPrintedAsAnError, _) if args["stderr"].is_array() => {
                Some(serde_json::json!({"err": args["stderr"]}))
            }
            (Mutation::AnswersWithWhatIsPrintedWhileLoading, _)
                if self.talkative.lock().unwrap().remove(&deployment.name) =>
            {
                Some(serde_json::json!({"loaded": true}))
            }
            (Mutation::WritesNullForInfinity, Some("infinity")) => {
                Some(serde_json::json!({"value": null}))
            }
            (Mutation::ReplacesHalfOfAPair, Some("half_pair")) => {
                Some(serde_json::json!({"value": "\u{fffd}"}))
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            activation.outcome = Ok(Payload::json(&wrong)?);
        }
        if self.is(Mutation::FailsABatchWithOneOfItsInputs) && !invocation.members().is_empty() {
            let raised = FunctionError::new(FunctionErrorKind::Raised, "not this one");
            activation.outcome = Err(raised);
        }
        let is_node = deployment.runtime.family() == "nodejs";
        let runs_on = self.is(Mutation::RunsOnInNode) && is_node;
        if (runs_on || self.is(Mutation::RunsOnAfterATimeout))
            && let Some(path) = args["path"].as_str()
        {
            std::fs::write(path, "").unwrap();
        }
        Ok(activation)
    }
}

impl Mutant {
    /// The call with the stored arguments above its own.
    fn overlaid(&self, invocation: &Invocation) -> Result<Option<Invocation>> {
        let stored = self.arguments.lock().unwrap().clone();
        let Some(stored) = stored else { return Ok(None) };
        let mut arguments: serde_json::Map<_, _> = invocation.payload().parse()?;
        arguments.extend(stored.parse::<serde_json::Map<_, _>>()?);
        Ok(Some(invocation.clone().with_payload(Payload::json(&arguments)?)))
    }
}
