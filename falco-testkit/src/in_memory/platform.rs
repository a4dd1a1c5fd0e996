//! The traits of a platform, in memory.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Capabilities, Collected, Deployable,
    Deployment, Error, Invocation, InvocationId, Pending, Platform, Release, Result, Scaling,
};
use tokio::time::{Instant, sleep};

use super::InMemory;
use super::activations::{self, Found, Record};
use super::deployed::{Deployed, check, check_scaling};
use super::fate::{Fate, Operation, rng};
use super::gate::{Admitted, NAME, Started, arrive};
use super::run::Run;
use super::settings::Settings;

/// How many ids `collect` and `release` look at before they let others have the lock.
const IDS_PER_LOCK: usize = 1024;

/// The wait that `collect` suggests when it cannot know better: a lost activation must not make a busy loop, which
/// would keep paused time from moving on.
const BLIND_POLL: Duration = Duration::from_millis(100);
const SHORTEST_POLL: Duration = Duration::from_millis(1);

impl InMemory {
    fn activation(
        &self,
        id: ActivationId,
        run: Run,
        deployed: &Deployed,
        settings: &Settings,
    ) -> Activation {
        let started_at = self.wall_time(run.started_at);
        let mut activation = Activation::new(id, run.outcome);
        activation.started_at = Some(started_at);
        activation.ended_at = Some(started_at + run.init.unwrap_or_default() + run.execution);
        activation.wait = Some(Duration::ZERO);
        activation.cold_start = Some(run.init.is_some());
        activation.init = run.init;
        activation.execution = Some(run.execution);
        activation.billed = Some(run.execution);
        activation.memory_mib = deployed.deployment.scaling.memory_mib;
        activation.cost = settings.cost;
        activation
    }

    fn check_submission(&self, operation: Operation, function: &str) -> Result<()> {
        if self.read().settings.capabilities.submit {
            return Ok(());
        }
        let error = Error::unsupported("this platform can only invoke and wait");
        Err(self.error(operation, function, error))
    }
}

#[async_trait]
impl Platform for InMemory {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.read().settings.capabilities.clone()
    }

    async fn account(&self) -> Result<Option<String>> {
        Ok(self.read().settings.account.clone())
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        let name = function.name.as_str();
        check(function, &self.settings().capabilities)
            .map_err(|e| self.error(Operation::Deploy, name, e))?;
        let lost_answer = self.control(Operation::Deploy, name).await?;
        let deployment = Deployment::new(name, function.runtime.clone())
            .with_platform(NAME)
            .with_scaling(function.scaling.clone())
            .with_ownership(function.ownership.clone());
        let mut world = self.write();
        let instances = world
            .deployed
            .get(name)
            .filter(|there| there.is(function))
            .map(|there| there.instances.clone());
        let deployed = Deployed {
            deployment: deployment.clone(),
            function: world.function_for(function),
            code: function.code.clone(),
            env: function.env.clone(),
            entry_point: function.entry_point_or_main().to_owned(),
            arguments: function.arguments.clone(),
            instances: instances.unwrap_or_default(),
        };
        world.deployed.insert(name.to_owned(), Arc::new(deployed));
        lost_answer.map_or(Ok(deployment), Err)
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        let lost_answer = self.control(Operation::FetchDeployment, name).await?;
        let found = self.read().deployed.get(name).map(|held| held.deployment.clone());
        match lost_answer {
            Some(error) => Err(error),
            None => found.ok_or_else(|| self.no_such_function(Operation::FetchDeployment, name)),
        }
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        let lost_answer = self.control(Operation::ListDeployments, "").await?;
        let mut all: Vec<_> =
            self.read().deployed.values().map(|held| held.deployment.clone()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        lost_answer.map_or(Ok(all), Err)
    }

    async fn scale(&self, deployment: &Deployment, scaling: &Scaling) -> Result<Deployment> {
        let name = deployment.name.as_str();
        let fail = |error: Error| self.error(Operation::Scale, name, error);
        let capabilities = self.capabilities();
        if !capabilities.scaling {
            return Err(fail(Error::unsupported("this platform cannot scale")));
        }
        check_scaling(scaling, &capabilities).map_err(fail)?;
        let lost_answer = self.control(Operation::Scale, name).await?;
        let mut world = self.write();
        let Some(held) = world.deployed.get_mut(name) else {
            return Err(self.no_such_function(Operation::Scale, name));
        };
        let mut scaled = Deployed::clone(held);
        scaled.deployment.scaling = scaled.deployment.scaling.overridden_by(scaling);
        let deployment = scaled.deployment.clone();
        *held = Arc::new(scaled);
        lost_answer.map_or(Ok(deployment), Err)
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        let name = deployment.name.as_str();
        let lost_answer = self.control(Operation::Remove, name).await?;
        let removed = self.write().deployed.remove(name);
        match (lost_answer, removed) {
            (Some(error), _) => Err(error),
            (None, Some(_)) => Ok(()),
            (None, None) => Err(self.no_such_function(Operation::Remove, name)),
        }
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let mut admitted = self.admit(Operation::Invoke, deployment, invocation)?;
        arrive(&mut admitted, invocation).await;
        let Started { place, number, run } =
            self.start(Operation::Invoke, &mut admitted, invocation)?;
        let Admitted { settings, deployed, fate, .. } = admitted;
        if matches!(fate, Fate::Hang) {
            return pending().await;
        }
        if !run.duration().is_zero() {
            sleep(run.duration()).await;
        }
        drop(place);
        match fate {
            Fate::Lose => pending().await,
            Fate::LoseAnswer(error) => Err(self.error(Operation::Invoke, &deployment.name, error)),
            Fate::Vanish => Err(self.vanished(Operation::Invoke, &deployment.name)),
            Fate::FailLate(error) => Err(self.error(Operation::Invoke, &deployment.name, error)),
            _ => Ok(self.activation(activations::id(number), run, &deployed, &settings)),
        }
    }
}

#[async_trait]
impl AsyncPlatform for InMemory {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        self.check_submission(Operation::Submit, &deployment.name)?;
        let mut admitted = self.admit(Operation::Submit, deployment, invocation)?;
        if matches!(admitted.fate, Fate::Hang) {
            return pending().await;
        }
        let name = name_of(&deployment.name, invocation, &admitted.settings);
        if let Some(pending) = name.as_ref().and_then(|name| self.activations().named(name)) {
            return Ok(pending);
        }
        let accepted_after = admitted.settings.submit_latency.sample(invocation, &mut admitted.rng);
        if !accepted_after.is_zero() {
            sleep(accepted_after).await;
        }
        let Started { place, number, run } =
            self.start(Operation::Submit, &mut admitted, invocation)?;
        let Admitted { settings, fate, mut rng, .. } = admitted;
        let function = deployment.name.as_str();
        let record = match &fate {
            Fate::Lose => Record::Never,
            Fate::Vanish => Record::Gone(self.vanished(Operation::Collect, function)),
            Fate::FailLate(error) => {
                Record::Gone(self.error(Operation::Collect, function, error.clone()))
            }
            Fate::LoseAnswer(_) => Record::Unknown,
            _ => Record::Finished,
        };
        let submitted_at = self.wall_time(run.started_at);
        let delay = settings.record_delay.sample(invocation, &mut rng);
        let pending = Pending::new(activations::id(number), submitted_at);
        if let Some(deployed) = place.hand_over() {
            let mut activations = self.activations();
            activations.insert(number, deployed, run, record, delay);
            match name {
                Some(name) => activations.name(name, pending.clone()),
                None if matches!(fate, Fate::LoseAnswer(_)) => {
                    activations.forget_id(number, invocation.payload().clone());
                }
                None => {}
            }
        }
        self.end_what_is_over();
        match fate {
            Fate::LoseAnswer(error) => Err(self.error(Operation::Submit, &deployment.name, error)),
            _ => Ok(pending),
        }
    }

    async fn collect(&self, deployment: &Deployment, asked: &[Pending]) -> Result<Collected> {
        let name = deployment.name.as_str();
        self.check_submission(Operation::Collect, name)?;
        if let Some(error) = self.control(Operation::Collect, name).await? {
            return Err(error);
        }
        let settings = self.settings();
        let number = self.tally.reported.load(Ordering::Relaxed);
        let mut rng = rng(settings.seed, Operation::Collect, number);
        self.end_what_is_over();
        let now = Instant::now();
        let mut collected = Collected::default();
        let mut next: Option<Instant> = None;
        let mut unseen = false;
        for some in asked.chunks(IDS_PER_LOCK) {
            let activations = self.activations();
            for pending in some {
                match activations.find(&pending.id, name, now) {
                    Found::Finished(run, deployed) => {
                        let id = pending.id.clone();
                        let activation = self.activation(id, run, &deployed, &settings);
                        if settings.duplicates > 0.0 && rng.f64() < settings.duplicates {
                            collected.finished.push(activation.clone());
                        }
                        collected.finished.push(activation);
                    }
                    Found::Gone(error) => collected.gone.push((pending.id.clone(), error)),
                    Found::Later(at) => next = Some(next.map_or(at, |next| next.min(at))),
                    Found::Nothing => unseen = true,
                }
            }
        }
        let reported = collected.finished.len() as u64;
        self.tally.reported.fetch_add(reported, Ordering::Relaxed);
        collected.poll_after = settings.poll_after.unwrap_or(match next {
            Some(at) => at.saturating_duration_since(now).max(SHORTEST_POLL),
            None if unseen => BLIND_POLL,
            None => Duration::ZERO,
        });
        Ok(collected)
    }

    fn release(&self, deployment: &Deployment, released: &[ActivationId], release: Release) {
        self.end_what_is_over();
        let (mut known, mut stopped) = (0, 0);
        for some in released.chunks(IDS_PER_LOCK) {
            let mut activations = self.activations();
            for id in some {
                let (was_known, was_running) = activations.release(id, &deployment.name);
                known += u64::from(was_known);
                stopped += u64::from(was_running);
            }
        }
        self.tally.end(stopped);
        match release {
            Release::Taken => self.tally.taken.fetch_add(known, Ordering::Relaxed),
            Release::Abandoned => self.tally.abandoned.fetch_add(known, Ordering::Relaxed),
        };
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        asked: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        let name = deployment.name.as_str();
        if !self.read().settings.capabilities.logs {
            let error = Error::unsupported("this platform keeps no logs");
            return Err(self.error(Operation::ActivationLog, name, error));
        }
        if let Some(error) = self.control(Operation::ActivationLog, name).await? {
            return Err(error);
        }
        let now = Instant::now();
        let activations = self.activations();
        let logs = asked.iter().filter_map(|id| {
            let lines = activations.log(id, name, now)?;
            Some(ActivationLog::new(id.clone(), lines))
        });
        Ok(logs.collect())
    }

    async fn find_submitted(
        &self,
        deployment: &Deployment,
        in_doubt: &[Invocation],
    ) -> Result<Vec<(InvocationId, Pending)>> {
        self.end_what_is_over();
        let now = self.wall_time(Instant::now());
        let mut activations = self.activations();
        let found = in_doubt.iter().filter_map(|invocation| {
            let id = activations.learn_id(&deployment.name, invocation.payload())?;
            Some((invocation.id().clone(), Pending::new(id, now)))
        });
        Ok(found.collect())
    }
}

/// The name by which the platform knows an attempt, where it does.
fn name_of(function: &str, invocation: &Invocation, settings: &Settings) -> Option<String> {
    let is_known = settings.capabilities.resubmit && invocation.is_unique();
    is_known.then(|| {
        let (run, stage, id) = (invocation.run(), invocation.stage(), invocation.id());
        format!("{function:?} {run:?} {stage:?} {id:?} {}", invocation.attempt())
    })
}
