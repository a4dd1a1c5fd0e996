//! Helpers of the tests.

use std::path::Path;
use std::sync::Arc;

use falco_core::{
    Activation, Attempts, Deployable, Deployment, Event, ExecutionPlan, Invocation, Journal,
    Monitor, Outcome, Payload, Recalled, Stage, Verdict,
};
use falco_journal::{Durability, JournalConfig, ResumeOptions, RunJournal};
use falco_testkit::{InMemory, Settings};

pub(crate) const RUN: &str = "6553f100-0000beef";

/// A folder in memory, where there is a place for that: a test that syncs thousands of times does not wait for a disk there.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(crate) fn config(directory: &Path) -> JournalConfig {
    JournalConfig::new(directory).with_name("test").with_durability(Durability::Process)
}

pub(crate) fn function(source: &str) -> Deployable {
    Deployable::python("work", source)
}

pub(crate) fn plan(stages: Vec<Stage>) -> ExecutionPlan {
    ExecutionPlan::new(stages).unwrap()
}

pub(crate) fn stage(name: &str) -> Stage {
    Stage::from_payloads(name, function("def main(args): return args"), vec![])
}

pub(crate) fn in_memory() -> Arc<InMemory> {
    Arc::new(InMemory::new(Settings::default()))
}

pub(crate) fn create(directory: &Path) -> Arc<RunJournal> {
    RunJournal::create(&config(directory), RUN.into()).unwrap()
}

pub(crate) fn resume(directory: &Path) -> Arc<RunJournal> {
    RunJournal::resume(&config(directory), &RUN.into(), ResumeOptions::default()).unwrap()
}

pub(crate) fn payload(number: u64) -> Payload {
    Payload::json(&serde_json::json!({"n": number})).unwrap()
}

pub(crate) fn invocation(stage: &str, id: &str, number: u64) -> Invocation {
    Invocation::new(RUN, stage, id, payload(number))
}

/// Waits until nobody holds the journal any more: what the run has spawned ends a moment after it.
pub(crate) async fn close(journal: Arc<RunJournal>) {
    while Arc::strong_count(&journal) > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

/// Records that a stage begins.
pub(crate) fn begin_stage(journal: &Arc<RunJournal>, name: &str) {
    let runtime = "python:3".parse().unwrap();
    let deployment =
        Deployment::new(format!("work-{RUN}"), runtime).with_platform("in-memory").with_id("id");
    let event = Event::StageStarted { stage: &name.into(), deployment: &deployment };
    assert_eq!(journal.event(&event), Verdict::Continue);
}

/// Records that an invocation succeeded with `result`.
pub(crate) fn succeed(journal: &Arc<RunJournal>, invocation: Invocation, result: Payload) {
    let activation = Activation::succeeded(format!("a-{}", invocation.id()), result);
    complete(journal, invocation, Outcome::from_activation(activation));
}

pub(crate) fn complete(journal: &Arc<RunJournal>, invocation: Invocation, outcome: Outcome) {
    let attempts = Attempts::new(1);
    let (now, took) = (std::time::SystemTime::now(), std::time::Duration::from_millis(1));
    invocation.with_monitor(journal.clone()).complete(outcome, attempts, now, took);
}

/// The result that is recorded of an invocation.
pub(crate) fn result_of(journal: &RunJournal, invocation: &Invocation) -> Option<Payload> {
    match journal.recall(invocation).unwrap() {
        Recalled::Done(completion) => completion.result().cloned(),
        _ => None,
    }
}
