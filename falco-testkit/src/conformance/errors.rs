//! How platforms fail.

use std::time::{Duration, SystemTime};

use falco_core::{ErrorKind, Scaling};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::configuration::shortest_timeout;
use super::harness::{Fault, Skip, Verdict};
use super::secret::MARKED_SECRET;
use super::subject::{Subject, refused, refused_as, served};

pub(super) async fn throttling_keeps_its_kind(subject: &Subject) -> Verdict {
    let deployment = subject.deployed().await?;
    let platform = subject.provoke(Fault::Throttled).await?;
    let invocation = subject.invocation(json!({"do": "nothing"}));
    let mut errors = vec![refused_as(
        "invoke",
        platform.invoke(&deployment, &invocation).await,
        &[ErrorKind::Throttled],
    )];
    if subject.capabilities.submit {
        let submitted = platform.submit(&deployment, &invocation).await;
        errors.push(refused_as("submit", submitted, &[ErrorKind::Throttled]));
    }
    for error in errors {
        assert!(error.is_retryable() && !error.may_have_run(), "{error:?}");
        if let Some(wait) = error.retry_after() {
            assert!(wait <= Duration::from_secs(3600), "a suggested wait of {wait:?} is too long");
        }
    }
    Ok(())
}

pub(super) async fn a_throttled_call_is_sent_once(subject: &Subject) -> Verdict {
    let deployment = subject.deployed().await?;
    let platform = subject.provoke(Fault::Throttled).await?;
    let before = calls(subject)?;
    let invocation = subject.invocation(json!({"do": "nothing"}));
    let invoked = platform.invoke(&deployment, &invocation).await;
    refused_as("invoke", invoked, &[ErrorKind::Throttled]);
    assert_eq!(calls(subject)? - before, 1, "repeating is for the layers");
    Ok(())
}

pub(super) async fn a_throttled_submission_is_sent_once(subject: &Subject) -> Verdict {
    subject.needs_submit()?;
    let deployment = subject.deployed().await?;
    let platform = subject.provoke(Fault::Throttled).await?;
    let before = calls(subject)?;
    let invocation = subject.invocation(json!({"do": "nothing"}));
    let submitted = platform.submit(&deployment, &invocation).await;
    refused_as("submit", submitted, &[ErrorKind::Throttled]);
    assert_eq!(calls(subject)? - before, 1, "repeating is for the layers");
    Ok(())
}

fn calls(subject: &Subject) -> Result<u64, Skip> {
    subject.harness.calls().ok_or_else(|| Skip::new("the harness does not count calls"))
}

pub(super) async fn a_call_whose_answer_was_lost_may_have_run(subject: &Subject) -> Verdict {
    let deployment = subject.deployed().await?;
    let platform = subject.provoke(Fault::LostAnswer).await?;
    let before = subject.harness.calls();
    let invocation = subject.invocation(json!({"do": "nothing"}));
    let invoked = platform.invoke(&deployment, &invocation).await;
    let error = refused("a call whose answer is lost", invoked);
    assert!(error.may_have_run(), "the function has run: {error:?}");
    sent_once(subject, before);
    Ok(())
}

/// Fails when more than one call has reached the provider, where the harness counts them.
pub(super) fn sent_once(subject: &Subject, before: Option<u64>) {
    if let (Some(before), Some(after)) = (before, subject.harness.calls()) {
        assert_eq!(after - before, 1, "sent again, the function runs twice");
    }
}

pub(super) async fn wrong_credentials_are_unauthorized(subject: &Subject) -> Verdict {
    let deployment = subject.deployed().await?;
    let function = subject.function()?;
    let platform = subject.provoke(Fault::Unauthorized).await?;
    let invocation = subject.invocation(json!({"do": "nothing"}));
    let kinds = &[ErrorKind::Unauthorized, ErrorKind::Forbidden];
    for error in [
        refused_as("deploy", platform.deploy(&function).await, kinds),
        refused_as("fetch", platform.fetch_deployment(&deployment.name).await, kinds),
        refused_as("invoke", platform.invoke(&deployment, &invocation).await, kinds),
        refused_as("remove", platform.remove(&deployment).await, kinds),
    ] {
        assert!(!error.is_retryable() && !error.may_have_run(), "{error:?}");
        assert!(error.hint().is_some(), "it has to say what to do: {error}");
    }
    Ok(())
}

pub(super) async fn an_error_says_where_it_comes_from(subject: &Subject) -> Verdict {
    let mut function = subject.function()?;
    let error = refused("fetch", subject.platform.fetch_deployment(&function.name).await);
    subject.says_where(&error, "fetch_deployment", &function.name);

    function.code = falco_core::Code::Source(" ".into());
    let error = refused("deploy", subject.platform.deploy(&function).await);
    subject.says_where(&error, "deploy", &function.name);

    let deployment = subject.deployed().await?;
    served("remove", subject.platform.remove(&deployment).await);
    let invocation = subject.invocation(json!({"do": "nothing"}));
    let scaling = Scaling::default().with_timeout(shortest_timeout(subject));
    let mut errors = vec![
        ("invoke", refused("invoke", subject.platform.invoke(&deployment, &invocation).await)),
        ("remove", refused("remove", subject.platform.remove(&deployment).await)),
        ("scale", refused("scale", subject.platform.scale(&deployment, &scaling).await)),
    ];
    if subject.capabilities.submit {
        // A queue in front of the functions accepts calls of one that is gone; collecting reports it then.
        if let Err(error) = subject.platform.submit(&deployment, &invocation).await {
            errors.push(("submit", error));
        }
    }
    for (operation, error) in errors {
        subject.says_where(&error, operation, &deployment.name);
    }
    Ok(())
}

pub(super) async fn every_operation_names_itself_in_its_errors(subject: &Subject) -> Verdict {
    let deployment = subject.deployed().await?;
    let function = subject.function()?;
    let mut pending = Vec::new();
    if subject.capabilities.submit {
        pending.push(subject.submit(&deployment, json!({"do": "nothing"})).await);
    }
    let platform = subject.provoke(Fault::Unauthorized).await?;
    let invocation = subject.invocation(json!({"do": "nothing"}));
    let scaling = Scaling::default().with_timeout(shortest_timeout(subject));
    let listed = refused("list_deployments", platform.list_deployments().await);
    let mut of_all = vec![("list_deployments", listed)];
    of_all.extend(platform.account().await.err().map(|error| ("account", error)));
    for (operation, error) in of_all {
        let shown = (error.platform(), error.operation());
        assert_eq!(shown, (Some(platform.name()), Some(operation)), "{error:?}");
    }
    let mut errors = vec![
        ("deploy", &function.name, refused("deploy", platform.deploy(&function).await)),
        (
            "fetch_deployment",
            &deployment.name,
            refused("fetch_deployment", platform.fetch_deployment(&deployment.name).await),
        ),
        (
            "invoke",
            &deployment.name,
            refused("invoke", platform.invoke(&deployment, &invocation).await),
        ),
        ("remove", &deployment.name, refused("remove", platform.remove(&deployment).await)),
    ];
    // What a platform cannot do, and what it answers without asking the provider, does not fail for the credentials.
    let ids: Vec<_> = pending.iter().map(|pending| pending.id.clone()).collect();
    let in_doubt = std::slice::from_ref(&invocation);
    let others = [
        ("scale", platform.scale(&deployment, &scaling).await.err()),
        ("submit", platform.submit(&deployment, &invocation).await.err()),
        ("collect", platform.collect(&deployment, &pending).await.err()),
        ("activation_log", platform.activation_log(&deployment, &ids).await.err()),
        ("find_submitted", platform.find_submitted(&deployment, in_doubt).await.err()),
        ("recent_logs", platform.recent_logs(&deployment, SystemTime::now(), 1).await.err()),
    ];
    for (operation, error) in others {
        errors.extend(error.map(|error| (operation, &deployment.name, error)));
    }
    for (operation, function, error) in errors {
        subject.says_where(&error, operation, function);
    }
    Ok(())
}

pub(super) async fn secrets_appear_nowhere(subject: &Subject) -> Verdict {
    let function = subject.function()?.with_env("FALCO_SECRET", MARKED_SECRET);
    let deployment = subject.deploy(&function).await;
    let listed = subject.platform.list_deployments().await;
    let stored = serde_json::to_string(&deployment).unwrap_or_default();
    let mut shown = vec![
        format!("{:?} {:#?}", subject.platform, subject.platform),
        format!("{function:?} {deployment:?} {listed:?}"),
        stored,
    ];
    let unknown = subject.platform.fetch_deployment(&subject.name()).await;
    shown.push(format!("{:?}", refused("fetch", unknown)));
    for fault in [Fault::Unauthorized, Fault::Throttled] {
        let Ok(platform) = subject.provoke(fault).await else { continue };
        let invocation = subject.invocation(json!({"do": "nothing"}));
        let error = refused("invoke", platform.invoke(&deployment, &invocation).await);
        shown.push(format!("{platform:?} {error} {error:?}"));
        // With the secret in what is sent.
        let again = function.clone().with_env("FALCO_OTHER", MARKED_SECRET);
        if let Err(error) = platform.deploy(&again).await {
            shown.push(format!("{error} {error:?}"));
        }
    }
    let mut secrets = subject.secrets();
    secrets.push(MARKED_SECRET.to_owned());
    for text in shown {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret} is shown: {text}");
        }
    }
    Ok(())
}

pub(super) async fn a_provider_that_cannot_be_reached_is_unreachable(subject: &Subject) -> Verdict {
    let deployment = subject.deployed().await?;
    let function = subject.function()?;
    let platform = subject.provoke(Fault::Unreachable).await?;
    let invocation = subject.invocation(json!({"do": "nothing"}));
    let away = &[ErrorKind::Unavailable];
    // A client may find out only now that its connections are cut.
    let _ = platform.fetch_deployment(&deployment.name).await;
    sleep(Duration::from_millis(100)).await;
    let mut errors = vec![
        refused_as("deploy", platform.deploy(&function).await, away),
        refused_as("fetch", platform.fetch_deployment(&deployment.name).await, away),
        refused_as("list", platform.list_deployments().await, away),
        refused_as("invoke", platform.invoke(&deployment, &invocation).await, away),
        refused_as("remove", platform.remove(&deployment).await, away),
    ];
    if subject.capabilities.submit {
        let submitted = platform.submit(&deployment, &invocation).await;
        errors.push(refused_as("submit", submitted, away));
    }
    for error in errors {
        assert!(error.is_unreachable() && !error.may_have_run(), "{error:?}");
    }
    Ok(())
}

pub(super) async fn a_call_to_a_silent_peer_can_be_dropped(subject: &Subject) -> Verdict {
    let deployment = subject.deployed().await?;
    let platform = subject.provoke(Fault::Silent).await?;
    let wait = Duration::from_millis(300);
    let invocation = subject.invocation(json!({"do": "nothing"}));
    let unanswered = &[ErrorKind::Timeout, ErrorKind::Unavailable];

    if let Ok(ended) = timeout(wait, platform.invoke(&deployment, &invocation)).await {
        let error = refused_as("invoking a silent peer", ended, unanswered);
        assert!(error.may_have_run(), "it was sent: {error:?}");
    }
    if subject.capabilities.submit {
        if let Ok(ended) = timeout(wait, platform.submit(&deployment, &invocation)).await {
            let error = refused_as("submitting to a silent peer", ended, unanswered);
            assert!(error.may_have_run(), "it was sent: {error:?}");
        }
        let pending = [falco_core::Pending::new("unknown", SystemTime::now())];
        if let Ok(Ok(collected)) = timeout(wait, platform.collect(&deployment, &pending)).await {
            assert!(collected.finished.is_empty() && collected.gone.is_empty());
        }
    }
    if let Ok(ended) = timeout(wait, platform.fetch_deployment(&deployment.name)).await {
        refused_as("asking a silent peer", ended, unanswered);
    }
    Ok(())
}
