//! One platform made of two: the part that gets a call, and what becomes of the call when a part fails.

mod outage;
mod removal;

use std::collections::BTreeMap;
use std::sync::Arc;

use falco_core::*;
use falco_layers::{Part, RetryPolicy, Share, Spread, Stack};
use falco_testkit::conformance::{Fault, Harness, Skip};
use falco_testkit::fixture::Fixture;
use falco_testkit::{Fate, Fates, FunctionCall, InMemory, Latency, Settings};
use futures_util::future::join_all;

use crate::support::*;

fn part(platform: &Arc<InMemory>, name: &str) -> Part {
    Part::new(platform.clone()).named(name)
}

/// How many calls of so many at once each part gets.
async fn shared(share: Share, parts: Vec<Part>, calls: usize) -> BTreeMap<String, usize> {
    let spread = Spread::new(share, parts).unwrap();
    let deployment = deployed(&spread).await;
    let invocations: Vec<_> = (0..calls).map(|n| invocation(&n.to_string())).collect();
    let mut counts = BTreeMap::new();
    for activation in join_all(invocations.iter().map(|it| spread.invoke(&deployment, it))).await {
        let place = activation.unwrap().attribute("platform").unwrap().to_owned();
        *counts.entry(place).or_default() += 1;
    }
    counts
}

fn counts(one: usize, other: usize) -> BTreeMap<String, usize> {
    let counts = [("a", one), ("b", other)].into_iter().filter(|(_, count)| *count > 0);
    counts.map(|(name, count)| (name.to_owned(), count)).collect()
}

#[tokio::test(start_paused = true)]
async fn calls_are_shared_by_weight_by_room_by_price_and_by_overflow() {
    let priced = |price: f64| {
        let prices = Prices::default().with_request(price);
        let capabilities = Settings::default().capabilities.with_prices(prices);
        let latency = Latency::fixed(secs(1));
        Arc::new(InMemory::new(Settings { capabilities, latency, ..Settings::default() }))
    };
    let (dear, cheap) = (priced(2.0), priced(1.0));
    let unknown = slow(secs(1));
    let weighted = vec![part(&dear, "a").with_weight(3.0), part(&cheap, "b")];
    assert_eq!(shared(Share::Weight, weighted, 8).await, counts(6, 2));
    let rooms =
        || vec![part(&dear, "a").with_concurrency(6), part(&cheap, "b").with_concurrency(2)];
    assert_eq!(shared(Share::FreeCapacity, rooms(), 8).await, counts(6, 2));
    assert_eq!(shared(Share::Price, rooms(), 5).await, counts(3, 2), "the cheap one is full");
    assert_eq!(shared(Share::Overflow, rooms(), 7).await, counts(6, 1));
    let parts = vec![part(&unknown, "a"), part(&dear, "b")];
    assert_eq!(
        shared(Share::Price, parts, 3).await,
        counts(0, 3),
        "an unknown price is the highest"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_one_platform_throttles_goes_to_another_at_once() {
    let full = fated(Fates::by(|call| match call.invocation {
        Some(_) => Fate::throttle(Some(secs(60))),
        None => Fate::Serve,
    }));
    let free = slow(secs(0));
    let spread = Spread::new(Share::Overflow, [part(&full, "a"), part(&free, "b")]).unwrap();
    let deployment = deployed(&spread).await;
    let recorder = Recorder::new();
    let began = tokio::time::Instant::now();
    let activation =
        spread.invoke(&deployment, &invocation("1").with_monitor(recorder.clone())).await.unwrap();
    assert_eq!(activation.attribute("platform"), Some("b"));
    assert!(activation.id.as_str().starts_with("b/"));
    assert!(began.elapsed() < secs(1), "{:?}", began.elapsed());
    assert_eq!(recorder.count("failed: throttled"), 1, "{:?}", recorder.lines());
}

#[tokio::test(start_paused = true)]
async fn removal_and_the_list_cover_all_platforms() {
    let (one, other) = (slow(secs(0)), slow(secs(0)));
    let spread = Spread::new(Share::Weight, [part(&one, "a"), part(&other, "b")]).unwrap();
    let deployment = deployed(&spread).await;
    assert_eq!(spread.list_deployments().await.unwrap(), vec![deployment.clone()]);
    // Another process has it as data, and finds it by its name.
    let json = serde_json::to_string(&deployment).unwrap();
    let stored: Deployment = serde_json::from_str(&json).unwrap();
    assert_eq!(spread.fetch_deployment("f").await.unwrap(), stored);
    // One that failed half-way is found, too.
    other.remove(&other.fetch_deployment("f").await.unwrap()).await.unwrap();
    let half = spread.fetch_deployment("f").await.unwrap();
    spread.remove(&half).await.unwrap();
    assert!(one.list_deployments().await.unwrap().is_empty());
    let error = spread.remove(&stored).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_call_of_which_nobody_knows_whether_it_ran_goes_elsewhere_only_if_it_is_idempotent() {
    let cut = fated(Fates::by(|call| call.invocation.map_or(Fate::Serve, |_| Fate::reset())));
    let up = slow(secs(0));
    let stack = Stack::new().with_retry(RetryPolicy::none());
    let parts = [part(&cut, "a"), part(&up, "b")];
    let spread = Spread::with_stack(Share::Overflow, parts, &stack).unwrap();
    let deployment = deployed(&spread).await;
    let error = spread.invoke(&deployment, &invocation("once")).await.unwrap_err();
    assert!(error.may_have_run() && error.message().starts_with("a: "), "{error}");
    assert_eq!(up.counters().started, 0, "it may have run on the other one");
    // Resting parts are asked again after a while.
    tokio::time::sleep(secs(60)).await;
    let twice = invocation("twice").with_idempotent(true);
    let activation = spread.invoke(&deployment, &twice).await.unwrap();
    assert_eq!(activation.attribute("platform"), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_is_down_is_left_alone_and_the_others_get_everything() {
    let error = Error::new(ErrorKind::Unavailable, "connection refused");
    let refused = error.with_unreachable(true).with_may_have_run(false);
    let down = fated(Fates::by(move |call| {
        call.invocation.map_or(Fate::Serve, |_| Fate::Refuse(refused.clone()))
    }));
    let up = slow(secs(0));
    let spread = Spread::new(Share::Overflow, [part(&down, "a"), part(&up, "b")]).unwrap();
    let deployment = deployed(&spread).await;
    for id in 0..5 {
        let activation = spread.invoke(&deployment, &invocation(&id.to_string())).await.unwrap();
        assert_eq!(activation.attribute("platform"), Some("b"));
    }
    assert_eq!(down.counters().invokes, 1, "it rests");
    down.configure(|settings| settings.fates = Fates::SERVE);
    tokio::time::sleep(secs(1)).await;
    let activation = spread.invoke(&deployment, &invocation("back")).await.unwrap();
    assert_eq!(activation.attribute("platform"), Some("a"), "it is back");
}

#[tokio::test(start_paused = true)]
async fn a_part_that_cannot_be_asked_keeps_no_other_from_its_results() {
    let (down, up) = (slow(secs(1)), slow(secs(1)));
    let spread = Spread::new(Share::Weight, [part(&down, "a"), part(&up, "b")]).unwrap();
    let deployment = deployed(&spread).await;
    let mut pending = Vec::new();
    for id in ["1", "2"] {
        pending.push(spread.submit(&deployment, &invocation(id)).await.unwrap());
    }
    let error = Error::new(ErrorKind::Unavailable, "connection refused").with_unreachable(true);
    down.configure(|settings| {
        settings.fates = Fates::by(move |_| Fate::Refuse(error.clone()));
    });
    tokio::time::sleep(secs(2)).await;
    let collected = spread.collect(&deployment, &pending).await.unwrap();
    let ids: Vec<_> = collected.finished.iter().map(|done| done.id.as_str()).collect();
    assert_eq!((ids.len(), ids[0].starts_with("b/")), (1, true), "{ids:?}");
    assert!(collected.gone.is_empty() && collected.poll_after > secs(0));
}

#[tokio::test(start_paused = true)]
async fn a_part_that_answers_soon_after_another_is_waited_for_and_one_that_takes_long_is_not() {
    for (latency, found) in [(60, 2), (500, 1)] {
        let parts = [20, latency].map(|latency| {
            let control_latency = millis(latency);
            Arc::new(InMemory::new(Settings { control_latency, ..Settings::default() }))
        });
        let both = [part(&parts[0], "a"), part(&parts[1], "b")];
        let spread = Spread::new(Share::Weight, both).unwrap();
        let deployment = deployed(&spread).await;
        let mut pending = Vec::new();
        for id in ["1", "2"] {
            pending.push(spread.submit(&deployment, &invocation(id)).await.unwrap());
        }
        let collected = spread.collect(&deployment, &pending).await.unwrap();
        assert_eq!(collected.finished.len(), found, "{latency}");
        let ids: Vec<_> = pending.into_iter().map(|pending| pending.id).collect();
        spread.release(&deployment, &ids, Release::Taken);
        assert_eq!(parts.map(|part| part.counters().unreleased), [0, 0]);
    }
}

#[test]
fn a_spread_that_cannot_work_is_refused_before_anything_is_sent() {
    let platform = slow(secs(0));
    let refused = |parts: Vec<Part>| Spread::new(Share::Weight, parts).unwrap_err().to_string();
    assert!(refused(vec![]).contains("no platform"));
    let twice = refused(vec![Part::new(platform.clone()), Part::new(platform.clone())]);
    assert!(twice.contains("\"in-memory\" is in the spread twice"), "{twice}");
    for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = refused(vec![part(&platform, "a").with_weight(weight)]);
        assert!(error.contains("invalid weight"), "{error}");
    }
    assert!(refused(vec![part(&platform, "a/b")]).contains("invalid name"));
    assert!(refused(vec![part(&platform, "a").with_concurrency(0)]).contains("concurrency"));
}

/// Two platforms in memory with different limits, as one.
struct Two {
    parts: [Arc<InMemory>; 2],
    spread: Arc<Spread>,
}

impl Two {
    fn configure(&self, change: impl Fn(&mut Settings)) {
        self.parts.iter().for_each(|part| part.configure(&change));
    }
}

#[async_trait]
impl Harness for Two {
    async fn start() -> Self {
        let memory = |limits: fn(Capabilities) -> Capabilities| {
            let respond =
                |call: &FunctionCall<'_>| Fixture::of_code(call.code).unwrap().reply(call);
            let capabilities = limits(Settings::default().capabilities);
            let settings = Settings { capabilities, capacity: Some(20), ..Settings::default() };
            let platform = InMemory::new(settings);
            let platform = platform.with_function("python", respond);
            Arc::new(platform.with_function("nodejs", respond))
        };
        let one = memory(|it| it.with_max_payload(6 << 20).with_max_submit_payload(1 << 20));
        let other = memory(|it| {
            it.with_max_payload(1 << 20)
                .with_max_submit_payload(6 << 20)
                .with_max_result(1 << 20)
                .with_max_code(1 << 20)
        });
        let stack = Stack::new().with_retry(RetryPolicy::none());
        let parts = [part(&one, "one"), part(&other, "other")];
        let spread = Spread::with_stack(Share::Weight, parts, &stack).unwrap();
        Self { parts: [one, other], spread: Arc::new(spread) }
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.spread.clone()
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        ["python:3", "nodejs:22"].map(|runtime| runtime.parse().unwrap()).to_vec()
    }

    async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        self.configure(|settings| settings.provoke(fault));
        Ok(self.spread.clone())
    }

    fn exempt(&self, case: &str) -> Option<Skip> {
        let reason = match case {
            "a_throttled_call_is_sent_once" | "a_throttled_submission_is_sent_once" => {
                "what one part throttles goes to the other"
            }
            "the_same_deployed_again_keeps_its_instances" => {
                "calls take turns, so the first two start an instance on each part"
            }
            _ => return None,
        };
        Some(Skip::new(reason))
    }

    fn calls(&self) -> Option<u64> {
        Some(
            self.parts
                .iter()
                .map(|part| part.counters())
                .map(|all| all.invokes + all.submits)
                .sum(),
        )
    }
}

mod conformance {
    use super::Two;

    falco_testkit::conformance_tests!(Two, tokio::test(start_paused = true));
}
