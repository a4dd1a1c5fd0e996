//! One function that is deployed several times.

use std::collections::BTreeMap;
use std::sync::Arc;

use falco_core::*;
use falco_layers::{Replicas, RetryPolicy, Stack};
use falco_testkit::conformance::{Fault, Harness, Skip};
use falco_testkit::fixture::Fixture;
use falco_testkit::simulation::{Provider, Quotas, Simulation};
use falco_testkit::{Call, Fate, Fates, FunctionCall, InMemory, Latency, Settings};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::support::*;

fn replicated(platform: &Arc<InMemory>, count: u32) -> Replicas {
    Replicas::new(platform.clone(), count).unwrap()
}

async fn names(platform: &impl Platform) -> Vec<String> {
    let listed = platform.list_deployments().await.unwrap();
    let mut names: Vec<_> = listed.into_iter().map(|one| one.name).collect();
    names.sort();
    names
}

#[tokio::test(start_paused = true)]
async fn invocations_take_turns_among_the_replicas_which_go_together() {
    let platform = slow(secs(1));
    let replicas = replicated(&platform, 3);
    let deployment = deployed(&replicas).await;
    assert_eq!(deployment.name, "f");
    assert_eq!(names(&platform).await, ["f", "replica2-f", "replica3-f"]);
    assert_eq!(names(&replicas).await, ["f"], "to others it is one");
    let listed = replicas.list_deployments().await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&deployment));
    assert_eq!(replicas.fetch_deployment("f").await.unwrap(), deployment);

    let invocations: Vec<_> = (0..12).map(|n| invocation(&n.to_string())).collect();
    let calls = invocations.iter().map(|it| replicas.invoke(&deployment, it));
    let mut counts = BTreeMap::new();
    for activation in join_all(calls).await {
        let replica = activation.unwrap().attribute("replica").unwrap().to_owned();
        *counts.entry(replica).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [4, 4, 4]);

    replicas.remove(&deployment).await.unwrap();
    assert!(names(&platform).await.is_empty());
    let again = replicas.remove(&deployment).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn what_was_submitted_is_found_again_by_a_process_with_another_number_of_replicas() {
    let platform = slow(secs(1));
    let deployment = deployed(&replicated(&platform, 3)).await;
    let first = replicated(&platform, 3);
    let mut pending = Vec::new();
    for n in 0..6 {
        pending.push(first.submit(&deployment, &invocation(&n.to_string())).await.unwrap());
    }
    // As a journal keeps it.
    let json = serde_json::to_string(&deployment).unwrap();
    let deployment: Deployment = serde_json::from_str(&json).unwrap();
    for count in [1, 2, 5] {
        let other = replicated(&platform, count);
        sleep(secs(5)).await;
        let collected = other.collect(&deployment, &pending).await.unwrap();
        let mut finished: Vec<_> = collected.finished.iter().map(|it| &it.id).collect();
        let mut asked: Vec<_> = pending.iter().map(|it| &it.id).collect();
        finished.sort();
        asked.sort();
        assert_eq!(finished, asked);
    }
    let ids: Vec<_> = pending.iter().map(|it| it.id.clone()).collect();
    let other = replicated(&platform, 1);
    other.release(&deployment, &ids, Release::Taken);
    assert_eq!(platform.counters().taken, 6);
    other.remove(&deployment).await.unwrap();
    assert!(names(&platform).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_fails_half_way_leaves_nothing_of_a_new_function() {
    let fates = Fates::by(|call| {
        let is_second = call.operation == falco_testkit::Operation::Deploy
            && call.function.starts_with("replica2");
        if is_second {
            Fate::Refuse(Error::new(ErrorKind::Forbidden, "not this one"))
        } else {
            Fate::Serve
        }
    });
    let platform = fated(fates);
    let replicas = replicated(&platform, 3);
    let error = replicas.deploy(&function()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(names(&platform).await.is_empty());
    // A process that was ended has left a part of it.
    let left = function().with_name("replica3-f");
    platform.deploy(&left).await.unwrap();
    let found = replicas.fetch_deployment("f").await.unwrap();
    assert_eq!(found.name, "f");
    replicas.remove(&found).await.unwrap();
    assert!(names(&platform).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn instances_are_divided_among_replicas_and_scaled_with_them() {
    let platform = slow(secs(1));
    let replicas = replicated(&platform, 2);
    let most = |count| Scaling::default().with_max_instances(count);
    let deployment = replicas.deploy(&function().with_scaling(most(5))).await.unwrap();
    let of = async |name: &str| {
        platform.fetch_deployment(name).await.unwrap().scaling.max_instances.unwrap()
    };
    assert_eq!((of("f").await, of("replica2-f").await), (3, 2));
    assert_eq!(deployment.scaling.max_instances, Some(5));
    let deployment = replicas.scale(&deployment, &most(8)).await.unwrap();
    assert_eq!((of("f").await, of("replica2-f").await), (4, 4));
    assert_eq!(deployment.scaling.max_instances, Some(8));
    let error = replicas.deploy(&function().with_scaling(most(1))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_cannot_be_removed_or_asked_is_seen_where_it_matters() {
    let fates = |refused: fn(&Call<'_>) -> bool| {
        Fates::by(move |call| match refused(call) {
            true => Fate::Refuse(Error::new(ErrorKind::Forbidden, "not this one")),
            false => Fate::Serve,
        })
    };
    let platform = slow(secs(0));
    platform.configure(|settings| settings.poll_after = Some(secs(1)));
    let replicas = replicated(&platform, 2);
    let deployment = deployed(&replicas).await;
    let mut pending = Vec::new();
    for n in 0..2 {
        pending.push(replicas.submit(&deployment, &invocation(&n.to_string())).await.unwrap());
    }
    let all = replicas.collect(&deployment, &pending).await.unwrap();
    assert_eq!((all.finished.len(), all.poll_after), (2, secs(0)), "there is nothing to ask for");
    platform.configure(|settings| {
        settings.fates = fates(|call| call.function.starts_with("replica2"));
    });
    let some = replicas.collect(&deployment, &pending).await.unwrap();
    assert!(some.finished.len() == 1 && some.poll_after > secs(0), "{some:?}");
    assert_eq!(replicas.remove(&deployment).await.unwrap_err().kind(), ErrorKind::Forbidden);
    platform.configure(|settings| settings.fates = fates(|_| true));
    assert!(replicas.collect(&deployment, &pending).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_activations_of_a_function_without_replicas_are_as_its_platform_shows_them() {
    let platform = slow(secs(0));
    let one = replicated(&platform, 1);
    let deployment = deployed(&one).await;
    let invoked = one.invoke(&deployment, &invocation("1")).await.unwrap();
    let pending = [one.submit(&deployment, &invocation("2")).await.unwrap()];
    let collected = one.collect(&deployment, &pending).await.unwrap();
    for activation in [&invoked, &collected.finished[0]] {
        assert_eq!(activation.attribute("replica"), None);
    }
}

#[test]
fn a_number_of_replicas_that_makes_no_sense_is_refused() {
    for count in [0, 101] {
        let platform: Arc<dyn AsyncPlatform> = slow(secs(1));
        let error = Stack::new().with_replicas(count).wrap(platform).unwrap_err();
        assert!(error.to_string().contains(&format!("{count} replicas")), "{error}");
    }
}

/// The time until so many calls run at once on Lambda, of a function with so many replicas.
async fn time_to_concurrency(calls: u32, count: u32) -> f64 {
    let lambda = Provider::lambda();
    let simulation = Simulation::new(
        Provider {
            quotas: Quotas { concurrency: Some(calls), ..lambda.quotas.clone() },
            latency: Latency::fixed(secs(3600)),
            ..lambda
        },
        42,
    );
    let replicas = Arc::new(Replicas::new(simulation.platform(), count).unwrap());
    let deployment = Arc::new(deployed(&*replicas).await);
    let began = Instant::now();
    let tasks: Vec<_> = (0..calls)
        .map(|n| {
            let (replicas, deployment) = (replicas.clone(), deployment.clone());
            tokio::spawn(async move {
                let invocation = invocation(&n.to_string());
                // Until it is taken: then it runs for an hour.
                while replicas.submit(&deployment, &invocation).await.is_err() {
                    sleep(secs(5)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(simulation.counters().allowed, u64::from(calls));
    began.elapsed().as_secs_f64()
}

#[tokio::test(start_paused = true)]
async fn replicas_reach_the_concurrency_of_an_account_so_many_times_sooner() {
    let calls = 10_000;
    let alone = time_to_concurrency(calls, 1).await;
    // 1,000 at once, and 100 a second from then on.
    assert!((90.0..100.0).contains(&alone), "{alone}");
    let four = time_to_concurrency(calls, 4).await;
    assert!(four <= alone / 4.0, "{four} s instead of {alone} s");
}

/// One platform in memory, with functions that are deployed three times.
struct Three {
    platform: Arc<InMemory>,
    replicas: Arc<Replicas>,
}

#[async_trait]
impl Harness for Three {
    async fn start() -> Self {
        let respond = |call: &FunctionCall<'_>| Fixture::of_code(call.code).unwrap().reply(call);
        let platform = InMemory::new(Settings { capacity: Some(20), ..Settings::default() });
        let platform = platform.with_function("python", respond);
        let platform = Arc::new(platform.with_function("nodejs", respond));
        let replicas = Arc::new(replicated(&platform, 3));
        Self { platform, replicas }
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.replicas.clone()
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        ["python:3", "nodejs:22"].map(|runtime| runtime.parse().unwrap()).to_vec()
    }

    async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        self.platform.configure(|settings| settings.provoke(fault));
        Ok(self.replicas.clone())
    }

    async fn reconnect(&self) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        Ok(Arc::new(replicated(&self.platform, 3)))
    }

    fn exempt(&self, case: &str) -> Option<Skip> {
        let reason = match case {
            "the_same_deployed_again_keeps_its_instances" => {
                "calls take turns, so the first three start an instance each"
            }
            _ => return None,
        };
        Some(Skip::new(reason))
    }

    fn calls(&self) -> Option<u64> {
        let counters = self.platform.counters();
        Some(counters.invokes + counters.submits)
    }
}

mod conformance {
    use super::Three;

    falco_testkit::conformance_tests!(Three, tokio::test(start_paused = true));
}

#[tokio::test(start_paused = true)]
async fn a_whole_stack_with_replicas_sends_what_one_throttles_to_the_next() {
    let fates = Fates::by(|call| {
        let is_third = call.invocation.is_some() && call.function.starts_with("replica3");
        if is_third { Fate::throttle(None) } else { Fate::Serve }
    });
    let platform = fated(fates);
    let stack = Stack::new().with_replicas(3).with_retry(RetryPolicy::with_retries(20));
    let wrapped = stack.wrap(platform.clone()).unwrap();
    let deployment = wrapped.deploy(&function()).await.unwrap();
    for n in 0..9 {
        let activation = wrapped.invoke(&deployment, &invocation(&n.to_string())).await.unwrap();
        assert_ne!(activation.attribute("replica"), Some("3"));
    }
}
