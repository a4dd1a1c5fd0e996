//! The monitor that records the events of a run.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::SystemTime;

use falco_core::{
    Activation, AsyncPlatform, Completion, Error, Event, ExecutionPlan, Invocation, Journal,
    Monitor, Outcome, Platform, Recalled, Result, RunId, UsDollars, Verdict as Stop, async_trait,
};

use crate::blobs::{self, Blob, LONGEST_INLINE};
use crate::clock::{micros, now};
use crate::config::Durability;
use crate::index::key;
use crate::intents::JournaledPart;
use crate::journal::{RunJournal, Stage};
use crate::layer::Journaled;
use crate::plan::{compare, planned};
use crate::record::{Argument, Completed, Finished, StageBegun, StageEnded, Verdict, kind};

impl Monitor for RunJournal {
    fn event(&self, event: &Event<'_>) -> Stop {
        let recorded = match event {
            Event::StageStarted { stage, deployment } => {
                let (name, deployment) = ((*stage).clone(), deployment.name.clone());
                let begun = StageBegun { s: self.begin_stage(stage), name, deployment };
                self.log.append(kind::STAGE, &begun).map(drop)
            }
            Event::Answered { invocation, activation } if !activation.is_success() => {
                self.answered(invocation, activation)
            }
            Event::Completed { completion } => self.completed(completion),
            Event::StageFinished { stage, error } => {
                let e = error.map(ToString::to_string);
                self.log
                    .append(kind::STAGE_ENDED, &StageEnded { s: self.stage(stage), e })
                    .map(drop)
            }
            Event::RunFinished { error, .. } => {
                let e = error.map(ToString::to_string);
                let finished = Finished { at: now(), e, suspended: self.is_suspended() };
                self.log.append(kind::FINISHED, &finished).map(drop)
            }
            _ => self.log.failure().map_or(Ok(()), Err),
        };
        if recorded.is_ok() { Stop::Continue } else { Stop::Stop }
    }
}

#[async_trait]
impl Journal for RunJournal {
    fn run(&self) -> &RunId {
        &self.run
    }

    fn is_resumed(&self) -> bool {
        self.replay.processes > 0
    }

    fn begin(
        &self,
        plan: &ExecutionPlan,
        platform: &dyn Platform,
        account: Option<&str>,
    ) -> Result<()> {
        for name in &self.options.accepted {
            if plan.stage(name.as_str()).is_none() {
                let message =
                    format!("the plan has no stage {name:?} whose changes could be accepted");
                return Err(Error::invalid_input(message));
            }
        }
        let then = self.replay.plan.as_ref();
        // What was known of the account stays known.
        let account = account.or_else(|| then?.account.as_deref());
        let (numbers, next) = (&self.replay.stages, self.replay.next_stage());
        let now = planned(plan, platform.name(), account, numbers, next);
        if let Some(then) = then {
            let results_of = |stage| self.replay.successes_of(&self.reader, stage);
            let accepted = &self.options.accepted;
            for stage in compare(self.run.as_str(), then, &now, accepted, results_of)? {
                tracing::warn!(%stage, "a recorded stage is not in the plan any more: its results are not used");
            }
        }
        if then != Some(&now) {
            self.log.append(kind::PLAN, &now)?;
        }
        if self.durability == Durability::Machine {
            self.log.sync()?;
        }
        let mut state = self.state();
        for stage in now.stages {
            state.next_stage = state.next_stage.max(stage.s + 1);
            let pure = stage.pure.then(|| stage.function.identity().into());
            state.stages.insert(stage.name, Stage { number: stage.s, executions: 0, pure });
        }
        Ok(())
    }

    fn recall(&self, invocation: &Invocation) -> Result<Recalled> {
        self.recalled(invocation)
    }

    fn layer(self: Arc<Self>, platform: Arc<dyn AsyncPlatform>) -> Arc<dyn AsyncPlatform> {
        match self.is_layered.swap(true, SeqCst) {
            true => platform,
            false => Arc::new(Journaled::new(self, platform, false)),
        }
    }

    fn layer_over_parts(
        self: Arc<Self>,
        platform: Arc<dyn AsyncPlatform>,
    ) -> Arc<dyn AsyncPlatform> {
        match self.is_layered.swap(true, SeqCst) {
            true => platform,
            false => Arc::new(Journaled::new(self, platform, true)),
        }
    }

    fn part_layer(self: Arc<Self>, platform: Arc<dyn AsyncPlatform>) -> Arc<dyn AsyncPlatform> {
        Arc::new(JournaledPart::new(self, platform))
    }

    async fn flush(&self) -> Result<()> {
        let end = self.log.end();
        self.durable(end).await?;
        // Functions that are kept do not take the provider's copies with them.
        self.releases.forward(&self.log);
        self.log.failure().map_or(Ok(()), Err)
    }

    fn suspend(&self) {
        self.is_suspended.store(true, SeqCst);
    }

    fn failure(&self) -> Option<Error> {
        self.log.failure()
    }
}

impl RunJournal {
    /// Records a failure that another attempt may follow: a process that ends before must not collect it again.
    fn answered(&self, invocation: &Invocation, activation: &Activation) -> Result<()> {
        let requested_at = micros(activation.started_at.unwrap_or_else(SystemTime::now));
        let (stage, id) = (self.stage(invocation.stage()), invocation.id().clone());
        let mut record = Completed {
            n: invocation.attempt(),
            o: Verdict::FunctionFailed,
            q: self.log.since_base(requested_at),
            g: true,
            ..Completed::new(stage, id, Argument::of(invocation.payload()))
        };
        record.add(activation, requested_at, false);
        self.log.append(kind::COMPLETED, &record).map(drop)
    }

    fn completed(&self, completion: &Completion) -> Result<()> {
        let (verdict, activation, error) = match &completion.outcome {
            Outcome::Succeeded(activation) => (Verdict::Succeeded, Some(activation), None),
            Outcome::FunctionFailed(activation) => {
                (Verdict::FunctionFailed, Some(activation), None)
            }
            Outcome::PlatformFailed(error) => (Verdict::PlatformFailed, None, Some(error)),
            Outcome::Unknown(error) => (Verdict::Unknown, None, Some(error)),
            // It was given up by this process, and has no outcome.
            _ => return Ok(()),
        };
        let stage = self.stage(&completion.stage);
        let first = {
            let mut state = self.state();
            // It stays in doubt: another process may find out what became of it.
            if !state.doubts.is_empty()
                && state.doubts.contains_key(&(stage, completion.invocation.clone()))
            {
                return Ok(());
            }
            match state.first_attempts.is_empty() {
                true => 1,
                false => {
                    let key = key(stage, completion.invocation.as_str());
                    state.first_attempts.remove(&key).unwrap_or(1)
                }
            }
        };
        self.record_completion(stage, first, completion, verdict, activation, error)
    }

    pub(crate) fn record_completion(
        &self,
        stage: u32,
        first_attempt: u32,
        completion: &Completion,
        verdict: Verdict,
        activation: Option<&Activation>,
        error: Option<&Error>,
    ) -> Result<()> {
        let mut blob = None;
        if let Some(result) = completion.result()
            && result.len() > LONGEST_INLINE
        {
            let stored = match blobs::store(&*self.disk, &self.directory, result) {
                Ok(stored) => stored,
                Err(error) => {
                    self.log.poison(error.clone());
                    return Err(error);
                }
            };
            blob = Some(stored);
        }
        let paid = completion.outcome.activation().and_then(|activation| activation.cost);
        let requested_at = micros(completion.requested_at);
        let (id, argument) = (completion.invocation.clone(), Argument::of(&completion.input));
        let mut record = Completed {
            n: (first_attempt - 1) + completion.attempts.max(1),
            o: verdict,
            q: self.log.since_base(requested_at),
            l: u64::try_from(completion.latency.as_micros()).unwrap_or(u64::MAX),
            d: other_cost(completion.cost, paid),
            e: error.map(Cow::Borrowed),
            b: blob.as_ref().map(|blob| blob.hash.clone()),
            ..Completed::new(stage, id, argument)
        };
        if let Some(activation) = activation {
            record.add(activation, requested_at, blob.is_some());
        }
        let beside = blob.and_then(|Blob { file, .. }| file);
        self.log.append_naming(kind::COMPLETED, &record, beside).map(drop)
    }
}

/// The cost of the attempts that are not the activation.
fn other_cost(all: Option<UsDollars>, paid: Option<UsDollars>) -> Option<UsDollars> {
    match (all, paid) {
        (Some(all), Some(paid)) if all == paid => None,
        (Some(UsDollars(all)), Some(UsDollars(paid))) => Some(UsDollars(all - paid)),
        (all, _) => all,
    }
}
