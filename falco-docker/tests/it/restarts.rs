//! A daemon that is started again in mid-run.

use std::process::Command;
use std::sync::Arc;

use falco_core::{ErrorKind, Invocation, Payload, Platform};
use falco_docker::Isolation;
use serde_json::json;

use crate::crowded::{assert_not_run, function, platform};
use crate::faults::until;
use crate::own_daemon::OwnDaemon;

/// A function in shell that says when it was asked to wait, and waits until it is ended.
const WAITS: &str = "#!/bin/sh
while read -r line; do
    case $line in *wait*)
        : > /seen/waits
        read -r go < /seen/gate
    esac
    echo '{}' >&3
done
";

fn invocation(waits: bool) -> Invocation {
    let argument = if waits { json!({"wait": true}) } else { json!({}) };
    Invocation::new("run", "stage", "1", Payload::json(&argument).unwrap())
}

/// Ends a daemon by a signal while a call runs, and starts it again.
async fn calls_go_on_after(signal: &str) {
    let Some(mut own) = OwnDaemon::start() else { return };
    let seen = tempfile::tempdir().unwrap();
    let (gate, waits) = (seen.path().join("gate"), seen.path().join("waits"));
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let platform = Arc::new(platform(&own.host(), Isolation::default(), seen.path()).await);
    let deployment = platform.deploy(&function("again", WAITS)).await.unwrap();
    let before = platform.invoke(&deployment, &invocation(false)).await.unwrap();
    assert!(before.is_success(), "{before:?}");
    let waiting = {
        let (platform, deployment) = (platform.clone(), deployment.clone());
        tokio::spawn(async move { platform.invoke(&deployment, &invocation(true)).await })
    };
    until("the call's start", async || waits.exists()).await;
    own.end(signal);
    let error = waiting.await.unwrap().unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.may_have_run(), "{error:?}");
    let error = platform.invoke(&deployment, &invocation(false)).await.unwrap_err();
    assert_not_run(&error);
    own.begin();
    let after = platform.invoke(&deployment, &invocation(false)).await.unwrap();
    assert!(after.is_success() && after.container != before.container, "{after:?}");
    platform.remove(&deployment).await.unwrap();
}

// The daemon is waited for by this thread, and calls go on meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_asked_to_end_in_mid_run_is_unavailable_and_calls_go_on_when_it_is_back() {
    calls_go_on_after("TERM").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_killed_in_mid_run_is_unavailable_and_calls_go_on_when_it_is_back() {
    calls_go_on_after("KILL").await;
}
