//! The checks before every method: credentials, faults, quotas and time.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use falco_core::{Deployment, Error, ErrorKind, Invocation, Result};
use tokio::time::{Instant, sleep};

use super::admission::Arrival;
use super::batch;
use super::counters::Tally;
use super::deployed::Deployed;
use super::fate::{Call, Fate, Operation, rng};
use super::function::{FunctionCall, Reply};
use super::run::Run;
use super::settings::Settings;
use super::{InMemory, World};

/// The platform's name.
pub(super) const NAME: &str = "in-memory";

/// An invocation that has passed the gate, with what chance has drawn for it.
pub(super) struct Admitted {
    pub(super) settings: Arc<Settings>,
    pub(super) deployed: Arc<Deployed>,
    pub(super) fate: Fate,
    pub(super) rng: fastrand::Rng,
}

/// A place among the running and an instance, given back on drop.
pub(super) struct Place<'a> {
    tally: &'a Tally,
    deployed: Option<Arc<Deployed>>,
}

impl Place<'_> {
    /// Leaves it to the submitted activation to give the place back.
    pub(super) fn hand_over(mut self) -> Option<Arc<Deployed>> {
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
pub(super) struct Started<'a> {
    pub(super) place: Place<'a>,
    pub(super) number: u64,
    pub(super) run: Run,
}

impl InMemory {
    pub(super) fn error(&self, operation: Operation, function: &str, error: Error) -> Error {
        let error = error.with_platform(NAME).with_operation(operation.as_str());
        if function.is_empty() { error } else { error.with_function(function) }
    }

    pub(super) fn no_such_function(&self, operation: Operation, function: &str) -> Error {
        let error = Error::new(ErrorKind::NotFound, "there is no such function");
        self.error(operation, function, error)
    }

    /// The failure of an activation that the platform has accepted and lost.
    pub(super) fn vanished(&self, operation: Operation, function: &str) -> Error {
        let error = Error::new(ErrorKind::Lost, "the platform has lost the activation");
        self.error(operation, function, error)
    }

    /// Credentials, faults and time of a call that runs no function.
    pub(super) async fn control(
        &self,
        operation: Operation,
        function: &str,
    ) -> Result<Option<Error>> {
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
    pub(super) fn admit(
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
        let capabilities = settings.capabilities.for_runtime(&deployment.runtime);
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
    pub(super) fn start(
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
            _ => batch::run(invocation, deployed.deployment.scaling.timeout, |invocation| {
                (deployed.function)(&FunctionCall {
                    invocation: &deployed.with_arguments(invocation),
                    env: &deployed.env,
                    code: &deployed.code,
                    entry_point: &deployed.entry_point,
                    scaling: &deployed.deployment.scaling,
                })
            }),
        };
        let log = std::mem::take(&mut reply.log);
        let run = deployed.run(
            reply,
            latency,
            init,
            settings.capabilities.for_runtime(&deployed.deployment.runtime).max_result,
        );
        if !log.is_empty() {
            self.activations().keep_log(number, Arc::clone(deployed), run.ends_at(), log);
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
                function: Arrival::number_of(&deployed.deployment.name),
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
}

/// The way of a request to the platform.
pub(super) async fn arrive(admitted: &mut Admitted, invocation: &Invocation) {
    let way = admitted.settings.request_latency.sample(invocation, &mut admitted.rng);
    if !way.is_zero() {
        sleep(way).await;
    }
}

#[expect(clippy::panic, reason = "the test has ordered it")]
fn panic_on_purpose(operation: Operation) -> ! {
    panic!("{} panics on purpose", operation.as_str())
}
