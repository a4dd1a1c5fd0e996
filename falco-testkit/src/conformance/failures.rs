//! How functions fail, and what is left of it.

use std::time::Duration;

use falco_core::{Deployment, FunctionErrorKind, Scaling};
use futures_util::future::{join, join_all};
use serde_json::json;
use tokio::time::sleep;

use super::configuration::shortest_timeout;
use super::harness::{Skip, Verdict};
use super::invoke::small_limit;
use super::subject::Subject;

pub(super) async fn raising_is_a_function_error(subject: &Subject) -> Verdict {
    let words = "no such word: größe";
    for deployment in subject.deployed_in_each_runtime().await? {
        let error = subject.failure(&deployment, json!({"do": "raise", "message": words})).await;
        assert_eq!(error.kind, FunctionErrorKind::Raised, "{error}");
        assert!(error.message.contains(words), "the function's words have to arrive: {error:?}");
        if let Some(class) = &error.error_type {
            assert!(["ValueError", "RangeError"].iter().any(|c| class.contains(c)), "{class}");
        }
        subject.value(&deployment, json!({"do": "nothing"})).await;
    }
    Ok(())
}

pub(super) async fn a_result_that_is_no_object_is_a_bad_result(subject: &Subject) -> Verdict {
    for deployment in subject.deployed_in_each_runtime().await? {
        let error = subject.failure(&deployment, json!({"do": "bad_result"})).await;
        assert_eq!(error.kind, FunctionErrorKind::BadResult, "{error}");
        subject.value(&deployment, json!({"do": "nothing"})).await;
    }
    Ok(())
}

pub(super) async fn a_result_that_json_cannot_hold_is_a_bad_result(subject: &Subject) -> Verdict {
    for deployment in subject.deployed_in_each_runtime().await? {
        for value in ["nan", "infinity", "half_pair"] {
            let args = json!({"do": "not_json", "value": value});
            match subject.call(&deployment, args).await.outcome {
                Err(error) => {
                    assert_eq!(error.kind, FunctionErrorKind::BadResult, "{value}: {error}");
                }
                Ok(result) => panic!("{value} has to be refused, and it became {result:?}"),
            }
        }
        subject.value(&deployment, json!({"do": "nothing"})).await;
    }
    Ok(())
}

pub(super) async fn a_result_over_the_limit_is_a_bad_result(subject: &Subject) -> Verdict {
    small_limit(subject.capabilities.max_result)?;
    for deployment in subject.deployed_in_each_runtime().await? {
        let limit = small_limit(subject.limits_of(&deployment).max_result)?;
        let error = subject.failure(&deployment, json!({"do": "big", "length": limit})).await;
        assert_eq!(error.kind, FunctionErrorKind::BadResult, "{error}");
        let half = subject.value(&deployment, json!({"do": "big", "length": limit / 2})).await;
        assert_eq!(half["value"].as_str().map(str::len), usize::try_from(limit / 2).ok());
    }
    Ok(())
}

pub(super) async fn running_too_long_is_a_timeout(subject: &Subject) -> Verdict {
    let timeout = shortest_timeout(subject);
    for runtime in subject.runtimes()? {
        let scaling = Scaling::default().with_timeout(timeout);
        let function = subject.function_for(&runtime)?.with_scaling(scaling);
        let deployment = subject.deploy(&function).await;
        let seconds = (timeout + Duration::from_secs(5)).as_secs_f64();
        let slow = json!({"do": "sleep", "seconds": seconds});
        let submitted = async {
            if subject.capabilities.submit {
                let pending = [subject.submit(&deployment, slow.clone()).await];
                let outcome = subject.collect(&deployment, &pending).await.swap_remove(0).outcome;
                let kind = outcome.as_ref().err().map(|error| error.kind);
                assert_eq!(kind, Some(FunctionErrorKind::Timeout), "submitted: {outcome:?}");
            }
        };
        let invoked = subject.failure(&deployment, slow.clone());
        let (error, ()) = join(invoked, submitted).await;
        assert_eq!(error.kind, FunctionErrorKind::Timeout, "{error}");
        answers_again(subject, &deployment).await;
    }
    Ok(())
}

pub(super) async fn a_function_that_was_timed_out_does_not_run_on(subject: &Subject) -> Verdict {
    if !subject.harness.shares_files() {
        return Err(Skip::new("the harness cannot see whether a function runs on"));
    }
    let timeout = shortest_timeout(subject);
    let scaling = Scaling::default().with_timeout(timeout);
    // Late enough that even a busy machine has ended the function by then.
    let later = timeout + Duration::from_millis(1_500);
    let mut calls = Vec::new();
    for runtime in subject.runtimes()? {
        let function = subject.function_for(&runtime)?.with_scaling(scaling.clone());
        let deployment = subject.deploy(&function).await;
        let path = std::env::temp_dir().join(subject.name());
        calls.push(async move {
            let args = json!({"do": "touch", "path": path, "seconds": later.as_secs_f64()});
            let error = subject.failure(&deployment, args).await;
            assert_eq!(error.kind, FunctionErrorKind::Timeout, "{error}");
            (deployment, path)
        });
    }
    let ended = join_all(calls).await;
    sleep(Duration::from_secs(3)).await;
    for (deployment, path) in ended {
        let ran_on = path.exists();
        let _ = std::fs::remove_file(path);
        assert!(!ran_on, "{} has written a file after its timeout", deployment.runtime);
    }
    Ok(())
}

pub(super) async fn a_crash_is_reported_and_the_next_call_works(subject: &Subject) -> Verdict {
    for deployment in subject.deployed_in_each_runtime().await? {
        let error = subject.failure(&deployment, json!({"do": "exit", "status": 3})).await;
        assert_eq!(error.kind, FunctionErrorKind::Crashed, "{error}");
        if let Some(status) = error.exit_status {
            assert_eq!(status, 3);
        }
        let answer = subject.value(&deployment, json!({"do": "version"})).await;
        assert_eq!(answer, json!({"version": 1}));
    }
    Ok(())
}

/// The next call works. Where the machine is so busy that an interpreter does not start within a short timeout, the
/// next but one.
async fn answers_again(subject: &Subject, deployment: &Deployment) {
    loop {
        match subject.call(deployment, json!({"do": "nothing"})).await.outcome {
            Err(error) if error.kind == FunctionErrorKind::Timeout => {}
            outcome => {
                assert!(outcome.is_ok(), "{outcome:?}");
                return;
            }
        }
    }
}
