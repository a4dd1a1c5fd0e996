//! A strategy without any cleverness, plans in a few words, and monitors that note what they see.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use falco_core::{
    Attempts, BoxStream, Completion, Deployable, Driver, Event, ExecutionPlan, ExecutionStrategy,
    Invocation, Monitor, Outcome, Payload, Result, Stage, Target, Verdict,
};
use falco_executors::{
    AsyncExecutor, ExecutionOptions, OnFailure, ParallelExecutor, RunOptions, SequentialExecutor,
};
use falco_testkit::InMemory;
use futures_util::StreamExt;
use proptest::prelude::*;
use tokio::time::Instant;

/// Sends up to `0` at once while it is polled, and goes on after failures.
#[derive(Debug)]
pub(crate) struct Naive(pub(crate) usize);

impl ExecutionStrategy for Naive {
    fn execute(
        &self,
        target: Target,
        invocations: BoxStream<'static, Invocation>,
    ) -> BoxStream<'static, Completion> {
        let attempt = move |invocation: Invocation| {
            let target = target.clone();
            async move {
                invocation.report(&Event::Admitted { invocation: &invocation });
                let (requested_at, started) = (SystemTime::now(), Instant::now());
                let attempts = Attempts::new(1);
                let outcome = tokio::select! {
                    biased;
                    () = target.stopped() => Outcome::Cancelled,
                    answer = target.platform.invoke(&target.deployment, &invocation) => match answer {
                        Ok(activation) => Outcome::from_activation(activation),
                        Err(error) => Outcome::from_error(error),
                    },
                };
                invocation.complete(outcome, attempts, requested_at, started.elapsed())
            }
        };
        invocations.map(attempt).buffer_unordered(self.0).boxed()
    }
}

/// A driver that is its plan.
#[derive(Debug)]
pub(crate) struct Plan(pub(crate) Vec<Stage>);

impl Driver for Plan {
    fn name(&self) -> &str {
        "plan"
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        ExecutionPlan::new(self.0.clone())
    }
}

/// A function whose code is its name, so that a test can register its code with the platform in memory.
pub(crate) fn function(name: &str) -> Deployable {
    Deployable::from_source(name, "python:3".parse().unwrap(), name.to_owned())
}

pub(crate) fn json(value: serde_json::Value) -> Payload {
    Payload::json(&value).unwrap()
}

/// A stage over `{"n": 0}`, `{"n": 1}`, and so on.
pub(crate) fn numbers(name: &str, count: usize) -> Stage {
    let payloads = (0..count).map(|n| json(serde_json::json!({ "n": n }))).collect();
    Stage::from_payloads(name, function(name), payloads)
}

pub(crate) fn options(platform: &Arc<InMemory>) -> RunOptions {
    RunOptions::new(platform.clone(), Arc::new(Naive(8))).with_run_id("run-1").with_owner("ada")
}

/// Notes every event in one line.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<Vec<String>>);

impl Notes {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Monitor for Notes {
    fn event(&self, event: &Event<'_>) -> Verdict {
        let line = match event {
            Event::RunStarted { run, plan } => {
                let stages = plan.map_or(&[][..], |plan| plan.stages());
                let stages: Vec<_> = stages.iter().map(|stage| &stage.name).collect();
                format!("{run} started with {stages:?}")
            }
            Event::RunFinished { run, error: None } => format!("{run} finished"),
            Event::RunFinished { run, error: Some(error) } => {
                format!("{run} ended with {}", error.kind())
            }
            Event::Deployed { deployment } => format!("{} deployed", deployment.name),
            Event::Removed { deployment } => format!("{} removed", deployment.name),
            Event::Leftover { deployment, .. } => format!("{} left", deployment.name),
            Event::StageStarted { stage, .. } => format!("{stage} started"),
            Event::StageSized { stage, invocations } => format!("{stage} has {invocations}"),
            Event::StageFinished { stage, error: None } => format!("{stage} succeeded"),
            Event::StageFinished { stage, error: Some(_) } => format!("{stage} failed"),
            Event::Skipped { stage, invocations } => format!("{stage} skipped {invocations}"),
            Event::Admitted { invocation } => format!("{} admitted", invocation.id()),
            Event::Completed { completion } => format!("{} completed", completion.invocation),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(line);
        Verdict::Continue
    }
}

/// Every executor, and a strategy of a user's own, with windows of all sizes.
pub(crate) fn any_strategy() -> impl Strategy<Value = Arc<dyn ExecutionStrategy>> {
    let on_failure = prop_oneof![Just(OnFailure::Stop), Just(OnFailure::Continue)];
    (0..4u8, 1..9usize, on_failure).prop_map(|(kind, window, on_failure)| {
        let options = ExecutionOptions::default().with_on_failure(on_failure);
        let strategy: Arc<dyn ExecutionStrategy> = match kind {
            0 => Arc::new(Naive(window)),
            1 => Arc::new(SequentialExecutor::new().with_options(options)),
            2 => {
                Arc::new(ParallelExecutor::with_concurrency(window).unwrap().with_options(options))
            }
            _ => Arc::new(AsyncExecutor::with_window(window).unwrap().with_options(options)),
        };
        strategy
    })
}
