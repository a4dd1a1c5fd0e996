//! Inputs that are wrong: each is named, and nothing of it is sent.

use std::sync::Arc;

use falco_core::{Error, ErrorKind, Input, Payload, Stage};
use falco_executors::report::StageState;
use falco_executors::{DriverExt, OneToOne, RunOutcome};
use falco_testkit::InMemory;
use futures_util::stream;

use super::support::{Plan, function, json, numbers, options};

async fn run(stages: Vec<Stage>) -> RunOutcome {
    let platform = Arc::new(InMemory::default());
    let outcome = Plan(stages).run(options(&platform)).await.unwrap();
    assert_eq!(platform.counters().deploys, platform.counters().removes);
    outcome
}

fn stage_of(inputs: Vec<Result<Input, Error>>) -> Stage {
    Stage::new("map", function("map"), move || stream::iter(inputs.clone()))
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_given_twice_is_named() {
    for id in ["00000000", "a.txt"] {
        let input = || Ok(Input::new(id, Payload::empty()));
        let outcome = run(vec![stage_of(vec![input(), input(), input()])]).await;
        let report = outcome.report.stage("map").unwrap();
        assert_eq!(report.state, StageState::Failed);
        let error = report.error.as_ref().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let message = error.to_string();
        assert!(message.contains(&format!("{id:?}")) && message.contains("\"map\""), "{message}");
        let counts = report.invocations;
        assert_eq!((counts.entered(), counts.skipped), (1, 2));
    }
}

#[derive(Debug)]
struct AllTheSame;

impl falco_core::Derivation for AllTheSame {
    fn start(
        &self,
        _: falco_core::DerivationContext,
    ) -> falco_core::Result<Box<dyn falco_core::Deriver>> {
        Ok(Box::new(Self))
    }
}

impl falco_core::Deriver for AllTheSame {
    fn on_completion(&mut self, _: &falco_core::Completion) -> falco_core::Result<Vec<Input>> {
        Ok(vec![Input::new("same", Payload::empty())])
    }

    fn finish(&mut self) -> falco_core::Result<Vec<Input>> {
        Ok(Vec::new())
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_derived_twice_is_named() {
    let next = Stage::derived("next", function("next"), ["map"], AllTheSame);
    let outcome = run(vec![numbers("map", 2), next]).await;
    let error = outcome.error().unwrap().to_string();
    assert!(error.contains("\"same\"") && error.contains("\"next\""), "{error}");
    assert_eq!(outcome.report.stage("map").unwrap().state, StageState::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_is_not_an_object_is_named() {
    let list = Input::new("wrong", json(serde_json::json!([1])));
    let outcome = run(vec![stage_of(vec![Ok(list)])]).await;
    let error = outcome.error().unwrap().to_string();
    assert!(error.contains("\"wrong\"") && error.contains("JSON object"), "{error}");
    assert_eq!(outcome.report.attempts, 0);
}

#[tokio::test(start_paused = true)]
async fn a_derived_input_that_is_not_an_object_is_named() {
    let list = OneToOne::by(|_| Payload::from_bytes("[]"));
    let next = Stage::derived("next", function("next"), ["map"], list);
    let outcome = run(vec![numbers("map", 1), next]).await;
    let error = outcome.error().unwrap().to_string();
    assert!(error.contains("\"next\"") && error.contains("\"00000000\""), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_input_that_cannot_be_read_fails_its_stage() {
    let unreadable = Error::new(ErrorKind::NotFound, "poem.txt is not there");
    let outcome = run(vec![stage_of(vec![Err(unreadable)])]).await;
    assert!(outcome.error().unwrap().to_string().contains("poem.txt"));
}

#[tokio::test(start_paused = true)]
async fn what_is_left_when_a_stage_stops_is_counted_without_being_made() {
    let made = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = made.clone();
    let twice = Input::new("00000000", Payload::empty());
    let stage = Stage::new("map", function("map"), move || {
        let counter = counter.clone();
        let many = (0..1_000).map(move |index| {
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok(Input::numbered(index, Payload::empty()))
        });
        use futures_util::StreamExt;
        stream::iter([Ok(twice.clone())]).chain(stream::iter(many))
    });
    let outcome = run(vec![stage]).await;
    let counts = outcome.report.stage("map").unwrap().invocations;
    assert_eq!((counts.entered(), counts.skipped), (1, 1_000));
    assert!(!counts.skipped_is_lower_bound);
    assert_eq!(made.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn inputs_without_end_are_counted_as_far_as_patience_goes() {
    let endless = |index: usize| match index {
        0 => Some(Ok(json(serde_json::json!([])))),
        _ => Some(Ok(Payload::empty())),
    };
    let outcome = run(vec![Stage::from_fn("map", function("map"), endless)]).await;
    let counts = outcome.report.stage("map").unwrap().invocations;
    assert!(counts.skipped_is_lower_bound && counts.skipped > 1);
}

/// Lambda takes 6 MiB by invoking and 1 MiB by submitting: who only invokes must not suffer from the other limit.
#[tokio::test(start_paused = true)]
async fn the_limit_of_a_derived_input_is_that_of_the_way_it_is_sent() {
    #[derive(Debug)]
    struct Submitting(super::support::Naive);

    impl falco_core::ExecutionStrategy for Submitting {
        fn execute(
            &self,
            target: falco_core::Target,
            invocations: falco_core::BoxStream<'static, falco_core::Invocation>,
        ) -> falco_core::BoxStream<'static, falco_core::Completion> {
            self.0.execute(target, invocations)
        }

        fn submits(&self) -> bool {
            true
        }
    }

    let platform = Arc::new(InMemory::default());
    platform.configure(|settings| settings.capabilities.max_submit_payload = Some(100));
    let next = Stage::derived("next", function("next"), ["map"], falco_executors::FanIn::new());
    let plan = Plan(vec![numbers("map", 20), next]);
    let deployed = plan.deploy(options(&platform)).await.unwrap();
    assert!(plan.execute(&super::support::Naive(4), &deployed).await.is_success());
    let outcome = plan.execute(&Submitting(super::support::Naive(4)), &deployed).await;
    let error = outcome.error().unwrap();
    assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
    assert!(error.to_string().contains("100"), "{error}");
    plan.remove(&deployed).await.unwrap();
}
