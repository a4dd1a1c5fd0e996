//! The traits of a platform, in memory.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Capabilities, Collected, Deployable,
    Deployment, Error, ErrorKind, Invocation, Pending, Platform, Release, Result, Scaling,
};
use tokio::time::{Instant, sleep};

use super::activations::{self, Found, Record, Run};
use super::admission::Arrival;
use super::counters::Tally;
use super::deployed::{Deployed, check, check_scaling};
use super::fate::{Call, Fate, Operation, rng};
use super::function::{FunctionCall, Reply};
use super::settings::Settings;
use super::{InMemory, World};

const NAME: &str = "in-memory";

/// How many ids `collect` and `release` look at before they let others have the lock.
const IDS_PER_LOCK: usize = 1024;

/// The wait that `collect` suggests when it cannot know better: a lost activation must not make a busy loop, which
/// would keep paused time from moving on.
const BLIND_POLL: Duration = Duration::from_millis(100);
const SHORTEST_POLL: Duration = Duration::from_millis(1);

/// An invocation that has passed the gate, with what chance has drawn for it.
struct Admitted {
    settings: Arc<Settings>,
    deployed: Arc<Deployed>,
    fate: Fate,
    rng: fastrand::Rng,
}

/// A place among the running and an instance, given back on drop.
struct Place<'a> {
    tally: &'a Tally,
    deployed: Option<Arc<Deployed>>,
}

impl Place<'_> {
    /// Leaves it to the submitted activation to give the place back.
    fn hand_over(mut self) -> Option<Arc<Deployed>> {
        self.deployed.take()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(deployed) = &self.deployed {
            self.tally.end(1);
            deployed.instances.give_back();
        }
    }
}

/// An invocation that runs.
struct Started<'a> {
    place: Place<'a>,
    number: u64,
    run: Run,
}

impl InMemory {
    fn error(&self, operation: Operation, function: &str, error: Error) -> Error {
        let error = error.with_platform(NAME).with_operation(operation.as_str());
        if function.is_empty() { error } else { error.with_function(function) }
    }

    fn no_such_function(&self, operation: Operation, function: &str) -> Error {
        let error = Error::new(ErrorKind::NotFound, "there is no such function");
        self.error(operation, function, error)
    }

    /// Credentials, faults and time of a call that runs no function.
    async fn control(&self, operation: Operation, function: &str) -> Result<Option<Error>> {
        let number = self.tally.call(operation);
        let settings = self.settings();
        self.check_credentials(&settings, operation, function)?;
        let fate = settings.fates.decide(&Call::new(operation, number, function, None));
        if !settings.control_latency.is_zero() {
            sleep(settings.control_latency).await;
        }
        match fate {
            Fate::Refuse(error) => Err(self.error(operation, function, error)),
            Fate::LoseAnswer(error) => Ok(Some(self.error(operation, function, error))),
            Fate::Hang => pending().await,
            Fate::Panic => panic_on_purpose(operation),
            _ => Ok(None),
        }
    }

    fn check_credentials(&self, settings: &Settings, op: Operation, function: &str) -> Result<()> {
        if !settings.unauthorized {
            return Ok(());
        }
        let error = Error::new(ErrorKind::Unauthorized, "the credentials are not accepted")
            .with_hint("set Settings::unauthorized to false");
        Err(self.error(op, function, error))
    }

    /// The gate of `invoke` and `submit`: everything that can be refused before anything runs, but for capacity.
    fn admit(
        &self,
        operation: Operation,
        deployment: &Deployment,
        invocation: &Invocation,
    ) -> Result<Admitted> {
        let number = self.tally.call(operation);
        let name = deployment.name.as_str();
        let (settings, deployed) = {
            let world: &World = &self.read();
            (Arc::clone(&world.settings), world.deployed.get(name).map(Arc::clone))
        };
        let capabilities = &settings.capabilities;
        let limit = match operation {
            Operation::Submit => capabilities.max_submit_payload,
            _ => capabilities.max_payload,
        };
        invocation.payload().check_argument(limit).map_err(|e| self.error(operation, name, e))?;
        self.check_credentials(&settings, operation, name)?;
        let Some(deployed) = deployed else {
            return Err(self.no_such_function(operation, name));
        };
        let fate = settings.fates.decide(&Call::new(operation, number, name, Some(invocation)));
        match fate {
            Fate::Refuse(error) => {
                if error.kind() == ErrorKind::Throttled {
                    self.tally.throttled.fetch_add(1, Ordering::Relaxed);
                }
                Err(self.error(operation, name, error))
            }
            Fate::Panic => panic_on_purpose(operation),
            fate => {
                let rng = rng(settings.seed, operation, number);
                Ok(Admitted { settings, deployed, fate, rng })
            }
        }
    }

    /// Begins to run it, unless the platform is full.
    fn start(
        &self,
        operation: Operation,
        admitted: &mut Admitted,
        invocation: &Invocation,
    ) -> Result<Started<'_>> {
        let Admitted { settings, deployed, fate, rng } = admitted;
        self.make_room(settings, deployed)
            .map_err(|e| self.error(operation, &deployed.deployment.name, e))?;
        let cold = !deployed.instances.take();
        // From here on, so that a function that panics gives its place back.
        let place = Place { tally: &self.tally, deployed: Some(Arc::clone(deployed)) };
        let number = self.next_activation.fetch_add(1, Ordering::Relaxed);
        let init = cold.then(|| settings.cold_start.sample(invocation, rng));
        let latency = settings.latency.sample(invocation, rng);
        let mut reply = match fate {
            Fate::FailFunction(error) => Reply::failed(error.clone()),
            _ => (deployed.function)(&FunctionCall {
                invocation,
                env: &deployed.env,
                code: &deployed.code,
                entry_point: &deployed.entry_point,
            }),
        };
        let log = std::mem::take(&mut reply.log);
        let run = deployed.run(reply, latency, init, settings.capabilities.max_result);
        if !log.is_empty() {
            self.activations().keep_log(number, run.ends_at(), log);
        }
        Ok(Started { place, number, run })
    }

    /// Takes a place among the running, unless the platform is full.
    fn make_room(&self, settings: &Settings, deployed: &Deployed) -> Result<()> {
        if settings.capacity.is_some() || settings.admission.is_some() {
            self.end_what_is_over();
        }
        let admitted = settings.admission.as_ref().map_or(Ok(()), |admission| {
            admission.admit(&Arrival {
                at: Instant::now().saturating_duration_since(self.epoch.0),
                running: self.tally.running.load(Ordering::Acquire),
                needs_instance: !deployed.instances.has_idle(),
            })
        });
        let refusal = match admitted {
            Err(error) => error,
            Ok(()) if self.tally.try_start(settings.capacity) => return Ok(()),
            Ok(()) => {
                let error = Error::new(ErrorKind::Throttled, "too many activations run already");
                match settings.capacity_retry_after {
                    Some(wait) => error.with_retry_after(wait),
                    None => error,
                }
            }
        };
        if refusal.kind() == ErrorKind::Throttled {
            self.tally.throttled.fetch_add(1, Ordering::Relaxed);
        }
        Err(refusal)
    }

    fn activation(&self, id: ActivationId, run: Run, deployed: &Deployed) -> Activation {
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

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        let name = function.name.as_str();
        check(function, &self.settings().capabilities)
            .map_err(|e| self.error(Operation::Deploy, name, e))?;
        let lost_answer = self.control(Operation::Deploy, name).await?;
        let deployment = Deployment::new(NAME, name, name, function.runtime.clone())
            .with_scaling(function.settings.scaling.clone())
            .with_ownership(function.ownership.clone());
        let mut world = self.write();
        let deployed = Deployed {
            deployment: deployment.clone(),
            function: world.function_for(function),
            code: function.code.clone(),
            env: function.settings.env.clone(),
            entry_point: function.entry_point().to_owned(),
            instances: Arc::default(),
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
        let Admitted { deployed, fate, .. } = admitted;
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
            Fate::Vanish => {
                let error = Error::new(ErrorKind::Lost, "the platform has lost the activation");
                Err(self.error(Operation::Invoke, &deployment.name, error))
            }
            _ => Ok(self.activation(activations::id(number), run, &deployed)),
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
        let accepted_after = admitted.settings.submit_latency.sample(invocation, &mut admitted.rng);
        if !accepted_after.is_zero() {
            sleep(accepted_after).await;
        }
        let Started { place, number, run } =
            self.start(Operation::Submit, &mut admitted, invocation)?;
        let Admitted { settings, fate, mut rng, .. } = admitted;
        let record = match &fate {
            Fate::Lose => Record::Never,
            Fate::Vanish => Record::Gone,
            Fate::LoseAnswer(_) => Record::Unknown,
            _ => Record::Finished,
        };
        let submitted_at = self.wall_time(run.started_at);
        let delay = settings.record_delay.sample(invocation, &mut rng);
        if let Some(deployed) = place.hand_over() {
            self.activations().insert(number, deployed, run, record, delay);
        }
        self.end_what_is_over();
        match fate {
            Fate::LoseAnswer(error) => Err(self.error(Operation::Submit, &deployment.name, error)),
            _ => Ok(Pending::new(activations::id(number), submitted_at)),
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
                        let activation = self.activation(pending.id.clone(), run, &deployed);
                        if settings.duplicates > 0.0 && rng.f64() < settings.duplicates {
                            collected.finished.push(activation.clone());
                        }
                        collected.finished.push(activation);
                    }
                    Found::Gone => collected.gone.push(pending.id.clone()),
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

    fn release(&self, _: &Deployment, released: &[ActivationId], release: Release) {
        self.end_what_is_over();
        let (mut known, mut stopped) = (0, 0);
        for some in released.chunks(IDS_PER_LOCK) {
            let mut activations = self.activations();
            for id in some {
                let (was_known, was_running) = activations.release(id);
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
            let lines = activations.log(id, now)?;
            Some(ActivationLog { id: id.clone(), lines, truncated: false })
        });
        Ok(logs.collect())
    }
}

/// The way of a request to the platform.
async fn arrive(admitted: &mut Admitted, invocation: &Invocation) {
    let way = admitted.settings.request_latency.sample(invocation, &mut admitted.rng);
    if !way.is_zero() {
        sleep(way).await;
    }
}

#[expect(clippy::panic, reason = "the test has ordered it")]
fn panic_on_purpose(operation: Operation) -> ! {
    panic!("{} panics on purpose", operation.as_str())
}
