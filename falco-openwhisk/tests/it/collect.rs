//! Submitted activations come back, each once and with few requests, whatever the list does.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use falco_core::{
    ActivationId, AsyncPlatform, Deployment, ExecutionStrategy, Invocation, Payload, Pending,
    Platform, Release, Target,
};
use falco_executors::AsyncExecutor;
use falco_fakes::http::Request;
use falco_fakes::openwhisk::{FakeOpenWhisk, FakeSettings};
use falco_openwhisk::OpenWhisk;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{connect, echo, invocation, python};

/// Far more than any of these takes; what is not there by then does not come.
const LONG: Duration = Duration::from_secs(60);

async fn setup(settings: FakeSettings) -> (FakeOpenWhisk, OpenWhisk, Deployment) {
    let (fake, platform) = connect(settings).await;
    let deployment = platform.deploy(&python()).await.unwrap();
    fake.forget_requests();
    (fake, platform, deployment)
}

/// Submits an activation for each of the arguments, in order.
async fn submit(
    platform: &OpenWhisk,
    deployment: &Deployment,
    arguments: impl IntoIterator<Item = Value>,
) -> BTreeMap<ActivationId, (Pending, Value)> {
    let submitted: Vec<_> = stream::iter(arguments)
        .map(|arguments| async move {
            let invocation = invocation(&arguments);
            (platform.submit(deployment, &invocation).await.unwrap(), arguments)
        })
        .buffered(16)
        .collect()
        .await;
    submitted
        .into_iter()
        .map(|(pending, arguments)| (pending.id.clone(), (pending, arguments)))
        .collect()
}

/// Collects all of them, each with the result that belongs to it, and releases them; how often it looked.
async fn collect_all(
    platform: &OpenWhisk,
    deployment: &Deployment,
    mut submitted: BTreeMap<ActivationId, (Pending, Value)>,
) -> usize {
    let mut looks = 0;
    let all = async {
        while !submitted.is_empty() {
            looks += 1;
            let pending: Vec<Pending> =
                submitted.values().map(|(pending, _)| pending.clone()).collect();
            let collected = platform.collect(deployment, &pending).await.unwrap();
            assert!(collected.gone.is_empty());
            for activation in collected.finished {
                let (_, arguments) =
                    submitted.remove(&activation.id).expect("asked for, and not released");
                let result: Value = activation.outcome.unwrap().parse().unwrap();
                assert_eq!(result, arguments);
                platform.release(deployment, &[activation.id], Release::Taken);
            }
            sleep(collected.poll_after).await;
        }
    };
    timeout(LONG, all).await.expect("an activation is missing");
    looks
}

fn is_collecting(request: &Request) -> bool {
    request.path.contains("/activations")
}

fn numbered(range: std::ops::Range<u32>) -> impl Iterator<Item = Value> {
    range.map(|n| json!({"n": n}))
}

#[tokio::test]
async fn a_look_that_comes_too_soon_asks_nobody_and_says_so() {
    let settings = FakeSettings { record_lag: LONG, list_lag: LONG, ..echo() };
    let (fake, platform, deployment) = setup(settings).await;
    let submitted = submit(&platform, &deployment, [json!({"n": 1})]).await;
    let pending: Vec<Pending> = submitted.into_values().map(|(pending, _)| pending).collect();
    let mut from_memory = 0;
    for _ in 0..20 {
        let before = fake.collecting_requests();
        let collected = platform.collect(&deployment, &pending).await.unwrap();
        let has_asked = fake.collecting_requests() > before;
        assert_eq!(collected.is_from_memory, !has_asked);
        from_memory += usize::from(collected.is_from_memory);
    }
    assert!((1..20).contains(&from_memory), "{from_memory} of 20");
}

#[tokio::test]
async fn a_thousand_activations_take_a_request_for_two_hundred_of_them_and_one_a_look() {
    let (fake, platform, deployment) = setup(echo()).await;
    let submitted = submit(&platform, &deployment, numbered(0..1000)).await;
    let looks = collect_all(&platform, &deployment, submitted).await;
    let requests = fake.count_requests(is_collecting);
    assert!(requests <= 1000 / 200 + 2 * looks, "{requests} requests in {looks} looks");
    assert!(requests <= 20, "{requests} requests");
}

#[tokio::test]
async fn one_that_began_first_and_ends_last_is_not_missed() {
    let (fake, platform, deployment) = setup(echo()).await;
    let long = [json!({"n": "long", "sleep_ms": 1500})];
    let submitted = submit(&platform, &deployment, long.into_iter().chain(numbered(0..700))).await;
    let looks = collect_all(&platform, &deployment, submitted).await;
    let requests = fake.count_requests(is_collecting);
    assert!(requests <= 700 / 200 + 3 * looks, "{requests} requests in {looks} looks");
}

#[tokio::test]
async fn many_that_began_first_and_end_last_are_not_missed() {
    let (fake, platform, deployment) = setup(echo()).await;
    let long = (0..100).map(|n| json!({"long": n, "sleep_ms": 1200 + 5 * n}));
    let submitted = submit(&platform, &deployment, long.chain(numbered(0..500))).await;
    collect_all(&platform, &deployment, submitted).await;
    let by_id = fake.count_requests(|request| {
        is_collecting(request) && !request.path.ends_with("/activations")
    });
    assert!(by_id < 50, "{by_id} requests for single activations");
}

#[tokio::test]
async fn records_that_come_late_and_twice_are_collected_once() {
    let settings = FakeSettings {
        record_lag: Duration::from_millis(150),
        list_lag: Duration::from_millis(300),
        lists_twice: true,
        ..echo()
    };
    let (_fake, platform, deployment) = setup(settings).await;
    let submitted = submit(&platform, &deployment, numbered(0..250)).await;
    collect_all(&platform, &deployment, submitted).await;
}

#[tokio::test]
async fn a_record_that_never_comes_does_not_delay_the_others() {
    let (_fake, platform, deployment) =
        setup(FakeSettings { loses_every: Some(10), ..echo() }).await;
    let mut submitted = submit(&platform, &deployment, numbered(0..100)).await;
    let mut lost = BTreeMap::new();
    for id in (10..=100).step_by(10).map(|n| ActivationId::from(format!("{n:032x}"))) {
        let entry = submitted.remove(&id).unwrap();
        lost.insert(id, entry);
    }
    collect_all(&platform, &deployment, submitted).await;
    let pending: Vec<Pending> = lost.values().map(|(pending, _)| pending.clone()).collect();
    let collected = platform.collect(&deployment, &pending).await.unwrap();
    assert!(collected.finished.is_empty() && collected.gone.is_empty(), "{collected:?}");
}

#[tokio::test]
async fn no_page_is_repeated_within_a_tenth_of_a_second_and_no_activation_asked_for_often() {
    let (fake, platform, deployment) = setup(echo()).await;
    let arguments = (0..20).map(|n| json!({"n": n, "sleep_ms": 400}));
    let submitted = submit(&platform, &deployment, arguments).await;
    let pending: Vec<Pending> = submitted.values().map(|(pending, _)| pending.clone()).collect();
    // Without any pause, by two callers at once.
    let begun = Instant::now();
    let hammer = || async {
        let is_by_id = |request: &Request| request.path.contains("/activations/");
        while begun.elapsed() < Duration::from_millis(900)
            || (fake.count_requests(is_by_id) < 20 && begun.elapsed() < LONG)
        {
            platform.collect(&deployment, &pending).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(hammer(), hammer());
    let took = begun.elapsed();
    let mut pages: HashMap<String, u128> = HashMap::new();
    let mut by_id: HashMap<String, u128> = HashMap::new();
    for request in fake.requests().into_iter().filter(is_collecting) {
        match request.path.ends_with("/activations") {
            true => *pages.entry(request.target.clone()).or_default() += 1,
            false => *by_id.entry(request.path).or_default() += 1,
        }
    }
    // When they arrive says little on a busy machine; how many were sent in that time says it all.
    let most = took.as_millis() / 100 + 1;
    assert!(pages.values().all(|asked| *asked <= most), "more than {most} in {took:?}: {pages:?}");
    assert_eq!(by_id.len(), 20);
    let most = took.as_millis() / 30 + 1;
    assert!(by_id.values().all(|asked| *asked <= most), "more than {most} in {took:?}: {by_id:?}");
}

#[tokio::test]
async fn with_a_small_window_and_a_list_that_lags_activations_are_found_by_their_ids() {
    // A list that is never up to date while it matters.
    let lag = Duration::from_secs(3600);
    let (fake, platform, deployment) = setup(FakeSettings { list_lag: lag, ..echo() }).await;
    let count = 200;
    let executor = AsyncExecutor::with_window(8).unwrap();
    let target = Target::new(Arc::new(platform), deployment);
    let invocations = (0..count).map(|n| {
        let arguments = Payload::json(&json!({"n": n, "sleep_ms": 5})).unwrap();
        Invocation::new("run", "stage", format!("{n:04}"), arguments)
    });
    let invocations = stream::iter(invocations.collect::<Vec<_>>()).boxed();
    let run = executor.execute(target, invocations);
    let succeeded = run.filter(|completion| std::future::ready(completion.is_success())).count();
    assert_eq!(timeout(LONG, succeeded).await.unwrap(), count);
    let by_id = fake.count_requests(|request| request.path.contains("/activations/"));
    assert!((count..10 * count).contains(&by_id), "{by_id} requests for {count} activations");
}

#[tokio::test]
async fn activations_that_were_accepted_and_never_started_are_submitted_again() {
    let settings = FakeSettings { refuses_late_every: Some(10), ..echo() };
    let (fake, platform, deployment) = setup(settings).await;
    // Of thirty, three are refused; none of the three that are submitted again is a tenth one.
    let count = 30;
    let executor = AsyncExecutor::with_window(count).unwrap();
    let target = Target::new(Arc::new(platform), deployment);
    let invocations = (0..count)
        .map(|n| Invocation::new("run", "stage", format!("{n:04}"), Payload::empty()))
        .collect::<Vec<_>>();
    let run = executor.execute(target, stream::iter(invocations).boxed());
    let completions: Vec<_> = timeout(LONG, run.collect()).await.unwrap();
    assert_eq!(completions.len(), count);
    for completion in &completions {
        assert!(completion.is_success(), "{:?}", completion.outcome);
    }
    assert_eq!(fake.activations(), 33);
}

#[tokio::test]
async fn a_dropped_collect_loses_nothing() {
    let (_fake, platform, deployment) = setup(echo()).await;
    let submitted = submit(&platform, &deployment, numbered(0..900)).await;
    let pending: Vec<Pending> = submitted.values().map(|(pending, _)| pending.clone()).collect();
    for micros in (0..20_000).step_by(1500) {
        let _ =
            timeout(Duration::from_micros(micros), platform.collect(&deployment, &pending)).await;
    }
    collect_all(&platform, &deployment, submitted).await;
}

#[tokio::test]
async fn an_activation_is_reported_until_it_is_released_and_not_after() {
    let (_fake, platform, deployment) = setup(echo()).await;
    let submitted = submit(&platform, &deployment, numbered(0..1)).await;
    let (pending, _) = submitted.into_values().next().unwrap();
    let pending = [pending];
    let found = async {
        loop {
            let collected = platform.collect(&deployment, &pending).await.unwrap();
            if !collected.finished.is_empty() {
                return;
            }
            sleep(collected.poll_after).await;
        }
    };
    timeout(LONG, found).await.unwrap();
    let again = platform.collect(&deployment, &pending).await.unwrap();
    assert_eq!(again.finished.len(), 1);
    platform.release(&deployment, &[pending[0].id.clone()], Release::Taken);
    platform.release(&deployment, &["unknown".into()], Release::Abandoned);
    sleep(Duration::from_millis(120)).await;
    let after = platform.collect(&deployment, &pending).await.unwrap();
    assert!(after.finished.is_empty());
}

#[tokio::test]
async fn another_process_collects_what_this_one_submitted() {
    let (fake, platform, deployment) = setup(echo()).await;
    let submitted = submit(&platform, &deployment, numbered(0..300)).await;
    drop(platform);
    let stored = serde_json::to_string(&deployment).unwrap();
    let other = OpenWhisk::connect(fake.config().build().unwrap()).await.unwrap();
    let deployment: Deployment = serde_json::from_str(&stored).unwrap();
    collect_all(&other, &deployment, submitted).await;
}

#[tokio::test]
async fn an_id_that_the_server_never_gave_out_is_not_asked_for() {
    let (fake, platform, deployment) = setup(echo()).await;
    let strange = Pending::new("no-id", SystemTime::now());
    let collected = platform.collect(&deployment, &[strange]).await.unwrap();
    assert!(collected.gone.is_empty() && collected.finished.is_empty());
    assert_eq!(fake.count_requests(|_| true), 0);
}

#[tokio::test]
async fn callers_with_different_activations_each_get_their_own() {
    let (_fake, platform, deployment) = setup(echo()).await;
    let one = submit(&platform, &deployment, numbered(0..150)).await;
    let other = submit(&platform, &deployment, numbered(150..300)).await;
    tokio::join!(
        collect_all(&platform, &deployment, one),
        collect_all(&platform, &deployment, other)
    );
}
