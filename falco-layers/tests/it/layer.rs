//! When congestion control takes a slot, and when it gives it back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::congestion::{Allowance, CongestionController, Signal, SignalKind};
use falco_core::*;
use falco_layers::{CongestionControl, Fixed, Gate};
use falco_testkit::{Fate, Fates, InMemory, Operation, Settings};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::support::*;

/// Allows so many at once, and writes down which outcomes it hears of.
#[derive(Debug)]
struct Listener {
    allowance: Allowance,
    heard: Arc<Mutex<Vec<SignalKind>>>,
}

impl CongestionController for Listener {
    fn on_signal(&mut self, _: Duration, signal: &Signal) {
        self.heard.lock().unwrap().push(signal.kind);
    }

    fn allowance(&mut self, _: Duration) -> Allowance {
        self.allowance
    }
}

struct Controlled {
    platform: Arc<InMemory>,
    layer: CongestionControl<Arc<InMemory>>,
    deployment: Deployment,
    heard: Arc<Mutex<Vec<SignalKind>>>,
}

impl Controlled {
    async fn new(platform: Arc<InMemory>, concurrency: u32) -> Self {
        let heard = Arc::default();
        let allowance = Allowance::UNLIMITED.with_concurrency(concurrency);
        let gate = Gate::new(Listener { allowance, heard: Arc::clone(&heard) });
        let layer = CongestionControl::new(Arc::clone(&platform), gate);
        let deployment = deployed(&layer).await;
        Self { platform, layer, deployment, heard }
    }

    fn in_flight(&self) -> u32 {
        self.layer.gate().in_flight()
    }

    async fn submit(&self, id: &str) -> Pending {
        self.layer.submit(&self.deployment, &invocation(id)).await.unwrap()
    }

    fn heard(&self) -> Vec<SignalKind> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_invokes_run_at_once_than_allowed() {
    let c = Controlled::new(slow(millis(10)), 3).await;
    let ids: Vec<_> = (0..50).map(|i| invocation(&i.to_string())).collect();
    let answers = join_all(ids.iter().map(|i| c.layer.invoke(&c.deployment, i))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(c.platform.counters().peak_running, 3);
    assert_eq!(c.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_invoke_gives_its_slot_back_as_abandoned() {
    let c = Controlled::new(slow(secs(3600)), 1).await;
    let invocation = invocation("a");
    let call = c.layer.invoke(&c.deployment, &invocation);
    assert!(tokio::time::timeout(secs(1), call).await.is_err());
    assert_eq!(c.in_flight(), 0);
    assert_eq!(c.heard(), [SignalKind::Abandoned]);
}

#[tokio::test(start_paused = true)]
async fn a_submitted_call_holds_its_slot_until_its_end_is_seen() {
    let c = Controlled::new(slow(secs(5)), 1).await;
    let pending = [c.submit("a").await];
    assert_eq!(c.in_flight(), 1);
    let collected = c.layer.collect(&c.deployment, &pending).await.unwrap();
    assert!(collected.finished.is_empty());
    assert_eq!(c.in_flight(), 1);
    tokio::time::sleep(secs(6)).await;
    let collected = c.layer.collect(&c.deployment, &pending).await.unwrap();
    assert_eq!(collected.finished.len(), 1);
    assert_eq!((c.in_flight(), c.heard()), (0, vec![SignalKind::Ok]));
    // The same end, seen again, is not a second signal; nor is the release.
    c.layer.collect(&c.deployment, &pending).await.unwrap();
    c.layer.release(&c.deployment, &[pending[0].id.clone()], Release::Taken);
    assert_eq!(c.heard(), []);
    assert_eq!(c.platform.counters().taken, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_released_as_abandoned_gives_its_slot_back_at_once() {
    let c = Controlled::new(slow(secs(3600)), 2).await;
    let ids = [c.submit("a").await.id, c.submit("b").await.id];
    c.layer.release(&c.deployment, &ids, Release::Abandoned);
    assert_eq!(c.in_flight(), 0);
    assert_eq!(c.heard(), [SignalKind::Abandoned; 2]);
    assert_eq!(c.platform.counters().abandoned, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_a_failure_of_the_platform() {
    let c = Controlled::new(fated(Fates::sequence([Fate::Vanish])), 1).await;
    let pending = [c.submit("a").await];
    tokio::time::sleep(secs(1)).await;
    assert_eq!(c.layer.collect(&c.deployment, &pending).await.unwrap().gone.len(), 1);
    assert_eq!((c.in_flight(), c.heard()), (0, vec![SignalKind::Failed]));
}

#[tokio::test(start_paused = true)]
async fn throttling_that_collect_reports_slows_down_as_that_of_a_call_does() {
    let refusal = Error::new(ErrorKind::Throttled, "too many").with_retry_after(secs(7));
    let c = Controlled::new(fated(Fates::sequence([Fate::FailLate(refusal)])), 1).await;
    let pending = [c.submit("a").await];
    tokio::time::sleep(secs(1)).await;
    assert_eq!(c.layer.collect(&c.deployment, &pending).await.unwrap().gone.len(), 1);
    assert_eq!((c.in_flight(), c.heard()), (0, vec![SignalKind::Throttled]));
    let began = Instant::now();
    c.submit("b").await;
    assert_eq!(began.elapsed(), secs(7));
}

#[tokio::test(start_paused = true)]
async fn a_lost_call_holds_a_small_window_no_longer_than_its_function_may_take() {
    let platform = fated(Fates::sequence([Fate::Lose]));
    let mut c = Controlled::new(platform, 1).await;
    c.layer = c.layer.with_grace(secs(10));
    c.deployment.scaling.timeout = Some(secs(20));
    c.submit("lost").await;
    let began = Instant::now();
    c.submit("next").await;
    assert_eq!(began.elapsed(), secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_submission_that_fails_holds_nothing() {
    let c = Controlled::new(fated(Fates::sequence([Fate::unavailable()])), 1).await;
    assert!(c.layer.submit(&c.deployment, &invocation("a")).await.is_err());
    assert_eq!((c.in_flight(), c.heard()), (0, vec![SignalKind::Failed]));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_submission_holds_nothing() {
    let c = Controlled::new(fated(Fates::sequence([Fate::Hang])), 1).await;
    let invocation = invocation("a");
    let call = c.layer.submit(&c.deployment, &invocation);
    assert!(tokio::time::timeout(secs(1), call).await.is_err());
    assert_eq!((c.in_flight(), c.heard()), (0, vec![SignalKind::Abandoned]));
}

#[tokio::test(start_paused = true)]
async fn each_outcome_becomes_the_right_signal_for_the_rate() {
    let refused = |kind| Fate::Refuse(Error::new(kind, "on purpose"));
    for (fate, signal) in [
        (Fate::Serve, SignalKind::Ok),
        (Fate::raise(), SignalKind::Ok),
        (Fate::throttle(None), SignalKind::Throttled),
        (Fate::unavailable(), SignalKind::Failed),
        (refused(ErrorKind::Timeout), SignalKind::Failed),
        (refused(ErrorKind::Protocol), SignalKind::Failed),
        (refused(ErrorKind::Lost), SignalKind::Failed),
        (refused(ErrorKind::InvalidInput), SignalKind::Abandoned),
        (refused(ErrorKind::Forbidden), SignalKind::Abandoned),
    ] {
        let c = Controlled::new(fated(Fates::sequence([fate])), 1).await;
        let _ = c.layer.invoke(&c.deployment, &invocation("a")).await;
        assert_eq!(c.heard(), [signal]);
    }
}

#[tokio::test(start_paused = true)]
async fn status_queries_do_not_wait_behind_invocations_and_have_a_limit_of_their_own() {
    let c = Controlled::new(slow(secs(5)), 1).await;
    let queries = Gate::new(Fixed::rate(2.0));
    let layer = c.layer.clone().with_query_gate(queries);
    let pending = [layer.submit(&c.deployment, &invocation("a")).await.unwrap()];
    let began = Instant::now();
    for _ in 0..5 {
        layer.collect(&c.deployment, &pending).await.unwrap();
    }
    assert_eq!(began.elapsed(), secs(2));
    layer.activation_log(&c.deployment, &[]).await.unwrap();
    assert_eq!(began.elapsed(), millis(2500));
}

#[tokio::test(start_paused = true)]
async fn throttled_status_queries_become_fewer() {
    let fates = Fates::by(|call| match call.operation {
        Operation::Collect => Fate::throttle(None),
        _ => Fate::Serve,
    });
    let c = Controlled::new(fated(fates), 1).await;
    let asking = async {
        loop {
            let _ = c.layer.collect(&c.deployment, &[]).await;
        }
    };
    let _ = tokio::time::timeout(secs(20), asking).await;
    let before = c.platform.counters().collects;
    let asking = async {
        loop {
            let _ = c.layer.collect(&c.deployment, &[]).await;
        }
    };
    let _ = tokio::time::timeout(secs(10), asking).await;
    assert!(c.platform.counters().collects - before <= 20, "{:?}", c.platform.counters());
    assert_eq!(c.heard(), []);
}

#[tokio::test(start_paused = true)]
async fn one_gate_holds_for_all_platforms_behind_it() {
    let gate = Gate::new(Fixed::new(Allowance::UNLIMITED.with_concurrency(4)));
    let running = Arc::new(InMemory::new(Settings {
        latency: falco_testkit::Latency::fixed(millis(10)),
        ..Settings::default()
    }));
    let one = CongestionControl::new(Arc::clone(&running), gate.clone());
    let other = CongestionControl::new(Arc::clone(&running), gate);
    let deployment = deployed(&one).await;
    let ids: Vec<_> = (0..40).map(|i| invocation(&i.to_string())).collect();
    let calls = ids.iter().map(|i| async {
        let (a, b) = tokio::join!(one.invoke(&deployment, i), other.invoke(&deployment, i));
        a.unwrap();
        b.unwrap();
    });
    join_all(calls).await;
    assert_eq!(running.counters().peak_running, 4);
}

#[tokio::test(start_paused = true)]
async fn a_wait_in_line_is_reported_and_no_wait_is_not() {
    for (latency, reported) in [
        (millis(100), &["held: Limit", "waiting: Limit 100ms"][..]),
        (millis(1), &["held: Limit", "waiting: Limit 1ms"]),
    ] {
        let c = Controlled::new(slow(latency), 1).await;
        let recorder = Recorder::new();
        let watched = invocation("a").with_monitor(recorder.clone());
        let (a, b) = tokio::join!(
            c.layer.invoke(&c.deployment, &watched),
            c.layer.invoke(&c.deployment, &watched)
        );
        assert!(a.is_ok() && b.is_ok());
        assert_eq!(recorder.lines(), reported);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_platform_demands_differs_from_one_in_line() {
    let c = Controlled::new(fated(Fates::sequence([Fate::throttle(Some(secs(7)))])), 1).await;
    let recorder = Recorder::new();
    let watched = invocation("a").with_monitor(recorder.clone());
    let (refused, served) = tokio::join!(
        c.layer.invoke(&c.deployment, &watched),
        c.layer.invoke(&c.deployment, &watched)
    );
    assert_eq!(refused.unwrap_err().retry_after(), Some(secs(7)));
    assert!(served.is_ok());
    assert_eq!(recorder.lines(), ["held: Limit", "waiting: Platform 7s"]);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_without_end_does_not_break_a_submission() {
    let mut c = Controlled::new(slow(secs(1)), 1).await;
    c.deployment.scaling.timeout = Some(Duration::MAX);
    let pending = [c.submit("a").await];
    tokio::time::sleep(secs(1)).await;
    assert_eq!(c.layer.collect(&c.deployment, &pending).await.unwrap().finished.len(), 1);
    assert_eq!(c.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_long_call_keeps_its_slot_where_only_the_platform_states_a_timeout() {
    let c = Controlled::new(slow(secs(3600)), 1).await;
    assert_eq!(c.deployment.scaling.timeout, None);
    let pending = [c.submit("long").await];
    let next = invocation("next");
    let next = c.layer.submit(&c.deployment, &next);
    assert!(tokio::time::timeout(secs(3599), next).await.is_err());
    assert_eq!(c.platform.counters().peak_running, 1);
    c.layer.release(&c.deployment, &[pending[0].id.clone()], Release::Abandoned);
    c.submit("next").await;
}

#[tokio::test(start_paused = true)]
async fn status_queries_are_sixteen_at_a_time_and_a_thousand_a_second_by_default() {
    let c = Controlled::new(slow(millis(1)), 1).await;
    let queries = async |count: usize| {
        let began = Instant::now();
        join_all((0..count).map(|_| c.layer.collect(&c.deployment, &[]))).await;
        began.elapsed()
    };
    c.platform.configure(|settings| settings.control_latency = secs(1));
    // A millisecond lies between two starts.
    let spread = millis(20);
    for (count, elapsed) in [(16, secs(1)), (17, secs(2))] {
        assert!((elapsed..=elapsed + spread).contains(&queries(count).await), "{count}");
    }
    c.platform.configure(|settings| settings.control_latency = Duration::ZERO);
    let elapsed = queries(3000).await;
    assert!((millis(2900)..=millis(3100)).contains(&elapsed), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn what_one_clone_has_submitted_another_one_gives_back() {
    let c = Controlled::new(slow(secs(1)), 1).await;
    let clone = c.layer.clone();
    let pending = [c.submit("a").await];
    tokio::time::sleep(secs(1)).await;
    clone.collect(&c.deployment, &pending).await.unwrap();
    assert_eq!((c.in_flight(), c.heard()), (0, vec![SignalKind::Ok]));
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_dropped_gives_its_slots_back_to_those_it_shared_the_gate_with() {
    let c = Controlled::new(slow(secs(3600)), 1).await;
    c.submit("a").await;
    let gate = c.layer.gate().clone();
    drop(c.layer);
    assert_eq!(gate.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_panics_takes_no_slot_with_it() {
    for operation in [Operation::Invoke, Operation::Submit, Operation::Collect] {
        let fates = Fates::by(move |call| match call.operation == operation && call.number == 1 {
            true => Fate::Panic,
            false => Fate::Serve,
        });
        let c = Controlled::new(fated(fates), 1).await;
        let queries = Gate::new(Fixed::new(Allowance::UNLIMITED.with_concurrency(1)));
        let layer = c.layer.clone().with_query_gate(queries.clone());
        let deployment = c.deployment.clone();
        let call = tokio::spawn(async move {
            match operation {
                Operation::Invoke => layer.invoke(&deployment, &invocation("a")).await.map(drop),
                Operation::Submit => layer.submit(&deployment, &invocation("a")).await.map(drop),
                _ => layer.collect(&deployment, &[]).await.map(drop),
            }
        });
        assert!(call.await.unwrap_err().is_panic(), "{operation:?}");
        assert_eq!((c.in_flight(), queries.in_flight()), (0, 0), "{operation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_suggested_to_a_status_query_stops_status_queries_and_nothing_else() {
    let fates = Fates::by(|call| match (call.operation, call.number) {
        (Operation::Collect, 1) => Fate::throttle(Some(secs(7))),
        _ => Fate::Serve,
    });
    let c = Controlled::new(fated(fates), 1).await;
    assert!(c.layer.collect(&c.deployment, &[]).await.is_err());
    let began = Instant::now();
    c.layer.invoke(&c.deployment, &invocation("a")).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    c.layer.collect(&c.deployment, &[]).await.unwrap();
    assert_eq!(began.elapsed(), secs(7));
}

#[tokio::test(start_paused = true)]
async fn the_grace_is_a_minute_by_default() {
    let mut c = Controlled::new(fated(Fates::sequence([Fate::Lose])), 1).await;
    c.deployment.scaling.timeout = Some(secs(20));
    c.submit("lost").await;
    let began = Instant::now();
    c.submit("next").await;
    assert_eq!(began.elapsed(), secs(80));
}
