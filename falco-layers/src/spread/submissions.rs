//! The submissions that the parts have taken, to be asked for later.

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use falco_core::{
    ActivationId, ActivationLog, AsyncPlatform, Collected, Deployment, Error, Invocation,
    InvocationId, Pending, Platform, Release, Result, async_trait,
};

use super::asking::{Answer, answers};
use super::part::{Call, Member};
use super::parts::Parts;
use crate::several::{ASK_AGAIN, newest, sort_as_asked};

/// How long a part cannot be asked before what it has in flight goes to another, where that does no harm.
const LET_GO: Duration = Duration::from_secs(10);

impl Parts {
    pub(super) fn idempotent(&self) -> MutexGuard<'_, HashSet<ActivationId>> {
        self.idempotent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The activations in flight on a part that could not be asked for results, and that are waited for no longer.
    fn let_go(
        &self,
        member: &Member,
        held: &[(usize, Deployment)],
        own: &[Pending],
        error: &Error,
    ) -> Vec<(ActivationId, Error)> {
        if !error.is_unreachable() {
            return Vec::new();
        }
        let lasted = member.silence.could_not_be_asked();
        // In an outage of all parts, nobody could run it again: its result is worth waiting for.
        if lasted < LET_GO
            || held.iter().all(|(number, _)| self.members[*number].silence.is_silent())
        {
            return Vec::new();
        }
        let idempotent = self.idempotent();
        own.iter()
            .map(|pending| member.id(&pending.id))
            .filter(|id| lasted >= self.patience || idempotent.contains(id))
            .map(|id| (id, error.clone().with_may_have_run(true)))
            .collect()
    }

    /// Those of `ids` that belong to each part, without its name.
    fn by_part<'a, T>(
        &'a self,
        held: &'a [(usize, Deployment)],
        ids: &'a [T],
        id: impl Fn(&T) -> &ActivationId,
        own: impl Fn(&T, ActivationId) -> T,
    ) -> Vec<(&'a Member, &'a Deployment, Vec<T>)> {
        let of = |member: &Member| -> Vec<T> {
            let own = |it: &T| {
                let rest = id(it).as_str().strip_prefix(&member.name)?.strip_prefix('/')?;
                Some(own(it, rest.into()))
            };
            ids.iter().filter_map(own).collect()
        };
        held.iter()
            .map(|(number, deployment)| {
                let member = &self.members[*number];
                (member, deployment, of(member))
            })
            .filter(|(.., ids)| !ids.is_empty())
            .collect()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl AsyncPlatform for Parts {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let limit = self.capabilities().for_runtime(&deployment.runtime).max_submit_payload;
        self.check(deployment, invocation, "submit", limit)?;
        let call: Call<Pending> = |part, it, invocation| part.submit(it, invocation);
        let (member, pending) = self.send("submit", deployment, invocation, call).await?;
        let id = member.id(&pending.id);
        if invocation.is_idempotent() {
            self.idempotent().insert(id.clone());
        }
        Ok(Pending::new(id, pending.submitted_at))
    }

    /// Asks each part for its own. Those that do not answer soon, or cannot be asked, have no news, unless none can be asked;
    /// after a while, what they have in flight is gone, so that another part runs it where that does no harm.
    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        let held = self.held(deployment, "collect")?;
        let own = |pending: &Pending, id| Pending::new(id, pending.submitted_at);
        let parts = self.by_part(&held, pending, |pending| &pending.id, own);
        for (number, deployment) in held.iter() {
            let member = &self.members[*number];
            if !parts.iter().any(|(asked, ..)| asked.name == member.name) {
                member.questions.forget(deployment);
            }
        }
        let answers = answers(&parts).await;
        let are_all_heard = answers.len() == parts.len();
        let (mut all, mut failure, mut poll_after) = (None, None, Duration::MAX);
        for Answer { at, is_kept, answer } in answers {
            let (member, _, own) = &parts[at];
            member.silence.hear(&answer, |answer| !answer.is_from_memory);
            match answer {
                Ok(mut answer) => {
                    if is_kept {
                        let awaited: HashSet<_> = own.iter().map(|pending| &pending.id).collect();
                        answer.finished.retain(|it| awaited.contains(&it.id));
                        answer.gone.retain(|(id, _)| awaited.contains(id));
                    }
                    // A part that has answered for everything need not be asked again.
                    if answer.finished.len() + answer.gone.len() < own.len() {
                        poll_after = poll_after.min(answer.poll_after);
                    }
                    let all: &mut Collected =
                        all.get_or_insert_with(|| Collected::default().with_from_memory(true));
                    all.is_from_memory &= answer.is_from_memory;
                    all.finished
                        .extend(answer.finished.into_iter().map(|it| member.activation(it)));
                    let whole = |(id, why)| (member.id(&id), member.error(why));
                    all.gone.extend(answer.gone.into_iter().map(whole));
                }
                Err(error) => {
                    let error = member.error(error);
                    let gone = self.let_go(member, &held, own, &error);
                    // Nothing is left to ask it for.
                    if gone.len() < own.len() {
                        poll_after = poll_after.min(ASK_AGAIN);
                    }
                    if !gone.is_empty() {
                        let all: &mut Collected =
                            all.get_or_insert_with(|| Collected::default().with_from_memory(true));
                        all.gone.extend(gone);
                    }
                    failure = Some(error);
                }
            }
        }
        match (all, failure) {
            (None, Some(error)) if are_all_heard => Err(error),
            (all, _) => {
                // Nobody was asked where nothing belongs to any part.
                let mut all = all.unwrap_or_else(|| Collected::default().with_from_memory(true));
                all.poll_after =
                    if poll_after == Duration::MAX { Duration::ZERO } else { poll_after };
                Ok(all)
            }
        }
    }

    fn release(&self, deployment: &Deployment, activations: &[ActivationId], release: Release) {
        {
            let mut idempotent = self.idempotent();
            for id in activations {
                idempotent.remove(id);
            }
        }
        let Ok(held) = self.held(deployment, "release") else { return };
        for (member, deployment, own) in self.by_part(&held, activations, |id| id, |_, id| id) {
            member.platform.release(deployment, &own, release);
        }
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        let held = self.held(deployment, "activation_log")?;
        let mut logs = Vec::new();
        for (member, deployment, own) in self.by_part(&held, activations, |id| id, |_, id| id) {
            let found = member.platform.activation_log(deployment, &own).await;
            let found = found.map_err(|error| member.error(error))?;
            logs.extend(found.into_iter().map(|log| member.log(log)));
        }
        sort_as_asked(&mut logs, activations);
        Ok(logs)
    }

    async fn find_submitted(
        &self,
        deployment: &Deployment,
        in_doubt: &[Invocation],
    ) -> Result<Vec<(InvocationId, Pending)>> {
        let held = self.held(deployment, "find_submitted")?;
        let mut all = Vec::new();
        for (number, deployment) in held.iter() {
            let member = &self.members[*number];
            let found = member.platform.find_submitted(deployment, in_doubt).await;
            let found = found.map_err(|error| member.error(error))?;
            all.extend(found.into_iter().map(|(invocation, pending)| {
                (invocation, Pending::new(member.id(&pending.id), pending.submitted_at))
            }));
        }
        Ok(all)
    }

    async fn recent_logs(
        &self,
        deployment: &Deployment,
        since: SystemTime,
        most: usize,
    ) -> Result<Vec<ActivationLog>> {
        let held = self.held(deployment, "recent_logs")?;
        let mut all = Vec::new();
        for (number, deployment) in held.iter() {
            let member = &self.members[*number];
            let logs = member.platform.recent_logs(deployment, since, most).await;
            let logs = logs.map_err(|error| member.error(error))?;
            all.extend(logs.into_iter().map(|log| member.log(log)));
        }
        Ok(newest(all, most))
    }
}
