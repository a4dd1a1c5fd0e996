//! Each call of an invocation is in the trace, with what happened to it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::{
    Activation, AttemptReason, Attempts, Error, ErrorKind, Event, FunctionError, FunctionErrorKind,
    Invocation, Monitor, Outcome, Payload, RunId, WaitReason,
};
use falco_trace::{Call, CallOutcome, Record, Recorder, Sink, Why};

#[derive(Debug, Default)]
struct Calls(Mutex<Vec<Call<'static>>>);

impl Sink for Calls {
    fn take(&self, record: &Record<'_>) {
        if let Record::Call(call) = record {
            self.0.lock().unwrap().push((**call).clone().into_owned());
        }
    }
}

fn begun() -> (Arc<Recorder>, Arc<Calls>, Invocation) {
    let calls = Arc::new(Calls::default());
    let recorder = Arc::new(Recorder::new().with_sink(calls.clone()));
    let run = RunId::from("run-1");
    let _ = recorder.event(&Event::RunStarted { run: &run, plan: None });
    let invocation =
        Invocation::new("run-1", "map", "7", Payload::empty()).with_monitor(recorder.clone());
    (recorder, calls, invocation)
}

async fn pass(millis: u64) {
    tokio::time::advance(Duration::from_millis(millis)).await;
}

fn end(invocation: Invocation, outcome: Outcome, made: u32) {
    let attempts = Attempts::new(made);
    let now = std::time::SystemTime::now();
    let _ = invocation.complete(outcome, attempts, now, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_that_is_sent_again_keeps_its_attempt_and_has_ids_of_its_own() {
    let (_recorder, calls, it) = begun();
    it.report(&Event::Admitted { invocation: &it });
    it.report(&Event::Attempt { invocation: &it, reason: AttemptReason::First });
    pass(5).await;
    let (reason, wait) = (WaitReason::Limit, Duration::from_millis(5));
    it.report(&Event::Waiting { invocation: &it, reason, wait });
    pass(20).await;
    let error = Error::new(ErrorKind::Throttled, "slow down");
    it.report(&Event::CallFailed { invocation: &it, error: &error });
    pass(100).await;
    it.report(&Event::Attempt { invocation: &it, reason: AttemptReason::CallFailed });
    pass(30).await;
    let activation = Activation::succeeded("a-1", Payload::empty());
    it.report(&Event::Answered { invocation: &it, activation: &activation });
    let given = it.trace_context();
    end(it, Outcome::from_activation(activation), 1);
    let calls = calls.0.lock().unwrap();
    let [refused, answered] = &calls[..] else { panic!("{calls:#?}") };
    assert_eq!((refused.sent_at().as_millis(), refused.done.as_millis()), (5.0, 25.0));
    assert_eq!((refused.outcome, refused.last), (CallOutcome::Platform, false));
    assert_eq!((answered.attempt, answered.call, answered.why), (1, 2, Some(Why::Failed)));
    assert_eq!((answered.begun_at().as_millis(), answered.done.as_millis()), (125.0, 155.0));
    assert!(answered.last && answered.activation.as_deref() == Some("a-1"));
    assert_eq!(answered.trace_context("run-1"), given);
    assert_ne!(refused.trace_context("run-1").span_id(), given.span_id());
}

#[tokio::test(start_paused = true)]
async fn the_loser_of_two_copies_is_in_the_trace() {
    let (recorder, calls, it) = begun();
    it.report(&Event::Admitted { invocation: &it });
    it.report(&Event::Attempt { invocation: &it, reason: AttemptReason::First });
    pass(100).await;
    let copy = it.next_attempt();
    copy.report(&Event::Attempt { invocation: &copy, reason: AttemptReason::Straggler });
    pass(10).await;
    let activation = Activation::succeeded("a-2", Payload::empty());
    copy.report(&Event::Answered { invocation: &copy, activation: &activation });
    end(it, Outcome::from_activation(activation), 2);
    let calls = calls.0.lock().unwrap();
    let [loser, winner] = &calls[..] else { panic!("{calls:#?}") };
    assert_eq!((loser.attempt, loser.outcome, loser.last), (1, CallOutcome::Abandoned, false));
    assert_eq!((winner.attempt, winner.why, winner.last), (2, Some(Why::Copy), true));
    let view = recorder.view();
    assert_eq!((view.stages[0].counts.ended(), view.stages[0].counts.succeeded()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_function_that_fails_twice_is_in_the_trace_twice_with_its_traceback() {
    let (recorder, calls, it) = begun();
    it.report(&Event::Admitted { invocation: &it });
    let error = FunctionError::new(FunctionErrorKind::Raised, "no such column")
        .with_error_type("KeyError")
        .with_trace("Traceback (most recent call last): ..");
    let mut attempt = it.clone();
    for (n, reason) in [(1, AttemptReason::First), (2, AttemptReason::FunctionFailed)] {
        attempt.report(&Event::Attempt { invocation: &attempt, reason });
        pass(10).await;
        let activation = Activation::failed(format!("a-{n}"), error.clone());
        attempt.report(&Event::Answered { invocation: &attempt, activation: &activation });
        if n == 2 {
            end(it, Outcome::from_activation(activation), 2);
            break;
        }
        attempt = attempt.next_attempt();
    }
    let calls = calls.0.lock().unwrap();
    assert_eq!(calls.len(), 2);
    for (call, id) in calls.iter().zip(["a-1", "a-2"]) {
        let error = call.error.as_ref().unwrap();
        assert_eq!((call.outcome, call.activation.as_deref()), (CallOutcome::Function, Some(id)));
        assert_eq!(error.error_type.as_deref(), Some("KeyError"));
        assert!(error.trace.as_ref().unwrap().starts_with("Traceback"));
    }
    let view = recorder.view();
    assert_eq!(view.stages[0].kinds["function error"], 2);
    assert_eq!(view.stages[0].counts.failed(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_invocation_that_is_stopped_during_a_pause_is_settled_without_an_attempt() {
    let (recorder, calls, it) = begun();
    it.report(&Event::Admitted { invocation: &it });
    it.report(&Event::Attempt { invocation: &it, reason: AttemptReason::First });
    let error = Error::new(ErrorKind::Unavailable, "try later");
    it.report(&Event::CallFailed { invocation: &it, error: &error });
    let (reason, wait) = (WaitReason::BackOff, Duration::from_secs(9));
    it.report(&Event::Waiting { invocation: &it, reason, wait });
    assert_eq!(recorder.in_flight(), (1, 1));
    end(it, Outcome::Cancelled, 1);
    assert_eq!(recorder.in_flight(), (0, 0));
    let view = recorder.view();
    assert_eq!(view.stages[0].counts.of(CallOutcome::Cancelled), 1);
    assert_eq!(view.stages[0].counts.ended(), 1);
    let calls = calls.0.lock().unwrap();
    assert_eq!((calls.len(), calls[0].last), (1, false));
}

#[tokio::test(start_paused = true)]
async fn a_strategy_that_reports_only_completions_is_traced_by_them() {
    let (recorder, calls, it) = begun();
    let activation = Activation::succeeded("a-1", Payload::empty());
    let now = std::time::SystemTime::now();
    let attempts = Attempts::new(1);
    let took = Duration::from_millis(40);
    let _ = it.complete(Outcome::from_activation(activation), attempts, now, took);
    let calls = calls.0.lock().unwrap();
    assert_eq!(calls[0].done.since(calls[0].at).as_millis(), 40.0);
    assert_eq!(recorder.view().stages[0].counts.succeeded(), 1);
}

#[test]
fn what_gates_allow_and_refuse_is_in_the_trace_at_the_end_of_every_run() {
    use falco_core::congestion::{Allowance, GateState};
    let state = |name: u32| {
        let allowance = Allowance::UNLIMITED.with_rate(12.4, 1).with_concurrency(name);
        GateState::new(allowance).with_in_flight(3).with_throttled(name.into())
    };
    let recorder = Recorder::new();
    let recorder =
        Arc::new(recorder.with_gate("a", move || state(7)).with_gate("b", move || state(9)));
    for run in ["run-1", "run-2"] {
        let run = RunId::from(run);
        let _ = recorder.event(&Event::RunStarted { run: &run, plan: None });
        let _ = recorder.event(&Event::RunFinished { run: &run, error: None });
        let view = recorder.view();
        let gates: Vec<_> = view
            .controls()
            .map(|gate| (gate.name.as_str(), gate.latest.window, gate.latest.refused))
            .collect();
        assert_eq!(gates, [("a", Some(7), Some(7)), ("b", Some(9), Some(9))]);
        assert_eq!((view.gates[1].latest.rate, view.gates[1].latest.fly), (Some(12), 3));
        assert!(view.is_over() && view.flight().is_some());
    }
}
