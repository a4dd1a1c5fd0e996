//! The suite can fail: each case that is named here catches a platform that breaks its demand.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Capabilities, Collected, Deployable,
    Deployment, Environment, Error, ErrorKind, Invocation, Payload, Pending, Platform, Release,
    Result, RuntimeName, Scaling, async_trait,
};
use falco_testkit::conformance::{CASES, Fault, Harness, Skip};
use futures_util::FutureExt;

use crate::conformance::Memory;

/// How a platform breaks the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutation {
    None,
    KeepsOldCode,
    ForgetsOwners,
    RemovesTwice,
    CallsAbsenceAFailure,
    DropsEnvironment,
    KeepsTheTimeout,
    SwallowsUnicode,
    TakesAnyPayload,
    AnswersOneAtATime,
    ReportsWhatNobodyAskedFor,
    LosesWhatADroppedCollectHeld,
    CallsUnknownIdsGone,
    LosesOneInAThousand,
    TakesThrottlingForAFault,
    TellsASecret,
    SaysThatNothingRan,
}

struct Mutant {
    mutation: Mutation,
    inner: Arc<dyn AsyncPlatform>,
    one_at_a_time: tokio::sync::Mutex<()>,
    submitted: Mutex<Vec<Pending>>,
}

impl Mutant {
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
            _ => error,
        })
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
        self.inner.capabilities()
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        let mut function = function.clone();
        if self.is(Mutation::KeepsOldCode)
            && let Ok(there) = self.inner.fetch_deployment(&function.name).await
        {
            return Ok(there);
        }
        if self.is(Mutation::ForgetsOwners) {
            function.ownership = None;
        }
        if self.is(Mutation::DropsEnvironment) {
            function.settings.env = Environment::default();
        }
        self.changed(self.inner.deploy(&function).await)
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        self.changed(self.inner.fetch_deployment(name).await)
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        self.inner.list_deployments().await
    }

    async fn scale(&self, deployment: &Deployment, to: &Scaling) -> Result<Deployment> {
        let mut to = to.clone();
        if self.is(Mutation::KeepsTheTimeout) {
            to.timeout = None;
        }
        self.inner.scale(deployment, &to).await
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
        if self.is(Mutation::TakesAnyPayload) && invocation.payload().len() > 1_000_000 {
            return Ok(Activation::succeeded("a", Payload::empty()));
        }
        let result = self.inner.invoke(deployment, invocation).await;
        let mut activation = self.changed(result)?;
        if self.is(Mutation::SwallowsUnicode)
            && let Ok(result) = &mut activation.outcome
        {
            *result = Payload::from_bytes(result.as_str().replace(|c| !char::is_ascii(&c), "?"))?;
        }
        Ok(activation)
    }
}

#[async_trait]
impl AsyncPlatform for Mutant {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let pending = self.changed(self.inner.submit(deployment, invocation).await)?;
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
        let asked = match self.mutation {
            Mutation::ReportsWhatNobodyAskedFor => &all,
            _ => pending,
        };
        let mut collected = self.inner.collect(deployment, asked).await?;
        if self.is(Mutation::LosesWhatADroppedCollectHeld) {
            let held: Vec<_> = collected.finished.iter().map(|a| a.id.clone()).collect();
            self.inner.release(deployment, &held, Release::Taken);
            tokio::time::sleep(Duration::from_micros(1)).await;
        }
        if self.is(Mutation::CallsUnknownIdsGone) {
            let unknown = pending.iter().filter(|p| !all.contains(p));
            collected.gone.extend(unknown.map(|p| p.id.clone()));
        }
        Ok(collected)
    }

    fn release(&self, deployment: &Deployment, ids: &[ActivationId], release: Release) {
        if !self.is(Mutation::ReportsWhatNobodyAskedFor) {
            self.submitted.lock().unwrap().retain(|pending| !ids.contains(&pending.id));
        }
        self.inner.release(deployment, ids, release);
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        ids: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        self.inner.activation_log(deployment, ids).await
    }
}

/// The harness of the platform in memory, with a mutant in front.
struct Mutated {
    inner: Memory,
    mutation: Mutation,
}

impl Mutated {
    fn around(&self, inner: Arc<dyn AsyncPlatform>) -> Arc<dyn AsyncPlatform> {
        let (one_at_a_time, submitted) = (tokio::sync::Mutex::default(), Mutex::default());
        Arc::new(Mutant { mutation: self.mutation, inner, one_at_a_time, submitted })
    }
}

#[async_trait]
impl Harness for Mutated {
    async fn start() -> Self {
        Self { inner: Memory::start().await, mutation: Mutation::None }
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.around(self.inner.platform())
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        self.inner.runtimes()
    }

    async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        if fault == Fault::Silent && self.mutation == Mutation::SaysThatNothingRan {
            self.inner.refuse_everything(Error::new(ErrorKind::Unavailable, "no answer"));
            return Ok(self.around(self.inner.platform()));
        }
        Ok(self.around(self.inner.provoke(fault).await?))
    }

    fn secrets(&self) -> Vec<String> {
        vec!["marked-key".into()]
    }
}

/// Whether the platform passes the case.
async fn passes(name: &str, mutation: Mutation) -> bool {
    let case = CASES.iter().find(|case| case.name == name).unwrap();
    let mut mutated = Mutated::start().await;
    mutated.mutation = mutation;
    AssertUnwindSafe(case.run(Arc::new(mutated))).catch_unwind().await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn each_mutation_is_caught_by_its_case() {
    for (mutation, case) in [
        (Mutation::KeepsOldCode, "deploying_a_name_again_updates_it_in_place"),
        (Mutation::ForgetsOwners, "deployments_are_listed_with_their_owner"),
        (Mutation::RemovesTwice, "removing_twice_is_not_found"),
        (Mutation::CallsAbsenceAFailure, "an_unknown_name_is_not_found"),
        (Mutation::CallsAbsenceAFailure, "a_removed_function_is_gone"),
        (Mutation::DropsEnvironment, "environment_variables_reach_the_function"),
        (Mutation::KeepsTheTimeout, "a_scaled_timeout_is_in_force"),
        (Mutation::SwallowsUnicode, "nested_and_non_ascii_json_passes_unchanged"),
        (Mutation::SwallowsUnicode, "environment_variables_reach_the_function"),
        (Mutation::TakesAnyPayload, "a_payload_at_the_limit_is_taken"),
        (Mutation::TakesAnyPayload, "a_payload_over_the_limit_is_refused"),
        (Mutation::AnswersOneAtATime, "invocations_run_at_the_same_time"),
        (Mutation::ReportsWhatNobodyAskedFor, "collect_reports_only_what_was_asked_for"),
        (Mutation::LosesWhatADroppedCollectHeld, "a_dropped_collect_loses_nothing"),
        (Mutation::CallsUnknownIdsGone, "collecting_unknown_ids_is_no_news"),
        (Mutation::LosesOneInAThousand, "a_thousand_submissions_are_each_collected_exactly_once"),
        (Mutation::TakesThrottlingForAFault, "throttling_keeps_its_kind"),
        (Mutation::TellsASecret, "secrets_appear_nowhere"),
        (Mutation::SaysThatNothingRan, "a_peer_that_never_answers_can_be_left"),
    ] {
        assert!(passes(case, Mutation::None).await, "{case} passes without a mutation");
        assert!(!passes(case, mutation).await, "{case} has to catch {mutation:?}");
    }
}
