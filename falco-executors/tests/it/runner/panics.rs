//! A panic in the user's code is an error that names that code, and the deployments are removed anyway.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use falco_core::{
    BoxStream, Completion, Derivation, DerivationContext, Deriver, Driver, ErrorKind, Event,
    ExecutionPlan, ExecutionStrategy, Input, Invocation, Monitor, Platform, Result, Stage, Target,
    Verdict,
};
use falco_executors::{DriverExt, RunOptions, RunOutcome};
use falco_testkit::{Fate, Fates, InMemory, Operation, Settings};
use futures_util::StreamExt;

use super::support::{Plan, function, numbers, options};

/// Runs it, and checks that the error of the run names the culprit and that nothing is left.
async fn assert_names(
    driver: &dyn Driver,
    change: impl FnOnce(RunOptions) -> RunOptions,
    who: &str,
) {
    let platform = Arc::new(InMemory::default());
    let outcome: RunOutcome = driver.run(change(options(&platform))).await.unwrap();
    let error = outcome.error().unwrap();
    assert_eq!(error.kind(), ErrorKind::Panicked, "{error}");
    let message = error.to_string();
    assert!(message.contains(who) && message.contains("boom"), "{who} in {message}");
    assert!(platform.list_deployments().await.unwrap().is_empty());
    assert_eq!(platform.counters().running, 0);
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Start,
    On,
    End,
    BeforeStage,
    OnCompletion,
}

impl Derivation for At {
    fn start(&self, _: DerivationContext) -> Result<Box<dyn Deriver>> {
        assert_ne!(*self, Self::Start, "boom");
        Ok(Box::new(*self))
    }
}

impl Deriver for At {
    fn on_completion(&mut self, _: &Completion) -> Result<Vec<Input>> {
        assert_ne!(*self, Self::On, "boom");
        Ok(Vec::new())
    }

    fn finish(&mut self) -> Result<Vec<Input>> {
        assert_ne!(*self, Self::End, "boom");
        Ok(Vec::new())
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_derivation_names_it() {
    for at in [At::Start, At::On, At::End] {
        let next = Stage::derived("next", function("next"), ["map"], at);
        let plan = Plan(vec![numbers("map", 20), next]);
        assert_names(&plan, |options| options, "the derivation of stage \"next\"").await;
    }
}

impl Driver for At {
    fn name(&self) -> &str {
        "at"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        ExecutionPlan::new(vec![numbers("map", 20)])
    }

    fn before_stage(&self, _: &Stage) -> Verdict {
        assert_ne!(*self, Self::BeforeStage, "boom");
        Verdict::Continue
    }

    fn on_completion(&self, _: &Completion) -> Verdict {
        assert_ne!(*self, Self::OnCompletion, "boom");
        Verdict::Continue
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_hook_names_it() {
    assert_names(
        &At::BeforeStage,
        |options| options,
        "the hook before stage \"map\" of driver \"at\"",
    )
    .await;
    assert_names(&At::OnCompletion, |options| options, "the hook for completions of driver \"at\"")
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_has_panicked_is_not_called_again() {
    #[derive(Debug, Default)]
    struct Fragile(AtomicUsize);

    impl Driver for Fragile {
        fn name(&self) -> &str {
            "fragile"
        }

        fn plan(&self) -> Result<ExecutionPlan> {
            ExecutionPlan::new(vec![numbers("map", 20)])
        }

        fn on_completion(&self, _: &Completion) -> Verdict {
            self.0.fetch_add(1, Relaxed);
            panic!("boom");
        }
    }

    let driver = Fragile::default();
    let outcome = driver.run(options(&Arc::new(InMemory::default()))).await.unwrap();
    assert!(outcome.report.invocations.entered() > 1);
    assert_eq!(driver.0.into_inner(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_monitor_names_it() {
    #[derive(Debug)]
    struct Fragile;

    impl Monitor for Fragile {
        fn event(&self, event: &Event<'_>) -> Verdict {
            assert!(!matches!(event, Event::Completed { .. }), "boom");
            Verdict::Continue
        }
    }

    let plan = Plan(vec![numbers("map", 20)]);
    assert_names(&plan, |options| options.with_monitor(Arc::new(Fragile)), "the monitor Fragile")
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_an_input_stream_names_it() {
    let at_third = |index: usize| {
        assert_ne!(index, 3, "boom");
        Some(Ok(falco_core::Payload::empty()))
    };
    let plan = Plan(vec![Stage::from_fn("map", function("map"), at_third)]);
    assert_names(&plan, |options| options, "the input stream of stage \"map\"").await;
    let factory = || -> BoxStream<'static, Result<Input>> { panic!("boom") };
    let at_once = Stage::new("map", function("map"), factory);
    assert_names(&Plan(vec![at_once]), |options| options, "the input stream of stage \"map\"")
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_stop_names_it() {
    let endless = |_| Some(Ok(falco_core::Payload::empty()));
    let plan = Plan(vec![Stage::from_fn("map", function("map"), endless)]);
    let stop = async {
        tokio::task::yield_now().await;
        panic!("boom")
    };
    assert_names(&plan, |options| options.with_stop(stop), "the stop of the run").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_strategy_names_it() {
    #[derive(Debug)]
    struct Fragile(bool);

    impl ExecutionStrategy for Fragile {
        fn execute(
            &self,
            _: Target,
            invocations: BoxStream<'static, Invocation>,
        ) -> BoxStream<'static, Completion> {
            assert!(self.0, "boom");
            invocations.map(|_| panic!("boom")).boxed()
        }
    }

    for later in [false, true] {
        let platform = Arc::new(InMemory::default());
        let options = RunOptions::new(platform.clone(), Arc::new(Fragile(later)));
        let outcome = Plan(vec![numbers("map", 5)]).run(options).await.unwrap();
        let error = outcome.error().unwrap().to_string();
        assert!(error.contains("the strategy of stage \"map\" panicked: boom"), "{error}");
        let counts = outcome.report.invocations;
        assert_eq!(counts.entered() + counts.skipped, 5);
        assert!(platform.list_deployments().await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_platform_in_deploy_or_remove_is_an_error() {
    for operation in [Operation::Deploy, Operation::Remove] {
        let fates = Fates::by(
            move |call| {
                if call.operation == operation { Fate::Panic } else { Fate::Serve }
            },
        );
        let platform = Arc::new(InMemory::new(Settings { fates, ..Settings::default() }));
        let run = Plan(vec![numbers("map", 1)]).run(options(&platform)).await;
        match operation {
            Operation::Deploy => assert_eq!(run.unwrap_err().kind(), ErrorKind::Panicked),
            _ => {
                let outcome = run.unwrap();
                assert_eq!(outcome.leftovers[0].error.kind(), ErrorKind::Panicked);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_plan_names_it() {
    #[derive(Debug)]
    struct Fragile;

    impl Driver for Fragile {
        fn name(&self) -> &str {
            "fragile"
        }

        fn plan(&self) -> Result<ExecutionPlan> {
            panic!("boom")
        }
    }

    let platform = Arc::new(InMemory::default());
    let error = Fragile.run(options(&platform)).await.unwrap_err();
    assert!(error.to_string().contains("the plan of driver \"fragile\" panicked: boom"), "{error}");
}
