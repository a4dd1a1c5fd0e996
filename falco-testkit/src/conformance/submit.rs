//! Submit, collect, release.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use falco_core::{
    Activation, ActivationId, AsyncPlatform, Deployment, ErrorKind, FunctionErrorKind, Pending,
    Release,
};
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::errors::sent_once;
use super::harness::{Fault, Skip, Verdict};
use super::invoke::{payload_of, small_limit};
use super::subject::{Subject, ids, refused_as, served, unthrottled, value};

pub(super) async fn a_submitted_invocation_is_collected(subject: &Subject) -> Verdict {
    subject.needs_submit()?;
    for deployment in subject.deployed_in_each_runtime().await? {
        let args = json!({"do": "echo", "value": {"größe": [1, 2]}});
        let pending = [subject.submit(&deployment, args).await];
        let activation = &subject.collect(&deployment, &pending).await[0];
        assert_eq!(activation.id, pending[0].id);
        assert_eq!(value(activation), json!({"value": {"größe": [1, 2]}}));
    }
    Ok(())
}

pub(super) async fn a_thousand_submissions_are_each_collected_exactly_once(
    subject: &Subject,
) -> Verdict {
    subject.needs_submit()?;
    let deployment = subject.deployed().await?;
    let submissions = (0..1_000).map(|n: u64| {
        let deployment = &deployment;
        async move { (n, subject.submit(deployment, json!({"do": "echo", "value": n})).await) }
    });
    let submitted: Vec<_> = stream::iter(submissions).buffer_unordered(32).collect().await;
    let expected: HashMap<ActivationId, u64> =
        submitted.iter().map(|(n, pending)| (pending.id.clone(), *n)).collect();
    assert_eq!(expected.len(), 1_000, "each has an id of its own");

    let mut waiting: Vec<Pending> = submitted.into_iter().map(|(_, pending)| pending).collect();
    let mut taken = HashSet::new();
    while !waiting.is_empty() {
        let collected = served("collect", subject.platform.collect(&deployment, &waiting).await);
        assert!(collected.gone.is_empty(), "nothing is gone: {:?}", collected.gone);
        // One answer may report an activation twice; after its release, none may.
        let mut in_this_answer = HashSet::new();
        for activation in &collected.finished {
            assert!(!taken.contains(&activation.id), "{} came after its release", activation.id);
            let Some(n) = expected.get(&activation.id) else { panic!("unknown: {activation:?}") };
            assert_eq!(value(activation), json!({"value": n}));
            in_this_answer.insert(activation.id.clone());
        }
        waiting.retain(|pending| !in_this_answer.contains(&pending.id));
        let released: Vec<_> = in_this_answer.iter().cloned().collect();
        subject.platform.release(&deployment, &released, Release::Taken);
        taken.extend(in_this_answer);
        if !waiting.is_empty() {
            sleep(collected.poll_after.max(Duration::from_millis(1))).await;
        }
    }
    assert_eq!(taken.len(), 1_000);
    Ok(())
}

pub(super) async fn collecting_unknown_ids_is_no_news(subject: &Subject) -> Verdict {
    subject.needs_submit()?;
    let deployment = subject.deployed().await?;
    let now = SystemTime::now();
    let unknown = [
        Pending::new("0123456789abcdef0123456789abcdef", now),
        Pending::new("01234567-89ab-4cde-8f01-23456789abcd", now),
    ];
    let known = subject.submit(&deployment, json!({"do": "nothing"})).await;
    let asked = [unknown[0].clone(), known.clone(), unknown[1].clone()];
    loop {
        let collected = served("collect", subject.platform.collect(&deployment, &asked).await);
        assert!(collected.gone.is_empty(), "not found does not mean gone: {:?}", collected.gone);
        let found: Vec<_> = collected.finished.iter().map(|a| a.id.clone()).collect();
        assert!(found.iter().all(|id| *id == known.id), "{found:?}");
        if !found.is_empty() {
            break;
        }
        sleep(collected.poll_after.max(Duration::from_millis(1))).await;
    }
    subject.platform.release(&deployment, &ids(&asked), Release::Taken);
    served("collect after that", subject.platform.collect(&deployment, &unknown).await);
    Ok(())
}

pub(super) async fn collect_does_not_wait_for_what_runs(subject: &Subject) -> Verdict {
    subject.needs_submit()?;
    let deployment = subject.deployed().await?;
    let slow = [subject.submit(&deployment, json!({"do": "sleep", "seconds": 5})).await];
    let collected = served("collect", subject.platform.collect(&deployment, &slow).await);
    assert!(collected.finished.is_empty(), "collect has to return while it runs");
    assert!(collected.poll_after > Duration::ZERO, "asking again at once is a busy loop");
    subject.collect(&deployment, &slow).await;
    Ok(())
}

pub(super) async fn collect_reports_only_what_was_asked_for(subject: &Subject) -> Verdict {
    subject.needs_submit()?;
    let deployment = subject.deployed().await?;
    let mine = [subject.submit(&deployment, json!({"do": "echo", "value": "mine"})).await];
    let yours = [subject.submit(&deployment, json!({"do": "echo", "value": "yours"})).await];
    // `collect` fails when an answer names what was not asked for.
    let found = subject.collect(&deployment, &yours).await;
    assert_eq!(value(&found[0]), json!({"value": "yours"}));
    let found = subject.collect(&deployment, &mine).await;
    assert_eq!(value(&found[0]), json!({"value": "mine"}), "it has to be kept for its owner");
    Ok(())
}

pub(super) async fn a_released_activation_is_not_reported_again(subject: &Subject) -> Verdict {
    subject.needs_submit()?;
    let deployment = subject.deployed().await?;
    let early = subject.submit(&deployment, json!({"do": "nothing"})).await;
    subject.platform.release(&deployment, std::slice::from_ref(&early.id), Release::Taken);
    let taken = [subject.submit(&deployment, json!({"do": "nothing"})).await];
    subject.collect(&deployment, &taken).await;
    for _ in 0..5 {
        let other = [subject.submit(&deployment, json!({"do": "nothing"})).await];
        // `collect` fails when an answer names what was not asked for, and releases what it has found.
        subject.collect(&deployment, &other).await;
    }
    // Releasing again, or what was never there, does nothing.
    subject.platform.release(&deployment, &[early.id, "unknown".into()], Release::Taken);
    Ok(())
}

pub(super) async fn abandoning_one_leaves_the_others_alone(subject: &Subject) -> Verdict {
    subject.needs_submit()?;
    let deployment = subject.deployed().await?;
    let unwanted = subject.submit(&deployment, json!({"do": "sleep", "seconds": 0.3})).await;
    let wanted = [subject.submit(&deployment, json!({"do": "echo", "value": "wanted"})).await];
    subject.platform.release(&deployment, std::slice::from_ref(&unwanted.id), Release::Abandoned);
    let found = subject.collect(&deployment, &wanted).await;
    assert_eq!(value(&found[0]), json!({"value": "wanted"}));
    subject.value(&deployment, json!({"do": "nothing"})).await;
    Ok(())
}

pub(super) async fn a_dropped_collect_loses_nothing(subject: &Subject) -> Verdict {
    subject.needs_submit()?;
    let deployment = subject.deployed().await?;
    let mut waiting = Vec::new();
    for n in 0..20 {
        waiting.push(subject.submit(&deployment, json!({"do": "echo", "value": n})).await);
    }
    let all = waiting.clone();
    // Dropped at its first await, and at ever later moments; an answer in time counts.
    for patience in [0, 0, 1, 1, 2, 3, 5, 8, 13, 21] {
        let collect = subject.platform.collect(&deployment, &waiting);
        if let Ok(collected) = timeout(Duration::from_millis(patience), collect).await {
            let found: HashSet<_> =
                served("collect", collected).finished.into_iter().map(|a| a.id).collect();
            waiting.retain(|pending| !found.contains(&pending.id));
        }
        sleep(Duration::from_millis(1)).await;
    }
    subject.collect(&deployment, &waiting).await;
    subject.platform.release(&deployment, &ids(&all), Release::Taken);
    Ok(())
}

pub(super) async fn a_dropped_submit_leaves_the_platform_usable(subject: &Subject) -> Verdict {
    subject.needs_submit()?;
    let deployment = subject.deployed().await?;
    for patience in [0, 1, 5] {
        let invocation = subject.invocation(json!({"do": "echo", "value": "dropped"}));
        let submit = subject.platform.submit(&deployment, &invocation);
        // Accepted or not, nobody asks for it.
        let _ = timeout(Duration::from_millis(patience), submit).await;
    }
    let after = [subject.submit(&deployment, json!({"do": "echo", "value": "after"})).await];
    let found = subject.collect(&deployment, &after).await;
    assert_eq!(value(&found[0]), json!({"value": "after"}));
    Ok(())
}

pub(super) async fn function_errors_are_collected_too(subject: &Subject) -> Verdict {
    subject.needs_submit()?;
    for deployment in subject.deployed_in_each_runtime().await? {
        let raises = json!({"do": "raise", "message": "größe"});
        let pending = [
            subject.submit(&deployment, raises).await,
            subject.submit(&deployment, json!({"do": "bad_result"})).await,
            subject.submit(&deployment, json!({"do": "exit", "status": 3})).await,
        ];
        let kinds: Vec<_> = subject
            .collect(&deployment, &pending)
            .await
            .into_iter()
            .map(|activation| match activation.outcome {
                Err(error) => (error.kind, error.message),
                Ok(result) => panic!("the function has to fail, and it returned {result:?}"),
            })
            .collect();
        assert_eq!(kinds[0].0, FunctionErrorKind::Raised);
        assert!(kinds[0].1.contains("größe"), "{kinds:?}");
        assert_eq!(kinds[1].0, FunctionErrorKind::BadResult);
        assert_eq!(kinds[2].0, FunctionErrorKind::Crashed);
    }
    Ok(())
}

pub(super) async fn submitted_payloads_have_their_limit(subject: &Subject) -> Verdict {
    subject.needs_submit()?;
    small_limit(subject.capabilities.max_submit_payload)?;
    for deployment in subject.deployed_in_runtimes_of_different_limits().await? {
        let limit = small_limit(subject.limits_of(&deployment).max_submit_payload)?;
        let (payload, length) = payload_of(limit);
        let invocation = subject.invocation_of(payload);
        let submitted = subject.platform.submit(&deployment, &invocation).await;
        let pending = [served("a payload at the limit", submitted)];
        let found = subject.collect(&deployment, &pending).await;
        assert_eq!(value(&found[0]), json!({"length": length}), "all of it has to arrive");

        let invocation = subject.invocation_of(payload_of(limit + 1).0);
        let submitted = subject.platform.submit(&deployment, &invocation).await;
        let error = refused_as("one byte more", submitted, &[ErrorKind::PayloadTooLarge]);
        assert!(!error.may_have_run() && !error.is_retryable(), "{error:?}");
        subject.says_where(&error, "submit", &deployment.name);
    }
    Ok(())
}

pub(super) async fn a_lost_activation_is_reported_as_gone(subject: &Subject) -> Verdict {
    subject.needs_submit()?;
    let deployment = subject.deployed().await?;
    let platform = subject.provoke(Fault::Gone).await?;
    let invocation = subject.invocation(json!({"do": "nothing"}));
    let pending = [served("submit", platform.submit(&deployment, &invocation).await)];
    loop {
        let collected = served("collect", platform.collect(&deployment, &pending).await);
        assert!(collected.finished.is_empty(), "{:?}", collected.finished);
        if !collected.gone.is_empty() {
            let gone: Vec<_> = collected.gone.iter().map(|(id, _)| id.clone()).collect();
            assert_eq!(gone, ids(&pending));
            let (_, error) = &collected.gone[0];
            let about = (error.platform(), error.function());
            assert_eq!(about, (Some(platform.name()), Some(&*deployment.name)), "{error}");
            assert_eq!(error.operation(), Some("collect"), "{error}");
            break;
        }
        sleep(collected.poll_after.max(Duration::from_millis(1))).await;
    }
    platform.release(&deployment, &ids(&pending), Release::Taken);
    Ok(())
}

pub(super) async fn results_delivered_twice_are_harmless(subject: &Subject) -> Verdict {
    subject.needs_submit()?;
    let deployment = subject.deployed().await?;
    let platform = subject.provoke(Fault::Duplicates).await?;
    for n in 0..5 {
        let invocation = subject.invocation(json!({"do": "echo", "value": n}));
        let pending = [served("submit", platform.submit(&deployment, &invocation).await)];
        loop {
            let collected = served("collect", platform.collect(&deployment, &pending).await);
            assert!(collected.gone.is_empty(), "{:?}", collected.gone);
            for activation in &collected.finished {
                assert_eq!(activation.id, pending[0].id, "only what was asked for");
                assert_eq!(value(activation), json!({"value": n}));
            }
            if !collected.finished.is_empty() {
                break;
            }
            sleep(collected.poll_after.max(Duration::from_millis(1))).await;
        }
        platform.release(&deployment, &ids(&pending), Release::Taken);
    }
    Ok(())
}

pub(super) async fn another_process_collects_what_was_submitted(subject: &Subject) -> Verdict {
    subject.needs_submit()?;
    let other = subject.harness.reconnect().await?;
    let deployment = subject.deployed().await?;
    let mut pending = Vec::new();
    for n in 0..3 {
        pending.push(subject.submit(&deployment, json!({"do": "echo", "value": n})).await);
    }
    let found = served("fetch_deployment", other.fetch_deployment(&deployment.name).await);
    for (n, activation) in collect_by(&*other, &found, &pending).await.iter().enumerate() {
        assert_eq!(value(activation), json!({"value": n}));
    }
    Ok(())
}

pub(super) async fn a_unique_attempt_that_is_submitted_again_runs_once(
    subject: &Subject,
) -> Verdict {
    subject.needs_submit()?;
    if !subject.capabilities.resubmit {
        return Err(Skip::new("it knows no attempt by its name"));
    }
    let deployment = subject.deployed().await?;
    let other = match subject.harness.reconnect().await {
        Ok(other) => other,
        Err(_) => subject.platform.clone(),
    };
    let sleeps = json!({"do": "sleep", "seconds": 0.02});
    let first = subject.invocation(sleeps).with_unique(true);
    let mut submitted = Vec::new();
    for platform in [&subject.platform, &other, &subject.platform] {
        let submit = || platform.submit(&deployment, &first);
        submitted.push(served("submit", unthrottled(submit).await));
    }
    let ids: HashSet<_> = submitted.iter().map(|pending| &pending.id).collect();
    assert_eq!(ids.len(), 1, "the attempt has one activation: {ids:?}");
    let ran = value(&collect_by(&*other, &deployment, &submitted[..1]).await[0]);
    let again = served("submit", unthrottled(|| other.submit(&deployment, &first)).await);
    assert_eq!(again.id, submitted[0].id, "also once it has ended");
    sleep(Duration::from_millis(50)).await;
    let collected = subject.platform.collect(&deployment, &submitted[..1]).await;
    for activation in served("collect", collected).finished {
        assert_eq!(value(&activation), ran, "it ran once");
    }
    subject.platform.release(&deployment, std::slice::from_ref(&again.id), Release::Taken);

    let second = first.next_attempt();
    let next = served("submit", unthrottled(|| other.submit(&deployment, &second)).await);
    assert_ne!(next.id, again.id, "another attempt is another activation");
    collect_by(&*other, &deployment, &[next]).await;
    Ok(())
}

pub(super) async fn a_submission_whose_answer_was_lost_is_found(subject: &Subject) -> Verdict {
    subject.needs_submit()?;
    let deployment = subject.deployed().await?;
    let losing = subject.provoke(Fault::LostAnswer).await?;
    let sent = subject.invocation(json!({"do": "echo", "value": "sent"}));
    let never = subject.invocation(json!({"do": "echo", "value": "never sent"}));
    let before = subject.harness.calls();
    let Err(error) = losing.submit(&deployment, &sent).await else {
        return Err(Skip::new("the fault loses no answer of a submission"));
    };
    assert!(error.may_have_run(), "it may have run: {error}");
    sent_once(subject, before);
    let found = losing.find_submitted(&deployment, std::slice::from_ref(&sent)).await;
    let found = served("find_submitted", found);
    let Some((id, pending)) = found.first() else {
        return Err(Skip::new("it looks for no submissions"));
    };
    assert_eq!((id, found.len()), (sent.id(), 1));
    let activations = collect_by(&*losing, &deployment, std::slice::from_ref(pending)).await;
    assert_eq!(value(&activations[0]), json!({"value": "sent"}));
    // It may look for as long as an activation may take.
    let looking = losing.find_submitted(&deployment, std::slice::from_ref(&never));
    if let Ok(found) = timeout(Duration::from_secs(2), looking).await {
        assert_eq!(served("find_submitted", found), [], "it was never sent");
    }
    Ok(())
}

/// Collects until all of `pending` are there, and gives them in the order asked.
async fn collect_by(
    platform: &dyn AsyncPlatform,
    deployment: &Deployment,
    pending: &[Pending],
) -> Vec<Activation> {
    let mut found: HashMap<ActivationId, Activation> = HashMap::new();
    loop {
        let collected = served("collect", platform.collect(deployment, pending).await);
        assert!(collected.gone.is_empty(), "nothing is gone, but {:?}", collected.gone);
        let finished = collected.finished.into_iter();
        found.extend(finished.map(|activation| (activation.id.clone(), activation)));
        let all = pending.iter().map(|pending| found.get(&pending.id).cloned());
        if let Some(all) = all.collect::<Option<Vec<_>>>() {
            platform.release(deployment, &ids(pending), Release::Taken);
            return all;
        }
        sleep(collected.poll_after.max(Duration::from_millis(1))).await;
    }
}

pub(super) async fn a_platform_that_cannot_submit_says_so(subject: &Subject) -> Verdict {
    // The demand is a condition, which a platform that can submit meets.
    if subject.capabilities.submit {
        return Ok(());
    }
    let deployment = subject.deployed().await?;
    let invocation = subject.invocation(json!({"do": "nothing"}));
    let submitted = subject.platform.submit(&deployment, &invocation).await;
    let error = refused_as("submit", submitted, &[ErrorKind::Unsupported]);
    subject.says_where(&error, "submit", &deployment.name);
    let pending = [Pending::new("unknown", SystemTime::now())];
    let collected = subject.platform.collect(&deployment, &pending).await;
    let error = refused_as("collect", collected, &[ErrorKind::Unsupported]);
    subject.says_where(&error, "collect", &deployment.name);
    subject.platform.release(&deployment, &ids(&pending), Release::Abandoned);
    Ok(())
}
