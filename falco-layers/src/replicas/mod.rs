//! One function that is deployed several times.

mod deployments;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Collected, Deployable, Deployment,
    Error, ErrorKind, Invocation, InvocationId, Pending, Platform, Release, Result, Scaling,
    async_trait, forward,
};
use futures_util::future::join_all;

use self::deployments::{Deployments, Remembered, inner_id, merged, outer_id, share};
use crate::several::{ASK_AGAIN, newest, sort_as_asked};

/// More functions than that are a mistake.
const MOST: usize = 100;

/// Deploys each function several times under names of its own, and lets its invocations take turns among these replicas.
///
/// Some providers limit how fast *one function* may grow: AWS Lambda starts 1,000 execution environments every 10 seconds for
/// each. Four replicas grow four times as fast.
/// [`Stack::with_replicas`](crate::Stack::with_replicas) puts this layer at its place: inside of all others.
///
/// - The replicas are one deployment to everybody else: they are scaled and removed together, and
///   [`list_deployments`](Platform::list_deployments) shows them as one. Their names are `replica2-NAME` and so on. Without
///   this layer each is listed by itself, with the owner of the first.
/// - `min_instances` and `max_instances` are those of all replicas together.
/// - A submitted activation is found again from its id, also by another process that has this layer, with whatever number of
///   replicas.
/// - [`Activation::attribute`] `replica` says which of them has run an invocation. Prices are the same.
/// - Each replica starts cold: for a few calls, it costs time and gains none.
///
/// # Examples
///
/// ```
/// # use std::sync::Arc;
/// # use falco_core::{AsyncPlatform, Result};
/// use falco_layers::Stack;
///
/// # fn demo(aws: impl AsyncPlatform) -> Result<()> {
/// let platform = Stack::new().with_replicas(4).wrap(aws)?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Replicas {
    platform: Arc<dyn AsyncPlatform>,
    count: usize,
    remembered: Remembered,
    turn: AtomicUsize,
}

impl Replicas {
    /// Deploys each function `count` times on `platform`. With one, it only finds what was deployed with more.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for no replicas and for more than 100.
    pub fn new(platform: Arc<dyn AsyncPlatform>, count: u32) -> Result<Self> {
        let count = count as usize;
        check(count)?;
        Ok(Self { platform, count, remembered: Remembered::default(), turn: AtomicUsize::new(0) })
    }

    fn replicas_of(&self, function: &Deployable) -> Result<Vec<Deployable>> {
        (0..self.count)
            .map(|number| {
                let scaling = share(&function.scaling, number, self.count)?;
                let name = deployments::name(&function.name, number);
                Ok(function.clone().with_name(name).with_scaling(scaling))
            })
            .collect()
    }

    fn names_of(&self, function: &str) -> Vec<String> {
        (0..self.count).map(|number| deployments::name(function, number)).collect()
    }

    /// The replica whose turn it is.
    fn next(&self, deployment: &Deployment) -> (usize, Deployments) {
        let replicas = self.remembered.of(deployment);
        let number = match replicas.len() {
            1 => 0,
            several => self.turn.fetch_add(1, Ordering::Relaxed) % several,
        };
        (number, replicas)
    }

    /// The ids of each replica, as it knows them.
    fn by_replica<T>(
        &self,
        deployment: &Deployment,
        all: impl IntoIterator<Item = (usize, T)>,
    ) -> Vec<(usize, Deployment, Vec<T>)> {
        let replicas = self.remembered.of(deployment);
        let mut by_number: BTreeMap<usize, Vec<T>> = BTreeMap::new();
        for (number, one) in all {
            by_number.entry(number).or_default().push(one);
        }
        let known = by_number.into_iter().filter_map(|(number, own)| {
            let replica = replicas.get(number)?.clone();
            Some((number, replica, own))
        });
        known.collect()
    }
}

/// Whether a function may have so many replicas.
pub(crate) fn check(count: usize) -> Result<()> {
    if (1..=MOST).contains(&count) {
        return Ok(());
    }
    let message = format!("a function cannot have {count} replicas");
    Err(Error::invalid_input(message).with_hint(format!("ask for 1 to {MOST}")))
}

/// An error of a replica, as one of the function.
fn named<T>(function: &str, outcome: Result<T>) -> Result<T> {
    outcome.map_err(|error| error.with_function(function))
}

fn of_whole<T>(deployment: &Deployment, outcome: Result<T>) -> Result<T> {
    named(&deployment.name, outcome)
}

fn of_replica(number: usize, mut activation: Activation) -> Activation {
    activation.id = outer_id(number, &activation.id);
    activation.attributes.insert("replica".into(), (number + 1).to_string());
    activation
}

fn log_of_replica(number: usize, mut log: ActivationLog) -> ActivationLog {
    log.id = outer_id(number, &log.id);
    log
}

fn is_missing<T>(found: &Result<T>) -> bool {
    found.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Platform for Replicas {
    forward! { self => self.platform; name, capabilities, account, watch_outages }

    /// Deploys all replicas. When one of them fails, those of a function that is new are removed.
    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        let replicas = self.replicas_of(function)?;
        if let [only] = &replicas[..] {
            return self.platform.deploy(only).await;
        }
        let before = self.platform.fetch_deployment(&function.name).await;
        let deployed = join_all(replicas.iter().map(|replica| self.platform.deploy(replica))).await;
        if is_missing(&before) && deployed.iter().any(Result::is_err) {
            let new = deployed.iter().flatten().map(|replica| self.platform.remove(replica));
            // The failure of the deployment says more than that of the removal.
            join_all(new).await;
        }
        let deployed = deployed.into_iter().map(|it| named(&function.name, it));
        merged(&function.name, &deployed.collect::<Result<Vec<_>>>()?)
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        let names = self.names_of(name);
        let found = join_all(names.iter().map(|name| self.platform.fetch_deployment(name))).await;
        // Where some are there and others are not, a deployment has failed half-way: it has to be found to be removed.
        if found.iter().all(is_missing) {
            return named(name, found.into_iter().next().unwrap_or_else(|| merged(name, &[])));
        }
        let there = found.into_iter().filter(|replica| !is_missing(replica));
        merged(name, &there.map(|it| named(name, it)).collect::<Result<Vec<_>>>()?)
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        let all = self.platform.list_deployments().await?;
        if self.count == 1 {
            return Ok(all);
        }
        let mut replica_of: HashMap<String, (String, usize)> = HashMap::new();
        for deployment in &all {
            for (number, name) in self.names_of(&deployment.name).into_iter().enumerate().skip(1) {
                replica_of.insert(name, (deployment.name.clone(), number));
            }
        }
        let mut by_name: BTreeMap<String, BTreeMap<usize, Deployment>> = BTreeMap::new();
        for deployment in all {
            let own = || (deployment.name.clone(), 0);
            let (name, number) = replica_of.get(&deployment.name).cloned().unwrap_or_else(own);
            by_name.entry(name).or_default().insert(number, deployment);
        }
        by_name
            .into_iter()
            .map(|(name, replicas)| merged(&name, &replicas.into_values().collect::<Vec<_>>()))
            .collect()
    }

    async fn scale(&self, deployment: &Deployment, scaling: &Scaling) -> Result<Deployment> {
        let replicas = self.remembered.of(deployment);
        let shares = (0..replicas.len())
            .map(|number| share(scaling, number, replicas.len()))
            .collect::<Result<Vec<_>>>()?;
        let scaled =
            replicas.iter().zip(&shares).map(|(replica, it)| self.platform.scale(replica, it));
        let scaled = join_all(scaled).await.into_iter().map(|it| of_whole(deployment, it));
        let scaled = scaled.collect::<Result<Vec<_>>>()?;
        merged(&deployment.name, &scaled)
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        let replicas = self.remembered.of(deployment);
        let removed = join_all(replicas.iter().map(|replica| self.platform.remove(replica))).await;
        let removed: Vec<_> = removed.into_iter().map(|it| of_whole(deployment, it)).collect();
        let is_any_removed = removed.iter().any(Result::is_ok);
        let failed = |outcome: &Result<()>| outcome.is_err() && !is_missing(outcome);
        match removed.iter().find(|outcome| failed(outcome)) {
            Some(failure) => failure.clone(),
            None if is_any_removed => Ok(()),
            None => removed.into_iter().collect(),
        }
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let (number, replicas) = self.next(deployment);
        let activation =
            of_whole(deployment, self.platform.invoke(&replicas[number], invocation).await)?;
        Ok(if replicas.len() > 1 { of_replica(number, activation) } else { activation })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl AsyncPlatform for Replicas {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let (number, replicas) = self.next(deployment);
        let pending =
            of_whole(deployment, self.platform.submit(&replicas[number], invocation).await)?;
        Ok(Pending::new(outer_id(number, &pending.id), pending.submitted_at))
    }

    /// Asks each replica for its own. Those that cannot be asked have no news, unless none can be asked.
    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        let own = pending.iter().map(|pending| {
            let (number, id) = inner_id(&pending.id);
            (number, Pending::new(id, pending.submitted_at))
        });
        let replicas = self.by_replica(deployment, own);
        let has_several = self.remembered.of(deployment).len() > 1;
        let asked = replicas.iter().map(|(_, replica, own)| self.platform.collect(replica, own));
        let mut all = Collected::default().with_from_memory(true);
        let (mut failure, mut answered) = (None, replicas.is_empty());
        let mut poll_after: Option<Duration> = None;
        for ((number, _, own), answer) in replicas.iter().zip(join_all(asked).await) {
            let next = match answer {
                Ok(answer) => {
                    answered = true;
                    all.is_from_memory &= answer.is_from_memory;
                    let is_all = answer.finished.len() + answer.gone.len() >= own.len();
                    let finished = answer.finished.into_iter();
                    match has_several {
                        true => all.finished.extend(finished.map(|it| of_replica(*number, it))),
                        false => all.finished.extend(finished),
                    }
                    let gone = answer.gone.into_iter();
                    all.gone.extend(gone.map(|(id, why)| (outer_id(*number, &id), why)));
                    (!is_all).then_some(answer.poll_after)
                }
                Err(error) => {
                    failure = Some(error.with_function(&deployment.name));
                    Some(ASK_AGAIN)
                }
            };
            // A replica that has answered for everything need not be asked again.
            poll_after = [poll_after, next].into_iter().flatten().min();
        }
        all.poll_after = poll_after.unwrap_or_default();
        failure.filter(|_| !answered).map_or(Ok(all), Err)
    }

    fn release(&self, deployment: &Deployment, activations: &[ActivationId], release: Release) {
        for (_, replica, own) in self.by_replica(deployment, activations.iter().map(inner_id)) {
            self.platform.release(&replica, &own, release);
        }
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        let mut logs = Vec::new();
        for (number, replica, own) in self.by_replica(deployment, activations.iter().map(inner_id))
        {
            let found = of_whole(deployment, self.platform.activation_log(&replica, &own).await)?;
            logs.extend(found.into_iter().map(|log| log_of_replica(number, log)));
        }
        sort_as_asked(&mut logs, activations);
        Ok(logs)
    }

    async fn find_submitted(
        &self,
        deployment: &Deployment,
        in_doubt: &[Invocation],
    ) -> Result<Vec<(InvocationId, Pending)>> {
        let mut all = Vec::new();
        for (number, replica) in self.remembered.of(deployment).iter().enumerate() {
            let found =
                of_whole(deployment, self.platform.find_submitted(replica, in_doubt).await)?;
            all.extend(found.into_iter().map(|(invocation, pending)| {
                (invocation, Pending::new(outer_id(number, &pending.id), pending.submitted_at))
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
        let mut all = Vec::new();
        for (number, replica) in self.remembered.of(deployment).iter().enumerate() {
            let logs = of_whole(deployment, self.platform.recent_logs(replica, since, most).await)?;
            all.extend(logs.into_iter().map(|log| log_of_replica(number, log)));
        }
        Ok(newest(all, most))
    }
}
