//! Tests of the decision of a resume about each invocation, by the records of earlier processes.

use std::sync::Arc;

use falco_core::{
    Activation, AsyncPlatform, Deployment, Error, ErrorKind, FunctionError, FunctionErrorKind,
    Invocation, Journal, Outcome, Platform, Recalled, Release,
};
use falco_journal::{ResumeOptions, RunJournal};
use falco_testkit::{Fate, Fates, InMemory, Latency, Settings};

use crate::support::{
    RUN, begin_stage, complete, config, create, function, in_memory, invocation, payload, plan,
    result_of, resume, stage, succeed,
};

fn options() -> ResumeOptions {
    ResumeOptions::default()
}

fn resume_with(directory: &std::path::Path, options: ResumeOptions) -> Arc<RunJournal> {
    RunJournal::resume(&config(directory), &RUN.into(), options).unwrap()
}

/// The decision of a resume about an invocation, in a word.
fn word(journal: &RunJournal, invocation: &Invocation) -> String {
    match journal.recall(invocation) {
        Ok(Recalled::Send { attempt }) => format!("send {attempt}"),
        Ok(Recalled::Settle { attempt }) => format!("settle {attempt}"),
        Ok(Recalled::Collect { attempt, pending }) => format!("collect {attempt} {}", pending.id),
        Ok(Recalled::Done(completion)) => completion.outcome.as_str().to_owned(),
        Ok(other) => format!("{other:?}"),
        Err(error) => error.kind().to_string(),
    }
}

fn failed() -> Outcome {
    let error = FunctionError::new(FunctionErrorKind::Raised, "no");
    Outcome::from_activation(Activation::failed("a-1", error))
}

fn refused() -> Outcome {
    Outcome::from_error(Error::new(ErrorKind::Throttled, "no"))
}

fn lost() -> Outcome {
    Outcome::from_error(Error::new(ErrorKind::Lost, "no"))
}

#[test]
fn outcomes_are_kept_or_sent_again_by_rules_that_ask_for_harm() {
    let directory = tempfile::tempdir().unwrap();
    let journal = create(directory.path());
    begin_stage(&journal, "map");
    succeed(&journal, invocation("map", "good", 1), payload(2));
    for (id, outcome) in [("failed", failed()), ("refused", refused()), ("lost", lost())] {
        complete(&journal, invocation("map", id, 1), outcome);
    }
    complete(&journal, invocation("map", "cancelled", 1), Outcome::Cancelled);
    drop(journal);
    let by_itself = ["succeeded", "function failed", "send 2", "unknown", "send 1", "send 1"];
    let failed = ["succeeded", "send 2", "send 2", "unknown", "send 1", "send 1"];
    let unknown = ["succeeded", "function failed", "send 2", "send 2", "send 1", "send 1"];
    let idempotent = ["succeeded", "send 2", "send 2", "send 2", "send 1", "send 1"];
    for (options, is_idempotent, expected) in [
        (options(), false, by_itself),
        (options().with_rerun_failed(true), false, failed),
        (options().with_rerun_unknown(true), false, unknown),
        (options(), true, idempotent),
    ] {
        let journal = resume_with(directory.path(), options);
        let ids = ["good", "failed", "refused", "lost", "cancelled", "new"];
        let words =
            ids.map(|id| word(&journal, &invocation("map", id, 1).with_idempotent(is_idempotent)));
        assert_eq!(words, expected);
    }
}

#[test]
fn another_argument_is_sent_where_that_does_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let journal = create(directory.path());
    begin_stage(&journal, "map");
    succeed(&journal, invocation("map", "1", 1), payload(2));
    drop(journal);
    let journal = resume(directory.path());
    let other = invocation("map", "1", 7);
    let error = journal.recall(&other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("\"1\"") && error.message().contains("argument"), "{error}");
    assert_eq!(word(&journal, &other.with_idempotent(true)), "send 2");
    drop(journal);
    let details = RunJournal::show(&config(directory.path()), &RUN.into()).unwrap();
    assert!(details.sent_again[0].why.contains("argument differs"), "{details:?}");
}

#[test]
fn a_recalled_completion_is_what_was_recorded_with_the_input_of_today() {
    let directory = tempfile::tempdir().unwrap();
    let journal = create(directory.path());
    begin_stage(&journal, "map");
    let mut activation = Activation::succeeded("a-1", payload(9));
    activation.execution = Some(std::time::Duration::from_millis(12));
    activation.cost = Some(falco_core::UsDollars(0.5));
    complete(&journal, invocation("map", "1", 1), Outcome::from_activation(activation.clone()));
    drop(journal);
    let journal = resume(directory.path());
    let Recalled::Done(completion) = journal.recall(&invocation("map", "1", 1)).unwrap() else {
        panic!("it is done");
    };
    assert_eq!(completion.outcome.activation(), Some(&activation));
    assert_eq!(completion.input, payload(1));
    assert_eq!(completion.cost, Some(falco_core::UsDollars(0.5)));
    assert_eq!(completion.latency.as_millis(), 1);
}

/// A deployment on a platform behind the layer of a journal.
async fn deployed(
    journal: &Arc<RunJournal>,
    platform: &Arc<InMemory>,
) -> (Arc<dyn AsyncPlatform>, Deployment) {
    let layered = journal.clone().layer(platform.clone());
    let function = function("def main(args): return args").with_name(format!("work-{RUN}"));
    let deployment = layered.deploy(&function).await.unwrap();
    begin_stage(journal, "map");
    (layered, deployment)
}

#[tokio::test]
async fn what_was_submitted_is_collected_and_what_was_being_sent_is_in_doubt() {
    let directory = tempfile::tempdir().unwrap();
    let platform = in_memory();
    let journal = create(directory.path());
    let (layered, deployment) = deployed(&journal, &platform).await;
    let pending = layered.submit(&deployment, &invocation("map", "sent", 1)).await.unwrap();
    // The process dies in the call: dropped here, it leaves its intent.
    let fates = Fates::sequence([Fate::throttle(None)]);
    let refusing = Arc::new(InMemory::new(Settings { fates, ..Settings::default() }));
    drop((layered, journal));

    let journal = resume(directory.path());
    let layered = journal.clone().layer(refusing.clone());
    let function = function("def main(args): return args").with_name(format!("work-{RUN}"));
    let there = refusing.deploy(&function).await.unwrap();
    begin_stage(&journal, "map");
    let error = layered.submit(&there, &invocation("map", "refused", 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    drop((layered, journal));

    let journal = resume(directory.path());
    let sent = invocation("map", "sent", 1);
    assert_eq!(word(&journal, &sent), format!("collect 1 {}", pending.id));
    assert_eq!(word(&journal, &invocation("map", "sent", 2)), "conflict");
    assert_eq!(word(&journal, &invocation("map", "sent", 2).with_idempotent(true)), "send 2");
    assert_eq!(word(&journal, &invocation("map", "refused", 1)), "send 2");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_in_doubt_is_not_sent_again_but_by_the_users_word() {
    let directory = tempfile::tempdir().unwrap();
    let latency = Latency::fixed(std::time::Duration::from_secs(1));
    let platform = Arc::new(InMemory::new(Settings { latency, ..Settings::default() }));
    let journal = create(directory.path());
    let (layered, deployment) = deployed(&journal, &platform).await;
    let first = invocation("map", "1", 1);
    let mut call = Box::pin(layered.invoke(&deployment, &first));
    // Polled once: the intent is written and the call is under way.
    assert!(futures_util::poll!(&mut call).is_pending());
    drop(call);
    drop((layered, journal));
    let invoked = platform.counters().started;

    let journal = resume(directory.path());
    let layered = journal.clone().layer(platform.clone());
    let again = invocation("map", "1", 1);
    assert_eq!(word(&journal, &again), "settle 1");
    let error = layered.invoke(&deployment, &again).await.unwrap_err();
    assert!(error.may_have_run() && !error.is_retryable(), "{error}");
    complete(&journal, again.clone(), Outcome::from_error(error));
    assert_eq!(platform.counters().started, invoked, "it was not called");
    drop((layered, journal));

    // It is in doubt still, and a person decides.
    let summary = RunJournal::summary(&config(directory.path()), &RUN.into()).unwrap();
    assert_eq!(summary.invocations.unknown, 1);
    let journal = resume_with(directory.path(), options().with_rerun_unknown(true));
    assert_eq!(word(&journal, &again), "send 2");
    let layered = journal.clone().layer(platform.clone());
    layered.invoke(&deployment, &again.with_attempt(2)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_input_of_a_batch_is_recorded_as_if_it_were_sent_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let latency = Latency::fixed(std::time::Duration::from_secs(1));
    let platform = Arc::new(InMemory::new(Settings { latency, ..Settings::default() }));
    let journal = create(directory.path());
    let (layered, deployment) = deployed(&journal, &platform).await;
    let batch = |ids: [&str; 2]| {
        let members = ids.map(|id| invocation("map", id, 1));
        members[0].clone().with_members(members)
    };
    let accepted = layered.submit(&deployment, &batch(["1", "2"])).await.unwrap();
    let invoked = batch(["3", "4"]);
    let mut call = Box::pin(layered.invoke(&deployment, &invoked));
    assert!(futures_util::poll!(&mut call).is_pending());
    drop(call);
    drop((layered, journal));

    let journal = resume(directory.path());
    for (index, id) in ["1", "2"].into_iter().enumerate() {
        let recalled = journal.recall(&invocation("map", id, 1)).unwrap();
        let Recalled::Collect { pending, .. } = recalled else { panic!("{recalled:?}") };
        assert_eq!(pending.id, accepted.id.of_member(index));
    }
    for id in ["3", "4"] {
        assert_eq!(word(&journal, &invocation("map", id, 1)), "settle 1");
    }
}

#[tokio::test]
async fn what_was_submitted_to_a_function_that_was_removed_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let platform = in_memory();
    let journal = create(directory.path());
    let (layered, deployment) = deployed(&journal, &platform).await;
    layered.submit(&deployment, &invocation("map", "1", 1)).await.unwrap();
    layered.remove(&deployment).await.unwrap();
    drop((layered, journal));
    let journal = resume(directory.path());
    assert_eq!(word(&journal, &invocation("map", "1", 1)), "unknown");
    assert_eq!(word(&journal, &invocation("map", "1", 1).with_idempotent(true)), "send 2");
}

#[tokio::test]
async fn a_function_that_is_gone_is_deployed_again_and_one_that_is_there_is_adopted() {
    let directory = tempfile::tempdir().unwrap();
    let platform = in_memory();
    let journal = create(directory.path());
    let (layered, deployment) = deployed(&journal, &platform).await;
    layered.submit(&deployment, &invocation("map", "1", 1)).await.unwrap();
    drop((layered, journal));

    // Another process, another provider: nothing is there.
    let elsewhere = in_memory();
    let journal = resume(directory.path());
    let (layered, _) = deployed(&journal, &elsewhere).await;
    assert_eq!(elsewhere.list_deployments().await.unwrap().len(), 1);
    assert_eq!(word(&journal, &invocation("map", "1", 1).with_idempotent(true)), "send 2");
    drop(layered);
}

#[tokio::test]
async fn suspended_activations_stay_and_others_are_stopped() {
    for suspends in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let platform = in_memory();
        let journal = create(directory.path());
        let (layered, deployment) = deployed(&journal, &platform).await;
        let pending = layered.submit(&deployment, &invocation("map", "1", 1)).await.unwrap();
        if suspends {
            journal.suspend();
        }
        layered.release(&deployment, std::slice::from_ref(&pending.id), Release::Abandoned);
        let counters = platform.counters();
        assert_eq!(
            (counters.abandoned, counters.unreleased),
            if suspends { (0, 1) } else { (1, 0) }
        );
    }
}

#[test]
fn a_changed_plan_is_refused_by_name_and_a_stage_can_be_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let platform = in_memory();
    let journal = create(directory.path());
    let recorded = plan(vec![stage("map"), stage("other")]);
    journal.begin(&recorded, &platform, None).unwrap();
    begin_stage(&journal, "map");
    succeed(&journal, invocation("map", "1", 1), payload(2));
    drop(journal);

    let journal = resume(directory.path());
    journal.begin(&recorded, &platform, None).unwrap();
    // Sizes are not compared.
    let mut larger = stage("map");
    larger.function.scaling.memory_mib = Some(2048);
    journal.begin(&plan(vec![larger, stage("other")]), &platform, None).unwrap();
    // New stages run, and removed ones do not matter.
    journal.begin(&plan(vec![stage("map"), stage("new")]), &platform, None).unwrap();
    let mut changed = stage("map");
    changed.function = function("def main(args): return {}");
    let changed = plan(vec![changed, stage("other")]);
    let error = journal.begin(&changed, &platform, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let text = error.to_string();
    for part in [RUN, "stage \"map\"", "code of function \"work\" changed", "keeps its 1 results"] {
        assert!(text.contains(part), "{text}");
    }
    let idempotent = plan(vec![stage("map").idempotent(), stage("other")]);
    assert!(
        journal.begin(&idempotent, &platform, None).unwrap_err().message().contains("idempotent")
    );
    drop(journal);

    let journal = resume_with(directory.path(), options().with_accepted("map"));
    journal.begin(&changed, &platform, None).unwrap();
    assert_eq!(result_of(&journal, &invocation("map", "1", 1)), Some(payload(2)));
    drop(journal);
    let journal = resume_with(directory.path(), options().with_accepted("mpa"));
    assert!(journal.begin(&changed, &platform, None).unwrap_err().message().contains("\"mpa\""));
}

#[test]
fn pure_stages_use_the_results_of_another_run_for_the_same_code_and_argument() {
    let directory = tempfile::tempdir().unwrap();
    let platform = in_memory();
    let journal = create(directory.path());
    let first = plan(vec![stage("map").pure(), stage("impure")]);
    journal.begin(&first, &platform, None).unwrap();
    for name in ["map", "impure"] {
        begin_stage(&journal, name);
    }
    succeed(&journal, invocation("map", "1", 1), payload(2));
    drop(journal);

    let reusing = config(directory.path()).with_reuse(RUN);
    let other = "6553f101-0000beef";
    let journal = RunJournal::create(&reusing, other.into()).unwrap();
    journal.begin(&plan(vec![stage("renamed").pure(), stage("impure")]), &platform, None).unwrap();
    let ask = |stage: &str, number| {
        let invocation = Invocation::new(other, stage, "7", payload(number)).with_idempotent(true);
        word(&journal, &invocation)
    };
    assert_eq!(ask("renamed", 1), "succeeded");
    assert_eq!(ask("renamed", 5), "send 1");
    assert_eq!(ask("impure", 1), "send 1");
    drop(journal);
    // The new journal is whole by itself.
    let summary = RunJournal::summary(&config(directory.path()), &other.into()).unwrap();
    assert_eq!(summary.invocations.done, 1);

    let mut changed = stage("map").pure();
    changed.function = function("def main(args): return {}");
    let journal = RunJournal::create(&reusing, "6553f102-0000beef".into()).unwrap();
    journal.begin(&plan(vec![changed]), &platform, None).unwrap();
    assert_eq!(word(&journal, &invocation("map", "1", 1).with_idempotent(true)), "send 1");
}
