//! The logs of activations that failed, fetched while their function is still there.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use falco_core::{
    ActivationId, ActivationLog, Deployment, Event, ExecutionPlan, Monitor, StageName,
};
use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout_at};

use super::log_policy::LogPolicy;
use super::session::Session;
use crate::report::{Failure, RunReport};
use crate::strategy::activation_log;

/// The pauses before a log that the provider did not have yet is asked for again; the last one goes on.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(4)];

/// Adds what failed activations printed to their failures in the report. It gives up where that is not to be had:
/// what the report says without it stays true.
pub(super) async fn add_logs(session: &Session, plan: &ExecutionPlan, report: &mut RunReport) {
    let policy = session.failed_logs;
    let is_wanted = policy.per_stage > 0 && session.platform().capabilities().logs;
    if !is_wanted || session.hub.is_stopped() {
        return;
    }
    let until = Instant::now() + policy.patience;
    let adding = async {
        for stage in &mut report.stages {
            let Some(planned) = plan.stage(stage.stage.as_str()) else { continue };
            let Some(deployment) = session.functions.deployment_of(&planned.function) else {
                continue;
            };
            let mut wanted = wanted(&mut stage.failures, policy);
            fetch(session, &deployment, &stage.stage, &mut wanted, until).await;
        }
    };
    tokio::select! {
        // A stage that got its logs keeps them when the time is over for the next one.
        _ = timeout_at(until, adding) => {}
        () = session.hub.stop_token().cancelled() => {}
    }
}

/// The failures whose logs are asked for, by their activations.
fn wanted(failures: &mut [Failure], policy: LogPolicy) -> HashMap<ActivationId, &mut Failure> {
    let mut of_kind = HashMap::<String, usize>::new();
    failures
        .iter_mut()
        .filter(|failure| policy.with_traceback || failure.trace.is_none())
        .filter_map(|failure| Some((failure.activation.clone()?, failure)))
        .filter(|(_, failure)| {
            let count = of_kind.entry(failure.kind.clone()).or_default();
            *count += 1;
            *count <= policy.per_kind
        })
        .take(policy.per_stage)
        .collect()
}

/// Asks until all are there.
async fn fetch(
    session: &Session,
    deployment: &Deployment,
    stage: &StageName,
    wanted: &mut HashMap<ActivationId, &mut Failure>,
    until: Instant,
) {
    let mut pauses = PAUSES.into_iter();
    while !wanted.is_empty() {
        let ids: Vec<ActivationId> = wanted.keys().cloned().collect();
        let fetching = AssertUnwindSafe(activation_log(&**session.platform(), deployment, &ids));
        let logs = match fetching.catch_unwind().await {
            Ok(Ok(logs)) => logs,
            Ok(Err(error)) if error.is_retryable() => Vec::new(),
            _ => return,
        };
        for log in logs {
            let Some(failure) = wanted.remove(&log.id) else { continue };
            let log = shortened(log, session.failed_logs);
            let _ = session.hub.event(&Event::Logged { stage, log: &log });
            if !log.lines.is_empty() {
                failure.set_log(&text_of(&log));
            }
        }
        let pause = pauses.next().unwrap_or(PAUSES[2]);
        if wanted.is_empty() || Instant::now() + pause >= until {
            return;
        }
        sleep(pause).await;
    }
}

/// The last lines of a log, as far as the policy keeps them.
fn shortened(mut log: ActivationLog, policy: LogPolicy) -> ActivationLog {
    let (mut bytes, mut kept) = (0, 0);
    for line in log.lines.iter().rev().take(policy.lines) {
        bytes += line.text.len() + 1;
        // The last line is kept however long it is; the report cuts it.
        if bytes > policy.bytes && kept > 0 {
            break;
        }
        kept += 1;
    }
    let cut = log.lines.len() - kept;
    if cut > 0 {
        log.lines.drain(..cut);
        log.truncated = true;
    }
    log
}

fn text_of(log: &ActivationLog) -> String {
    let lines: Vec<&str> = log.lines.iter().map(|line| line.text.as_str()).collect();
    lines.join("\n")
}
