//! Environment, archives, sizes.

use std::time::Duration;

use falco_core::{Bounds, Deployment, ErrorKind, FunctionErrorKind, Payload, Scaling};
use serde_json::json;

use super::harness::{Skip, Verdict};
use super::invoke::limit_below;
use super::secret::MARKED_SECRET;
use super::subject::{Subject, no_fixture, refused_as, served};
use crate::fixture;

/// Code above this is not made: a debug build packs 50 MB for seconds, and it is held in memory several times.
const LARGEST_CODE: u64 = 64 << 20;

/// Values that a shell, a template or an encoding would change.
const VARIABLES: &[(&str, &str)] = &[
    ("FALCO_PLAIN", "plain"),
    ("FALCO_SECRET", MARKED_SECRET),
    ("FALCO_SIGNS", "a b=c \"d\" 'e' $HOME %PATH% \\n {x}"),
    ("FALCO_BLANKS", "  at both ends "),
    ("FALCO_SCRIPT", "Grüße, 世界 🦅"),
];

pub(super) async fn environment_variables_reach_the_function(subject: &Subject) -> Verdict {
    for runtime in subject.runtimes()? {
        let mut function = subject.function_for(&runtime)?;
        for (name, value) in VARIABLES {
            function = function.with_env(*name, *value);
        }
        let deployment = subject.deploy(&function).await;
        for (name, value) in VARIABLES {
            assert_eq!(env(subject, &deployment, name).await, json!(value), "{name} on {runtime}");
        }
        assert_eq!(env(subject, &deployment, "FALCO_UNSET").await, json!(null));
    }
    Ok(())
}

pub(super) async fn stored_arguments_lie_beneath_each_payload(subject: &Subject) -> Verdict {
    let capabilities = &subject.capabilities;
    if !capabilities.shim && !capabilities.bound_arguments {
        return Err(Skip::new("functions on it take no stored arguments"));
    }
    for function in subject.functions_with_shim()? {
        let runtime = function.runtime.clone();
        let stored = json!({"do": "echo", "value": {"stored": [1, "ä"]}});
        let arguments = served("writing the arguments", Payload::json(&stored));
        let function = function.with_arguments(arguments);
        let deployment = subject.deploy(&function).await;
        for (payload, value) in [
            (json!({}), json!({"stored": [1, "ä"]})),
            (json!({"value": {"own": true}}), json!({"own": true})),
            (json!({"other": 1}), json!({"stored": [1, "ä"]})),
        ] {
            let answer = subject.value(&deployment, payload).await;
            assert_eq!(answer, json!({ "value": value }), "{runtime}");
        }
        // Without them it is another function.
        let mut without = function.clone();
        without.arguments = None;
        let deployment = subject.deploy(&without).await;
        let answered = subject.call(&deployment, json!({})).await.outcome.ok();
        let answered = answered.and_then(|result| result.parse::<serde_json::Value>().ok());
        assert_ne!(answered, Some(json!({"value": {"stored": [1, "ä"]}})), "{runtime}");
    }
    Ok(())
}

pub(super) async fn the_drivers_environment_stays_outside(subject: &Subject) -> Verdict {
    // cargo sets it for every test.
    let name = "CARGO_MANIFEST_DIR";
    if std::env::var_os(name).is_none() {
        return Err(Skip::new("the driver has no variable to leak: run it by cargo"));
    }
    for deployment in subject.deployed_in_each_runtime().await? {
        assert_eq!(env(subject, &deployment, name).await, json!(null));
    }
    Ok(())
}

pub(super) async fn another_entry_point_is_called(subject: &Subject) -> Verdict {
    // An executable has one entry only.
    let runtimes = subject.runtimes()?.into_iter().filter(|runtime| runtime.family() != "native");
    for runtime in runtimes {
        let main = subject.function_for(&runtime)?;
        subject.deploy(&main).await;
        let function = main.with_entry_point("other");
        let deployment = subject.deploy(&function).await;
        let answer = subject.value(&deployment, json!({"do": "version"})).await;
        assert_eq!(answer, json!({"entry": "other"}), "{runtime}");
    }
    Ok(())
}

pub(super) async fn an_archive_of_several_modules_runs(subject: &Subject) -> Verdict {
    for runtime in subject.runtimes()? {
        let function =
            fixture::archive(&subject.name(), &runtime).ok_or_else(|| no_fixture(&runtime))?;
        let deployment = subject.deploy(&function).await;
        let answer = subject.value(&deployment, json!({"do": "version"})).await;
        assert_eq!(answer, json!({"version": 7}), "the version stands in the other module");
    }
    Ok(())
}

pub(super) async fn code_that_cannot_be_loaded_is_said_to_be_so(subject: &Subject) -> Verdict {
    for runtime in subject.runtimes()? {
        let function =
            fixture::broken(&subject.name(), &runtime).ok_or_else(|| no_fixture(&runtime))?;
        match subject.platform.deploy(&function).await {
            Err(error) => {
                let kind = error.kind();
                assert_eq!(kind, ErrorKind::InvalidInput, "the code is at fault: {error}");
                assert!(!error.is_retryable());
            }
            Ok(deployment) => {
                subject.will_remove(&deployment);
                let error = subject.failure(&deployment, json!({"do": "nothing"})).await;
                // An executable that ends at once cannot say why.
                let crashed =
                    runtime.family() == "native" && error.kind == FunctionErrorKind::Crashed;
                assert!(crashed || error.kind == FunctionErrorKind::Initialization, "{error}");
            }
        }
    }
    Ok(())
}

pub(super) async fn code_over_the_limit_is_refused(subject: &Subject) -> Verdict {
    let mut tried = Vec::new();
    for runtime in subject.runtimes_of_different_limits()? {
        let max_code = subject.capabilities.for_runtime(&runtime).max_code;
        let limit = limit_below(max_code, LARGEST_CODE)?;
        // Code of many megabytes is not made again for the same limit.
        if tried.contains(&limit) {
            continue;
        }
        tried.push(limit);
        let name = subject.name();
        let function =
            fixture::padded(&name, &runtime, limit).ok_or_else(|| no_fixture(&runtime))?;
        let deployed = subject.platform.deploy(&function).await;
        let error = refused_as("code over the limit", deployed, &[ErrorKind::PayloadTooLarge]);
        assert!(!error.is_retryable(), "{error:?}");
        subject.says_where(&error, "deploy", &name);
        let fetched = subject.platform.fetch_deployment(&name).await;
        refused_as("fetching what was refused", fetched, &[ErrorKind::NotFound]);
    }
    Ok(())
}

pub(super) async fn scaling_changes_what_it_names_and_keeps_the_rest(subject: &Subject) -> Verdict {
    needs_scaling(subject)?;
    let (small, large) = two_memories(subject)?;
    let timeout = longest(subject, Duration::from_secs(30));
    let begin = Scaling::default().with_memory_mib(small).with_timeout(timeout);
    let function = subject.function()?.with_scaling(begin).with_env("FALCO_PLAIN", "plain");
    let deployment = subject.deploy(&function).await;
    assert_eq!(deployment.scaling.memory_mib, Some(small));

    let to = Scaling::default().with_memory_mib(large);
    let scaled = served("scale", subject.platform.scale(&deployment, &to).await);
    let fetched = served("fetch", subject.platform.fetch_deployment(&deployment.name).await);
    for reported in [&scaled, &fetched] {
        assert_eq!(reported.scaling.memory_mib, Some(large), "what scale names");
        assert_eq!(reported.scaling.timeout, Some(timeout), "what scale does not name");
    }
    let activation = subject.call(&scaled, json!({"do": "version"})).await;
    assert_eq!(super::subject::value(&activation), json!({"version": 1}), "the code stays");
    if let Some(memory) = activation.memory_mib {
        assert_eq!(memory, large, "the activation runs at the new size");
    }
    let variable = env(subject, &scaled, "FALCO_PLAIN").await;
    assert_eq!(variable, json!("plain"), "the environment stays");
    Ok(())
}

pub(super) async fn a_scaled_timeout_is_in_force(subject: &Subject) -> Verdict {
    needs_scaling(subject)?;
    let deployment = subject.deployed().await?;
    let timeout = shortest_timeout(subject);
    let to = Scaling::default().with_timeout(timeout);
    let scaled = served("scale", subject.platform.scale(&deployment, &to).await);
    let seconds = timeout.as_secs_f64() + 5.0;
    let error = subject.failure(&scaled, json!({"do": "sleep", "seconds": seconds})).await;
    assert_eq!(error.kind, FunctionErrorKind::Timeout, "{error}");
    Ok(())
}

pub(super) async fn sizes_out_of_bounds_are_refused(subject: &Subject) -> Verdict {
    let (memory, timeout) = (subject.capabilities.memory_mib, subject.capabilities.timeout);
    let mut impossible = vec![Scaling::default().with_memory_mib(0)];
    if let Some(Bounds { max, .. }) = memory {
        impossible.push(Scaling::default().with_memory_mib(max + 1));
    }
    if let Some(Bounds { max, .. }) = timeout {
        let timeout = Some(max + Duration::from_secs(1));
        impossible.push(Scaling::default().with_timeout(timeout));
    }
    let deployment = subject.deployed().await?;
    for scaling in impossible {
        let function = subject.function()?.with_scaling(scaling.clone());
        let deployed = subject.platform.deploy(&function).await;
        let kinds = &[ErrorKind::InvalidInput];
        let error = refused_as("deploying an impossible size", deployed, kinds);
        subject.says_where(&error, "deploy", &function.name);
        if subject.capabilities.scaling {
            let scaled = subject.platform.scale(&deployment, &scaling).await;
            let error = refused_as("scaling to an impossible size", scaled, kinds);
            subject.says_where(&error, "scale", &deployment.name);
        }
    }
    subject.value(&deployment, json!({"do": "nothing"})).await;
    Ok(())
}

async fn env(subject: &Subject, deployment: &Deployment, name: &str) -> serde_json::Value {
    subject.value(deployment, json!({"do": "env", "name": name})).await["value"].clone()
}

fn needs_scaling(subject: &Subject) -> Result<(), Skip> {
    if subject.capabilities.scaling { Ok(()) } else { Err(Skip::new("it cannot scale")) }
}

/// Two sizes that every provider offers, if the bounds allow both.
pub(super) fn two_memories(subject: &Subject) -> Result<(u32, u32), Skip> {
    let (small, large) = (256, 512);
    match subject.capabilities.memory_mib {
        Some(bounds) if !(bounds.contains(small) && bounds.contains(large)) => {
            Err(Skip::new("256 and 512 MiB are not both within its bounds"))
        }
        _ => Ok((small, large)),
    }
}

fn longest(subject: &Subject, wish: Duration) -> Duration {
    subject.capabilities.timeout.map_or(wish, |bounds| wish.clamp(bounds.min, bounds.max))
}

/// A short timeout that still lets an interpreter start.
pub(super) fn shortest_timeout(subject: &Subject) -> Duration {
    longest(subject, Duration::from_secs(1))
}
