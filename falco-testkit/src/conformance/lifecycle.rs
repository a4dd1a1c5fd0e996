//! Deploy, update, find, list, remove.

use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use falco_core::{Deployable, Deployment, ErrorKind, FunctionErrorKind, Ownership, Scaling};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::configuration::{shortest_timeout, two_memories};
use super::harness::{Skip, Verdict};
use super::secret::MARKED_SECRET;
use super::subject::{Subject, no_fixture, refused_as, served, value};
use crate::fixture;

pub(super) async fn a_deployed_function_answers(subject: &Subject) -> Verdict {
    for runtime in subject.runtimes()? {
        let function = subject.function_for(&runtime)?;
        let deployment = subject.deploy(&function).await;
        assert_eq!(deployment.platform, subject.platform.name());
        assert_eq!((deployment.name, deployment.runtime), (function.name.clone(), runtime));
        let deployment = served("fetch", subject.platform.fetch_deployment(&function.name).await);
        let answer = subject.value(&deployment, json!({"do": "version"})).await;
        assert_eq!(answer, json!({"version": 1}));
    }
    Ok(())
}

pub(super) async fn deploying_a_name_again_updates_it_in_place(subject: &Subject) -> Verdict {
    for runtime in subject.runtimes()? {
        let first = subject.function_for(&runtime)?;
        let second = fixture::updated(&first.name, &runtime).ok_or_else(|| no_fixture(&runtime))?;
        let old = subject.deploy(&first).await;
        assert_eq!(subject.value(&old, json!({"do": "version"})).await, json!({"version": 1}));
        let new = subject.deploy(&second).await;
        for deployment in [&new, &old] {
            let answer = subject.value(deployment, json!({"do": "version"})).await;
            assert_eq!(
                answer,
                json!({"version": 2}),
                "deploy has to return when the new code answers"
            );
        }
        assert_eq!(listed(subject, &first.name).await.len(), 1, "the name has to stand once");
    }
    Ok(())
}

pub(super) async fn deploying_the_same_twice_leaves_one(subject: &Subject) -> Verdict {
    let function = subject.function()?;
    let first = subject.deploy(&function).await;
    let second = subject.deploy(&function).await;
    assert_eq!(first.id, second.id);
    assert_eq!(listed(subject, &function.name).await.len(), 1);
    subject.value(&second, json!({"do": "nothing"})).await;
    served("remove", subject.platform.remove(&second).await);
    assert!(listed(subject, &function.name).await.is_empty(), "one remove has to take all of it");
    Ok(())
}

pub(super) async fn the_same_deployed_again_keeps_its_instances(subject: &Subject) -> Verdict {
    for runtime in subject.runtimes()? {
        let function = subject.function_for(&runtime)?.with_env("FALCO_SAME", "same");
        let deployment = subject.deploy(&function).await;
        let first = subject.call(&deployment, json!({"do": "nothing"})).await;
        if first.cold_start.is_none() {
            return Err(Skip::new("it does not say which activations are cold"));
        }
        let again = subject.deploy(&function).await;
        let second = subject.call(&again, json!({"do": "nothing"})).await;
        assert_eq!((&again.id, again.scaling), (&deployment.id, deployment.scaling));
        assert_eq!(second.cold_start, Some(false), "{runtime}: an instance has started anew");
        assert_eq!(second.container, first.container, "{runtime}");
    }
    Ok(())
}

pub(super) async fn a_deployment_is_found_by_its_name(subject: &Subject) -> Verdict {
    let deployment = subject.deployed().await?;
    let fetched = served("fetch", subject.platform.fetch_deployment(&deployment.name).await);
    assert_eq!((&fetched.name, &fetched.id), (&deployment.name, &deployment.id));
    assert_eq!(fetched.runtime.family(), deployment.runtime.family());
    let stored = serde_json::to_string(&deployment).unwrap_or_else(|e| panic!("storing: {e}"));
    let read: Deployment =
        serde_json::from_str(&stored).unwrap_or_else(|e| panic!("reading {stored}: {e}"));
    for found in [fetched, read] {
        assert_eq!(subject.value(&found, json!({"do": "version"})).await, json!({"version": 1}));
    }
    Ok(())
}

pub(super) async fn an_unknown_name_is_not_found(subject: &Subject) -> Verdict {
    let name = subject.name();
    let fetched = subject.platform.fetch_deployment(&name).await;
    let error = refused_as("fetching an unknown name", fetched, &[ErrorKind::NotFound]);
    assert!(!error.is_retryable(), "absence does not pass: {error}");
    Ok(())
}

pub(super) async fn a_name_leads_nowhere_else(subject: &Subject) -> Verdict {
    let name = subject.deployed().await?.name;
    let mut escaped = name.clone();
    // The first letter, as URLs may write it.
    let first = escaped.remove(0);
    let escaped = format!("%{:02x}{escaped}", u32::from(first));
    let dots = [".".to_owned(), "..".to_owned()];
    let others = [format!("x/../{name}"), format!("{name}?x=y"), format!("{name}#x"), escaped];
    for path in dots.into_iter().chain(others) {
        let fetched = subject.platform.fetch_deployment(&path).await;
        refused_as(&path, fetched, &[ErrorKind::NotFound, ErrorKind::InvalidInput]);
    }
    Ok(())
}

pub(super) async fn sizes_are_fetched_with_the_function(subject: &Subject) -> Verdict {
    let timeout = Some(shortest_timeout(subject) * 2);
    let function = subject.function()?.with_scaling(Scaling::default().with_timeout(timeout));
    let deployed = subject.deploy(&function).await;
    let fetched = served("fetch", subject.platform.fetch_deployment(&function.name).await);
    let listed = listed(subject, &function.name).await;
    assert_eq!(listed.len(), 1, "it has to be listed once");
    for (by, deployment) in [("deploy", &deployed), ("fetch", &fetched), ("list", &listed[0])] {
        assert_eq!(deployment.scaling.timeout, timeout, "{by} has to report it");
    }
    Ok(())
}

/// More functions than providers list on one page, but for those whose pages have a thousand.
const STRANGERS: usize = 210;

pub(super) async fn a_list_is_read_to_its_end(subject: &Subject) -> Verdict {
    // Wherever a provider begins, strangers stand before one of the two.
    let first = subject.deployed().await?;
    subject.harness.place_strangers(STRANGERS).await?;
    let last = subject.deployed().await?;
    let all = served("list_deployments", subject.platform.list_deployments().await);
    let names: Vec<_> = all.iter().map(|deployment| deployment.name.as_str()).collect();
    for deployment in [&first, &last] {
        assert!(names.contains(&deployment.name.as_str()), "{}: {names:?}", deployment.name);
    }
    Ok(())
}

pub(super) async fn a_removed_function_is_gone(subject: &Subject) -> Verdict {
    let deployment = subject.deployed().await?;
    served("remove", subject.platform.remove(&deployment).await);
    let fetched = subject.platform.fetch_deployment(&deployment.name).await;
    refused_as("fetching what was removed", fetched, &[ErrorKind::NotFound]);
    let invocation = subject.invocation(json!({"do": "nothing"}));
    let invoked = subject.platform.invoke(&deployment, &invocation).await;
    refused_as("invoking what was removed", invoked, &[ErrorKind::NotFound]);
    assert!(listed(subject, &deployment.name).await.is_empty());
    Ok(())
}

pub(super) async fn removing_twice_is_not_found(subject: &Subject) -> Verdict {
    let deployment = subject.deployed().await?;
    served("remove", subject.platform.remove(&deployment).await);
    let again = subject.platform.remove(&deployment).await;
    refused_as("removing twice", again, &[ErrorKind::NotFound]);
    Ok(())
}

pub(super) async fn deployments_are_listed_with_their_owner(subject: &Subject) -> Verdict {
    let ownership = Ownership::new(
        "run-5f2c",
        "Ada.L@work-station.example",
        UNIX_EPOCH + whole_seconds(SystemTime::now()) + Duration::from_secs(86_400),
    )
    .with_epoch(2);
    let function = subject.function()?.with_ownership(ownership.clone());
    let deployment = subject.deploy(&function).await;
    assert_eq!(deployment.ownership.as_ref(), Some(&ownership), "deploy has to report it");
    let listed = listed(subject, &function.name).await;
    assert_eq!(listed.len(), 1, "it has to be listed once");
    assert_eq!(listed[0].ownership.as_ref(), Some(&ownership));
    served("removing what was listed", subject.platform.remove(&listed[0]).await);
    Ok(())
}

pub(super) async fn a_dropped_deploy_leaves_nothing_once_it_is_removed(
    subject: &Subject,
) -> Verdict {
    let mut begun = Vec::new();
    for polls in 1..=4 {
        let function = subject.function()?.with_env("SECRET", MARKED_SECRET);
        let mut deploying = subject.platform.deploy(&function);
        let mut left = polls;
        std::future::poll_fn(|cx| {
            let polled = deploying.as_mut().poll(cx).map(drop);
            left -= 1;
            if left == 0 { Poll::Ready(()) } else { polled }
        })
        .await;
        begun.push(by_name(subject, &function));
    }
    // Sockets and threads are at work after some time.
    for patience in [1, 5, 20] {
        let function = subject.function()?.with_env("SECRET", MARKED_SECRET);
        let _ = timeout(Duration::from_millis(patience), subject.platform.deploy(&function)).await;
        begun.push(by_name(subject, &function));
    }
    let names: Vec<_> = begun.iter().map(|deployment| deployment.name.clone()).collect();
    // What is on its way to the provider when its caller goes may arrive a little later.
    for pause in [0, 150, 500] {
        sleep(Duration::from_millis(pause)).await;
        let all = served("list_deployments", subject.platform.list_deployments().await);
        let all = all.into_iter().filter(|deployment| names.contains(&deployment.name));
        for deployment in all.collect::<Vec<_>>().iter().chain(&begun) {
            // Gone already, or not yet in a state to be removed.
            let _ = subject.platform.remove(deployment).await;
        }
    }
    sleep(Duration::from_millis(700)).await;
    // A platform that removes it itself may need longer on a busy machine; what stays, stays.
    let mut left: Vec<_> = Vec::new();
    for _ in 0..100 {
        let all = served("list_deployments", subject.platform.list_deployments().await);
        left = all.into_iter().map(|deployment| deployment.name).collect();
        left.retain(|name| names.contains(name));
        let held = subject.harness.leftovers().unwrap_or_default();
        left.extend(held.into_iter().filter(|held| names.iter().any(|name| held.contains(name))));
        if left.is_empty() {
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("these are left: {left:?}");
}

pub(super) async fn a_redeploy_is_in_force_when_deploy_returns(subject: &Subject) -> Verdict {
    let timeout = shortest_timeout(subject);
    let memories = two_memories(subject).ok();
    let old_sizes = Scaling::default().with_memory_mib(memories.map(|(small, _)| small));
    let new_sizes = Scaling::default().with_memory_mib(memories.map(|(_, large)| large));
    for runtime in subject.runtimes()? {
        let function = subject.function_for(&runtime)?;
        let old = function.clone().with_env("FALCO_STAYS", "old").with_env("FALCO_GOES", "old");
        let old = old.with_scaling(old_sizes.clone().with_timeout(timeout * 20));
        let deployment = subject.deploy(&old).await;
        let first = subject.value(&deployment, json!({"do": "env", "name": "FALCO_GOES"})).await;
        assert_eq!(first, json!({"value": "old"}));

        let scaling = new_sizes.clone().with_timeout(timeout);
        let new = function.with_env("FALCO_STAYS", "new").with_scaling(scaling);
        let deployment = subject.deploy(&new).await;
        let fetched = served("fetch", subject.platform.fetch_deployment(&deployment.name).await);
        for reported in [&deployment, &fetched] {
            let memory = reported.scaling.memory_mib;
            assert!(memories.is_none() || memory == new_sizes.memory_mib, "{reported:?}");
        }
        for (name, value) in [("FALCO_STAYS", json!("new")), ("FALCO_GOES", json!(null))] {
            let answer = in_time(subject, &deployment, json!({"do": "env", "name": name})).await;
            assert_eq!(answer, json!({"value": value}), "{name} on {runtime}");
        }
        let seconds = (timeout + Duration::from_secs(5)).as_secs_f64();
        let slow = json!({"do": "sleep", "seconds": seconds});
        let error = subject.failure(&deployment, slow).await;
        assert_eq!(error.kind, FunctionErrorKind::Timeout, "the new timeout on {runtime}: {error}");
    }
    Ok(())
}

/// The result of a call that may take too long a few times: a process may start for longer than a short timeout.
async fn in_time(subject: &Subject, deployment: &Deployment, args: Value) -> Value {
    for _ in 0..20 {
        let activation = subject.call(deployment, args.clone()).await;
        let failure = activation.outcome.as_ref().err().map(|error| error.kind);
        if failure != Some(FunctionErrorKind::Timeout) {
            return value(&activation);
        }
    }
    panic!("twenty calls have taken too long")
}

pub(super) async fn functions_of_strangers_are_left_out(subject: &Subject) -> Verdict {
    let stranger = subject.harness.place_stranger().await?;
    let deployment = subject.deployed().await?;
    let all = served("list_deployments", subject.platform.list_deployments().await);
    let names: Vec<_> = all.iter().map(|deployment| deployment.name.as_str()).collect();
    assert!(names.contains(&deployment.name.as_str()), "{names:?}");
    assert!(!names.contains(&stranger.as_str()), "{stranger} is not Falco's: {names:?}");
    Ok(())
}

pub(super) async fn a_deploy_that_is_cut_off_after_any_request_can_be_removed(
    subject: &Subject,
) -> Verdict {
    let expiry = UNIX_EPOCH + whole_seconds(SystemTime::now()) + Duration::from_secs(86_400);
    let ownership = Ownership::new("run-5f2c", "ada@workstation", expiry);
    for requests in 1.. {
        let function = subject.function()?.with_ownership(ownership.clone());
        subject.harness.stop_after(requests).await?;
        let is_complete = tokio::select! {
            deployed = subject.platform.deploy(&function) => deployed.is_ok(),
            () = subject.harness.stopped() => false,
        };
        subject.harness.go_on();
        remove_all_of(subject, &function, &ownership, requests).await;
        if is_complete {
            return Ok(());
        }
    }
    Ok(())
}

/// The deployment of a function whose deploy has not returned, by its name alone.
fn by_name(subject: &Subject, function: &Deployable) -> Deployment {
    let deployment = Deployment::new(function.name.as_str(), function.runtime.clone());
    deployment.with_platform(subject.platform.name())
}

/// Fails where the provider holds something of a function, before and after it is asked, and it is not listed.
async fn is_listed(subject: &Subject, name: &str, requests: u64) {
    let held = || {
        let all = subject.harness.leftovers().unwrap_or_default();
        all.into_iter().filter(|held| held.contains(name)).collect::<Vec<_>>()
    };
    let before = held();
    if before.is_empty() || !listed(subject, name).await.is_empty() {
        return;
    }
    let after = held();
    assert!(after.is_empty(), "cut off after {requests} requests, these are not listed: {after:?}");
}

/// Removes what a deploy has left, by what is listed and by its name, until nothing is there.
async fn remove_all_of(
    subject: &Subject,
    function: &Deployable,
    ownership: &Ownership,
    requests: u64,
) {
    let name = function.name.as_str();
    let by_name = by_name(subject, function);
    is_listed(subject, name, requests).await;
    // What is on its way when its caller goes may arrive a little later.
    for _ in 0..50 {
        let listed = listed(subject, name).await;
        for deployment in &listed {
            let owner = deployment.ownership.as_ref();
            assert_eq!(owner, Some(ownership), "cut off after {requests} requests");
        }
        for deployment in listed.iter().chain([&by_name]) {
            // Gone already, or not yet in a state to be removed.
            let _ = subject.platform.remove(deployment).await;
        }
        let left = subject.harness.leftovers().unwrap_or_default();
        if listed.is_empty() && !left.iter().any(|left| left.contains(name)) {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let left = (listed(subject, name).await, subject.harness.leftovers());
    panic!("cut off after {requests} requests, these are left: {left:?}");
}

pub(super) async fn nothing_is_left_after_remove(subject: &Subject) -> Verdict {
    if subject.harness.leftovers().is_none() {
        return Err(Skip::new("the harness cannot see what is left"));
    }
    for deployment in subject.deployed_in_each_runtime().await? {
        subject.call(&deployment, json!({"do": "print", "stdout": ["late"]})).await;
        served("remove", subject.platform.remove(&deployment).await);
    }
    sleep(Duration::from_millis(300)).await;
    let left = subject.harness.leftovers().unwrap_or_default();
    assert!(left.is_empty(), "these are left: {left:?}");
    Ok(())
}

async fn listed(subject: &Subject, name: &str) -> Vec<Deployment> {
    let all = served("list_deployments", subject.platform.list_deployments().await);
    all.into_iter().filter(|deployment| deployment.name == name).collect()
}

fn whole_seconds(time: SystemTime) -> Duration {
    Duration::from_secs(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}
