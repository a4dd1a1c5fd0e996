//! The logs of activations that failed, fetched beside later stages and before their functions are removed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use falco_core::{
    ActivationId, ActivationLog, AsyncPlatform, Deployment, Event, Monitor, StageName,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::hub::Hub;
use super::log_policy::LogPolicy;
use crate::report::{Failure, StageReport};
use crate::strategy::activation_log;

/// The pauses before logs that the provider did not have yet are asked for again.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_millis(1_500),
    Duration::from_secs(3),
    Duration::from_secs(5),
];
/// How long a run that was stopped still waits for them.
const PATIENCE_AFTER_STOP: Duration = Duration::from_secs(5);
/// The text in place of a log for which there was no room.
const NO_ROOM: &str = "(left out: the run keeps no more logs)";

/// The logs of a run's failed activations. Dropped, it gives up those that are being fetched.
pub(super) struct FailedLogs {
    shared: Arc<Shared>,
    fetches: Mutex<Vec<Fetch>>,
}

struct Shared {
    policy: LogPolicy,
    platform: Arc<dyn AsyncPlatform>,
    hub: Arc<Hub>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    texts: HashMap<(StageName, ActivationId), String>,
    bytes: usize,
}

/// The fetching of one stage's logs.
struct Fetch {
    deployment: String,
    /// Cancelled at the end, also after a panic.
    done: CancellationToken,
    _task: AbortOnDropHandle<()>,
}

impl FailedLogs {
    pub(super) fn new(
        policy: LogPolicy,
        platform: Arc<dyn AsyncPlatform>,
        hub: Arc<Hub>,
    ) -> Arc<Self> {
        let shared = Arc::new(Shared { policy, platform, hub, kept: Mutex::default() });
        Arc::new(Self { shared, fetches: Mutex::default() })
    }

    /// Begins to fetch the logs of a stage that has ended. It gives up where they are not to be had: what the report says
    /// without them stays true.
    pub(super) fn begin(
        &self,
        stage: &StageName,
        deployment: &Arc<Deployment>,
        failures: &[Failure],
    ) {
        let shared = self.shared.clone();
        let wanted = wanted(failures, shared.policy);
        if wanted.is_empty() || !shared.platform.capabilities().logs || shared.hub.is_suspended() {
            return;
        }
        let done = CancellationToken::new();
        let at_the_end = done.clone().drop_guard();
        let (stage, of) = (stage.clone(), deployment.clone());
        let task = tokio::spawn(async move {
            let _done = at_the_end;
            let patience = shared.policy.patience;
            tokio::select! {
                _ = timeout(patience, shared.fetch(&of, &stage, wanted)) => {}
                () = shared.is_left() => {}
            }
        });
        let (deployment, task) = (deployment.name.clone(), AbortOnDropHandle::new(task));
        lock(&self.fetches).push(Fetch { deployment, done, _task: task });
    }

    /// Waits until no log of this deployment is being fetched any more, or none at all without one.
    pub(super) async fn fetched(&self, deployment: Option<&Deployment>) {
        let is_of = |fetch: &&Fetch| deployment.is_none_or(|it| it.name == fetch.deployment);
        let open: Vec<CancellationToken> =
            lock(&self.fetches).iter().filter(is_of).map(|fetch| fetch.done.clone()).collect();
        for done in open {
            done.cancelled().await;
        }
    }

    /// Adds the logs that are there to the failures of a stage.
    pub(super) fn add_to(&self, report: &mut StageReport) {
        let kept = lock(&self.shared.kept);
        for failure in report.failures.iter_mut().filter(|failure| failure.log.is_none()) {
            let Some(activation) = failure.activation.clone() else { continue };
            if let Some(text) = kept.texts.get(&(report.stage.clone(), activation)) {
                failure.set_log(text);
            }
        }
    }
}

impl Shared {
    /// Asks until all are there.
    async fn fetch(&self, of: &Deployment, stage: &StageName, mut wanted: Vec<ActivationId>) {
        let mut pauses = PAUSES.into_iter();
        // None for a patience that is longer than clocks reach.
        let until = Instant::now().checked_add(self.policy.patience);
        loop {
            let logs = match activation_log(&*self.platform, of, &wanted).await {
                Ok(logs) => logs,
                Err(error) if error.is_retryable() => Vec::new(),
                Err(_) => return,
            };
            for log in logs {
                if let Some(at) = wanted.iter().position(|id| *id == log.id) {
                    wanted.swap_remove(at);
                    self.keep(stage, log);
                }
            }
            let Some(pause) = pauses.next() else { return };
            // A run that was stopped does not wait for what comes late.
            let is_late = until.is_some_and(|until| Instant::now() + pause >= until);
            if wanted.is_empty() || self.hub.is_stopped() || is_late {
                return;
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.hub.stop_token().cancelled() => {}
            }
        }
    }

    fn keep(&self, stage: &StageName, log: ActivationLog) {
        let log = {
            let mut kept = lock(&self.kept);
            let room = self.policy.total_bytes.saturating_sub(kept.bytes);
            let is_empty = log.lines.is_empty();
            let log = shortened(log, self.policy.lines, self.policy.bytes.min(room));
            kept.bytes += log.lines.iter().map(size).sum::<usize>();
            if !is_empty {
                let text = if log.lines.is_empty() { NO_ROOM.to_owned() } else { text_of(&log) };
                kept.texts.insert((stage.clone(), log.id.clone()), text);
            }
            log
        };
        let _ = self.hub.event(&Event::Logged { stage, log: &log });
    }

    /// Resolves when nobody wants to wait for logs any more.
    async fn is_left(&self) {
        let stopped = async {
            self.hub.stopped().await;
            sleep(PATIENCE_AFTER_STOP).await;
        };
        tokio::select! {
            () = stopped => {}
            () = self.hub.aborted() => {}
        }
    }
}

/// The activations whose logs are asked for.
fn wanted(failures: &[Failure], policy: LogPolicy) -> Vec<ActivationId> {
    let mut of_kind = HashMap::<&str, usize>::new();
    failures
        .iter()
        .filter(|failure| policy.with_traceback || failure.trace.is_none())
        .filter_map(|failure| Some((failure.activation.clone()?, failure)))
        .filter(|(_, failure)| {
            let count = of_kind.entry(&failure.kind).or_default();
            *count += 1;
            *count <= policy.per_kind
        })
        .map(|(activation, _)| activation)
        .take(policy.per_stage)
        .collect()
}

/// The last lines of a log; of a line that is too long by itself the end.
fn shortened(mut log: ActivationLog, lines: usize, bytes: usize) -> ActivationLog {
    let (mut room, mut kept) = (bytes, 0);
    for line in log.lines.iter_mut().rev().take(lines) {
        let whole = size(line);
        if whole > room {
            if kept == 0 && room > 1 {
                let cut = line.text.len() + 1 - room;
                line.text.drain(..line.text.ceil_char_boundary(cut));
                log.truncated = true;
                kept = 1;
            }
            break;
        }
        room -= whole;
        kept += 1;
    }
    let cut = log.lines.len() - kept;
    log.lines.drain(..cut);
    log.truncated |= cut > 0;
    log
}

/// The bytes of a line, with its line break.
fn size(line: &falco_core::LogLine) -> usize {
    line.text.len() + 1
}

fn text_of(log: &ActivationLog) -> String {
    let lines: Vec<&str> = log.lines.iter().map(|line| line.text.as_str()).collect();
    lines.join("\n")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
