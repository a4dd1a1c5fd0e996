//! A mutant's treatment of submissions and logs.

use std::time::{Duration, SystemTime};

use falco_core::{
    ActivationId, ActivationLog, AsyncPlatform, Collected, Deployment, Error, ErrorKind,
    FunctionErrorKind, Invocation, InvocationId, Payload, Pending, Release, Result, async_trait,
};
use tokio::time::sleep;

use super::{Mutant, is_in_doubt, is_throttled};
use crate::mutants::mutation::Mutation;

#[async_trait]
impl AsyncPlatform for Mutant {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let limit = self.inner.capabilities().for_runtime(&deployment.runtime).max_submit_payload;
        if self.is_at_the_limit(invocation, limit) {
            return Err(Error::new(ErrorKind::PayloadTooLarge, "it is too long"));
        }
        if self.is(Mutation::CollectsInSecret) {
            let error = Error::unsupported("it cannot submit").with_platform(self.inner.name());
            return Err(error.with_operation("submit").with_function(&*deployment.name));
        }
        if self.is(Mutation::SubmitsAnyArgument) && !invocation.payload().is_object() {
            return Ok(Pending::new("a", SystemTime::now()));
        }
        self.enter().await?;
        let is_unique = invocation.is_unique() && !self.is(Mutation::RunsAnAttemptTwice);
        let invocation = &match self.mutation {
            Mutation::TakesEachAttemptForTheFirst => invocation.clone().with_attempt(1),
            _ => invocation.clone().with_unique(is_unique),
        };
        let mut submission = self.inner.submit(deployment, invocation).await;
        self.leave();
        if self.is(Mutation::RepeatsThrottledSubmissions) && is_throttled(&submission) {
            submission = self.inner.submit(deployment, invocation).await;
        }
        if self.is(Mutation::RepeatsLostSubmissions) && is_in_doubt(&submission) {
            submission = self.inner.submit(deployment, invocation).await;
        }
        if self.is(Mutation::SaysThatNoSubmissionRan) {
            submission = submission.map_err(|error| error.with_may_have_run(false));
        }
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
            Mutation::FailsOnUnknownIds if pending.iter().any(|p| !all.contains(p)) => {
                return Err(Error::new(ErrorKind::NotFound, "there is no such activation"));
            }
            Mutation::MixesUpAnswers | Mutation::LosesTheWords => {
                for activation in &mut collected.finished {
                    *activation = self.altered(activation.clone())?;
                }
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
            Mutation::CallsSubmittedTimeoutsCrashes => {
                for activation in &mut collected.finished {
                    if let Err(error) = &mut activation.outcome {
                        error.kind = FunctionErrorKind::Crashed;
                    }
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
            Mutation::LosesWhatWasNotAskedFor => {
                let others = all.iter().filter(|it| !pending.contains(it));
                let others: Vec<_> = others.map(|pending| pending.id.clone()).collect();
                self.inner.release(deployment, &others, Release::Taken);
            }
            Mutation::KeepsQuietAboutTheGone => collected.gone.clear(),
            Mutation::NamesNoOperationOfTheGone => {
                for (_, error) in &mut collected.gone {
                    *error = Error::new(error.kind(), error.message());
                }
            }
            Mutation::CollectsUnderAnotherId => {
                for activation in &mut collected.finished {
                    activation.id = "another".into();
                }
            }
            Mutation::AsksToCollectAtOnce => collected.poll_after = Duration::ZERO,
            Mutation::ChangesDuplicates => {
                for activation in collected.finished.iter_mut().skip(1) {
                    activation.outcome = Ok(Payload::empty());
                }
            }
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
        if self.is(Mutation::LogsWhatOthersPrinted) {
            let mut first = self.first_log.lock().unwrap();
            if let Some(log) = logs.iter().find(|log| !log.lines.is_empty()) {
                first.get_or_insert_with(|| log.clone());
            }
            if let Some(first) = &*first {
                let log = |id: &ActivationId| ActivationLog::new(id.clone(), first.lines.clone());
                logs = ids.iter().map(log).collect();
            }
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

    async fn recent_logs(
        &self,
        deployment: &Deployment,
        since: SystemTime,
        most: usize,
    ) -> Result<Vec<ActivationLog>> {
        let logs = self.inner.recent_logs(deployment, since, most).await;
        match logs {
            Err(error) if self.is(Mutation::NamesNoOperationOfRecentLogs) => {
                Err(Error::new(error.kind(), error.message()))
            }
            logs => logs,
        }
    }
}
