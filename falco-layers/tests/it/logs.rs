//! The logs of several deployments, and of several platforms, that answer as one.

use std::sync::Arc;
use std::time::SystemTime;

use falco_core::*;
use falco_layers::{Intercept, Intercepted, Part, Replicas, Share, Spread};
use falco_testkit::InMemory;

use crate::support::*;

/// Has a log of each activation, and three recent ones of each deployment, with lines at these seconds; their ids are the seconds.
#[derive(Debug)]
struct Logged {
    inner: Arc<InMemory>,
    seconds: fn(&str) -> [u64; 3],
}

#[async_trait]
impl Intercept for Logged {
    fn inner(&self) -> &dyn AsyncPlatform {
        &*self.inner
    }

    async fn activation_log(
        &self,
        _: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        Ok(activations.iter().map(|id| ActivationLog::new(id.clone(), Vec::new())).collect())
    }

    async fn recent_logs(
        &self,
        deployment: &Deployment,
        since: SystemTime,
        most: usize,
    ) -> Result<Vec<ActivationLog>> {
        let seconds =
            (self.seconds)(&deployment.name).into_iter().filter(|at| secs(*at) >= at_of(since));
        let logs: Vec<ActivationLog> = seconds
            .map(|at| {
                let line = LogLine::new("text").with_time(SystemTime::UNIX_EPOCH + secs(at));
                ActivationLog::new(at.to_string(), vec![line])
            })
            .collect();
        Ok(logs[logs.len().saturating_sub(most)..].to_vec())
    }
}

fn at_of(time: SystemTime) -> std::time::Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

fn logged(seconds: fn(&str) -> [u64; 3]) -> Intercepted<Logged> {
    Intercepted(Logged { inner: Arc::new(InMemory::default()), seconds })
}

/// The ids of the recent logs since a second.
async fn recent(platform: &impl AsyncPlatform, since: u64, most: usize) -> Vec<String> {
    let deployment = deployed(platform).await;
    let since = SystemTime::UNIX_EPOCH + secs(since);
    let logs = platform.recent_logs(&deployment, since, most).await.unwrap();
    logs.into_iter().map(|log| log.id.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_newest_logs_of_all_replicas_come_in_the_order_of_their_times() {
    let seconds = |name: &str| if name == "f" { [1, 3, 6] } else { [2, 4, 5] };
    let replicas = Replicas::new(Arc::new(logged(seconds)), 2).unwrap();
    assert_eq!(recent(&replicas, 0, 4).await, ["3", "replica2/4", "replica2/5", "6"]);
    assert_eq!(recent(&replicas, 5, 4).await, ["replica2/5", "6"]);
    assert_eq!(recent(&replicas, 7, 4).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_newest_logs_of_all_parts_come_in_the_order_of_their_times() {
    let parts = [
        Part::new(Arc::new(logged(|_| [1, 3, 6]))).named("a"),
        Part::new(Arc::new(logged(|_| [2, 4, 5]))).named("b"),
    ];
    let spread = Spread::new(Share::Weight, parts).unwrap();
    assert_eq!(recent(&spread, 0, 4).await, ["a/3", "b/4", "b/5", "a/6"]);
    assert_eq!(recent(&spread, 0, 9).await, ["a/1", "b/2", "a/3", "b/4", "b/5", "a/6"]);
}

/// Asks for the logs of four invocations that take turns.
async fn logs_come_as_asked(platform: &impl AsyncPlatform) {
    let deployment = deployed(platform).await;
    let mut asked = Vec::new();
    for n in 0..4 {
        let invocation = invocation(&n.to_string());
        asked.push(platform.invoke(&deployment, &invocation).await.unwrap().id);
    }
    asked.reverse();
    let logs = platform.activation_log(&deployment, &asked).await.unwrap();
    let ids: Vec<ActivationId> = logs.into_iter().map(|log| log.id).collect();
    assert_eq!(ids, asked);
}

#[tokio::test(start_paused = true)]
async fn logs_of_replicas_and_of_parts_come_in_the_order_in_which_they_are_asked_for() {
    logs_come_as_asked(&Replicas::new(Arc::new(logged(|_| [0; 3])), 2).unwrap()).await;
    let parts = ["a", "b"].map(|name| Part::new(Arc::new(logged(|_| [0; 3]))).named(name));
    logs_come_as_asked(&Spread::new(Share::Weight, parts).unwrap()).await;
}
