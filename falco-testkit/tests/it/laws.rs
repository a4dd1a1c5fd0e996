//! The law of the platform in memory: an ended activation is reported in each answer to those who ask for it, once, until
//! it is released, and never after.

use std::collections::HashSet;
use std::time::Duration;

use falco_core::{AsyncPlatform, Deployable, Invocation, Payload, Pending, Platform, Release};
use falco_testkit::{InMemory, Latency, Settings};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::time::{Instant, advance};

/// The next action of a caller.
#[derive(Clone, Debug)]
enum Action {
    Submit { runs: u64 },
    Wait { millis: u64 },
    Collect(Vec<Index>),
    Release(Index, bool),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (0..100_u64).prop_map(|runs| Action::Submit { runs }),
        2 => (0..60_u64).prop_map(|millis| Action::Wait { millis }),
        4 => vec(any::<Index>(), 1..8).prop_map(Action::Collect),
        2 => (any::<Index>(), any::<bool>()).prop_map(|(of, taken)| Action::Release(of, taken)),
    ]
}

/// The test's knowledge of a submission.
struct Known {
    pending: Pending,
    runs_until: Instant,
    released: bool,
}

const RECORD_DELAY: Duration = Duration::from_millis(15);

async fn follow(actions: Vec<Action>) {
    let platform = InMemory::new(Settings {
        latency: Latency::by(|invocation| {
            Duration::from_millis(invocation.id().as_str().parse().unwrap())
        }),
        record_delay: Latency::fixed(RECORD_DELAY),
        ..Settings::default()
    });
    let f = Deployable::from_source("f", "python:3".parse().unwrap(), "def main(args): ..");
    let f = platform.deploy(&f).await.unwrap();
    let mut known: Vec<Known> = Vec::new();
    for action in actions {
        match action {
            Action::Submit { runs } => {
                let invocation =
                    Invocation::new("run", "stage", runs.to_string(), Payload::empty());
                known.push(Known {
                    pending: platform.submit(&f, &invocation).await.unwrap(),
                    runs_until: Instant::now() + Duration::from_millis(runs),
                    released: false,
                });
            }
            Action::Wait { millis } => advance(Duration::from_millis(millis)).await,
            Action::Collect(_) | Action::Release(..) if known.is_empty() => {}
            Action::Collect(which) => {
                let asked: HashSet<usize> = which.iter().map(|i| i.index(known.len())).collect();
                let pending: Vec<_> = asked.iter().map(|i| known[*i].pending.clone()).collect();
                let collected = platform.collect(&f, &pending).await.unwrap();
                let reported: Vec<_> = collected.finished.iter().map(|a| a.id.clone()).collect();
                let expected: HashSet<_> = asked
                    .iter()
                    .map(|i| &known[*i])
                    .filter(|k| !k.released && k.runs_until + RECORD_DELAY <= Instant::now())
                    .map(|k| k.pending.id.clone())
                    .collect();
                assert_eq!(reported.len(), expected.len(), "each once");
                assert_eq!(reported.into_iter().collect::<HashSet<_>>(), expected);
            }
            Action::Release(which, taken) => {
                let released = which.index(known.len());
                let why = if taken { Release::Taken } else { Release::Abandoned };
                platform.release(&f, &[known[released].pending.id.clone()], why);
                known[released].released = true;
            }
        }
        let counters = platform.counters();
        let held = known.iter().filter(|k| !k.released);
        assert_eq!(counters.unreleased, held.clone().count() as u64);
        let running = held.filter(|k| k.runs_until > Instant::now()).count();
        assert_eq!(counters.running, running as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn an_activation_is_reported_exactly_once_an_answer_until_it_is_released(
        actions in vec(action(), 1..60),
    ) {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(follow(actions));
    }
}
