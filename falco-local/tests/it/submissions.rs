//! Submit now, collect later.

use std::time::Duration;

use falco_core::{ActivationId, AsyncPlatform, Collected, ErrorKind, Pending, Platform, Release};

use crate::support::{Local, eventually, invocation, native, runs};

fn gone(collected: &Collected) -> Vec<ActivationId> {
    assert!(collected.gone.iter().all(|(_, error)| error.kind() == ErrorKind::Lost));
    collected.gone.iter().map(|(id, _)| id.clone()).collect()
}

#[tokio::test]
async fn results_wait_until_they_are_released() {
    let local = Local::new();
    let function = local.deploy(&native("printf '%s\\n' \"$line\" >&3")).await;
    let mut pending = Vec::new();
    for n in 0..20 {
        let invocation = invocation(&format!(r#"{{"n":{n}}}"#));
        pending.push(local.platform.submit(&function, &invocation).await.unwrap());
    }
    let mut collected;
    loop {
        collected = local.platform.collect(&function, &pending).await.unwrap();
        assert!(collected.gone.is_empty());
        if collected.finished.len() == pending.len() {
            break;
        }
        assert!(collected.poll_after > Duration::ZERO);
        tokio::time::sleep(collected.poll_after).await;
    }
    for (n, activation) in collected.finished.iter().enumerate() {
        let envelope: serde_json::Value = activation.outcome.as_ref().unwrap().parse().unwrap();
        assert_eq!(envelope["value"]["n"], n);
        assert_eq!(activation.id, pending[n].id);
    }
    let ids: Vec<_> = pending.iter().map(|pending| pending.id.clone()).collect();
    local.platform.release(&function, &ids[..19], Release::Taken);
    let again = local.platform.collect(&function, &pending[19..]).await.unwrap();
    assert_eq!(again.finished.len(), 1);
    let released = local.platform.collect(&function, &pending[..19]).await.unwrap();
    assert_eq!(gone(&released), ids[..19]);
}

#[tokio::test]
async fn submit_returns_before_the_function_does() {
    let local = Local::new();
    let function = local.deploy(&native("sleep 600")).await;
    let pending = [local.platform.submit(&function, &invocation("{}")).await.unwrap()];
    let collected = local.platform.collect(&function, &pending).await.unwrap();
    assert!(collected.finished.is_empty() && collected.gone.is_empty());
    let logs = local.platform.activation_log(&function, &[pending[0].id.clone()]).await.unwrap();
    assert!(logs.is_empty(), "no log before the end");
}

#[tokio::test]
async fn an_abandoned_activation_is_stopped_and_makes_room() {
    let local = Local::with(|config| config.with_max_workers(1));
    let note = local.path("pid");
    let body = format!(
        "case $line in *hang*) echo $$ > '{0}.new'; mv '{0}.new' '{0}'; sleep 600 ;; esac; echo '{{}}' >&3",
        note.display()
    );
    let function = local.deploy(&native(&body)).await;
    let running = local.platform.submit(&function, &invocation(r#"{"hang":1}"#)).await.unwrap();
    let queued = local.platform.submit(&function, &invocation(r#"{"hang":2}"#)).await.unwrap();
    let pid = eventually("the start", || std::fs::read_to_string(&note).ok()).await;
    local.platform.release(&function, &[running.id, queued.id], Release::Abandoned);
    assert_eq!(local.result(&function, "{}").await, "{}");
    assert!(!runs(pid.trim()));
}

#[tokio::test]
async fn a_dropped_invoke_makes_room() {
    let local = Local::with(|config| config.with_max_workers(1));
    let function =
        local.deploy(&native("case $line in *hang*) sleep 600 ;; esac; echo '{}' >&3")).await;
    let hanging = invocation(r#"{"hang":1}"#);
    let call = local.platform.invoke(&function, &hanging);
    assert!(tokio::time::timeout(Duration::from_millis(100), call).await.is_err());
    assert_eq!(local.result(&function, "{}").await, "{}");
}

#[tokio::test]
async fn results_taken_by_a_dead_driver_are_gone_and_those_of_a_living_one_are_unknown() {
    let local = Local::new();
    let function = local.deploy(&native("sleep 600")).await;
    let other = local.other();
    let theirs = [other.submit(&function, &invocation("{}")).await.unwrap()];
    let collected = local.platform.collect(&function, &theirs).await.unwrap();
    assert!(collected.gone.is_empty() && collected.finished.is_empty());
    drop(other);
    let collected = local.platform.collect(&function, &theirs).await.unwrap();
    assert_eq!(gone(&collected), [theirs[0].id.clone()]);

    let strange = ["../x-1", "local-", "local-../../etc/passwd-1", "7"];
    let strange = strange.map(|id| Pending::new(id, std::time::SystemTime::now()));
    let collected = local.platform.collect(&function, &strange).await.unwrap();
    assert!(collected.gone.is_empty() && collected.finished.is_empty());
}

#[tokio::test]
async fn removing_a_function_ends_what_waits_for_it() {
    let local = Local::with(|config| config.with_max_workers(1));
    let function = local.deploy(&native("sleep 600")).await;
    let (running, queued) = (invocation("{}"), invocation("{}"));
    let pending = [local.platform.submit(&function, &invocation("{}")).await.unwrap()];
    let (first, second, removed) = tokio::join!(
        local.platform.invoke(&function, &running),
        local.platform.invoke(&function, &queued),
        async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            local.platform.remove(&function).await
        }
    );
    removed.unwrap();
    for error in [first.unwrap_err(), second.unwrap_err()] {
        assert!(error.to_string().contains("removed"), "{error}");
    }
    let collected = local.platform.collect(&function, &pending).await.unwrap();
    assert_eq!(gone(&collected), [pending[0].id.clone()]);
}
