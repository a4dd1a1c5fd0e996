//! The logs of activations that failed without a traceback, fetched while their function is still there.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use falco_core::{ActivationId, ActivationLog, Event, ExecutionPlan, Monitor};
use futures_util::FutureExt;

use super::session::Session;
use crate::report::{Failure, RunReport};

/// How many logs of a stage are fetched.
const FETCHED: usize = 10;
/// How long fetching may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Adds what failed activations printed to their failures in the report. It gives up where that is not to be had:
/// what the report says without it stays true.
pub(super) async fn add_logs(session: &Session, plan: &ExecutionPlan, report: &mut RunReport) {
    if !session.platform().capabilities().logs || session.hub.is_stopped() {
        return;
    }
    let adding = async {
        for stage in &mut report.stages {
            let Some(planned) = plan.stage(stage.stage.as_str()) else { continue };
            let Some(deployment) = session.functions.deployment_of(&planned.function) else {
                continue;
            };
            let is_asked = |failure: &&mut Failure| failure.details().is_none();
            let mut failures: HashMap<ActivationId, &mut Failure> = stage
                .failures
                .iter_mut()
                .filter(is_asked)
                .filter_map(|failure| Some((failure.activation.clone()?, failure)))
                .take(FETCHED)
                .collect();
            if failures.is_empty() {
                continue;
            }
            let ids: Vec<ActivationId> = failures.keys().cloned().collect();
            let fetching = AssertUnwindSafe(session.platform().activation_log(&deployment, &ids));
            let Ok(Ok(logs)) = fetching.catch_unwind().await else { continue };
            for log in logs {
                let Some(failure) = failures.remove(&log.id) else { continue };
                let _ = session.hub.event(&Event::Logged { stage: &stage.stage, log: &log });
                if !log.lines.is_empty() {
                    failure.set_log(&text_of(&log));
                }
            }
        }
    };
    tokio::select! {
        () = adding => {}
        () = tokio::time::sleep(PATIENCE) => {}
        () = session.hub.stop_token().cancelled() => {}
    }
}

fn text_of(log: &ActivationLog) -> String {
    let lines: Vec<&str> = log.lines.iter().map(|line| line.text.as_str()).collect();
    lines.join("\n")
}
