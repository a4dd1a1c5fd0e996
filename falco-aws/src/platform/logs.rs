//! The output of activations.
//!
//! A log group's events carry no request id, except Lambda's own lines. But one instance runs one activation at a
//! time and has a stream of its own: what a stream holds between `START` and `END` is that activation's. So the
//! logs of any number of activations come from one pass over the time in which they ran.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use falco_core::{
    Activation, ActivationId, ActivationLog, Deployment, Error, LogLine, Operation, Result,
};
use falco_package::lambda::without_prefix;

use super::AwsLambda;
use super::names;
use super::report::{self, Report};
use crate::client::{LogEvent, RequestError};

/// So many ids fit into a filter pattern (1024 characters), which finds out when they ran.
const FILTERED: usize = 20;

/// The time by which clocks may differ.
const MARGIN_MS: u64 = 60_000;

/// How far back to look for activations of a run whose start is not known.
const DAY_MS: u64 = 86_400_000;

/// A time in milliseconds since the Unix epoch, inclusive.
#[derive(Clone, Copy)]
struct Span {
    from: u64,
    to: u64,
}

impl AwsLambda {
    pub(super) async fn read_logs(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>, RequestError> {
        if activations.is_empty() {
            return Ok(Vec::new());
        }
        let group = names::log_group(&deployment.name);
        let mut span = span(deployment);
        if activations.len() <= FILTERED {
            match self.narrow(&group, activations, span).await? {
                Some(narrower) => span = narrower,
                None => return Ok(Vec::new()),
            }
        }
        let mut logs = Grouped::of(activations);
        self.for_each_event(&group, None, span, |event| logs.add(event)).await?;
        Ok(logs.into_logs(activations))
    }

    /// The logs of the newest activations that began since `since`.
    pub(super) async fn read_recent_logs(
        &self,
        deployment: &Deployment,
        since: SystemTime,
        most: usize,
    ) -> Result<Vec<ActivationLog>, RequestError> {
        let span = Span { from: milliseconds(since), ..span(deployment) };
        let group = names::log_group(&deployment.name);
        let mut logs = Grouped::keeping(most);
        self.for_each_event(&group, None, span, |event| logs.add(event)).await?;
        let newest: Vec<ActivationId> = logs.begun.iter().cloned().collect();
        Ok(logs.into_logs(&newest))
    }

    /// Adds what Lambda billed to activations that were submitted: their records do not say, only their log does.
    ///
    /// One pass over the log, whatever their number. Lambda writes it seconds after an activation has ended; those
    /// whose line is not there yet stay as they are.
    ///
    /// # Errors
    ///
    /// As [`activation_log`](falco_core::AsyncPlatform::activation_log).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use falco_core::{Activation, Deployment, UsDollars};
    /// # async fn example(
    /// #     platform: falco_aws::AwsLambda, deployment: Deployment, mut activations: Vec<Activation>,
    /// # ) -> falco_core::Result<()> {
    /// platform.add_bills(&deployment, &mut activations).await?;
    /// let cost: UsDollars = activations.iter().filter_map(|activation| activation.cost).sum();
    /// # Ok(())
    /// # }
    /// ```
    pub async fn add_bills(
        &self,
        deployment: &Deployment,
        activations: &mut [Activation],
    ) -> Result<()> {
        let mut reports = HashMap::new();
        let pattern = format!("\"{}\"", report::START.trim_end());
        let group = names::log_group(&deployment.name);
        let reading = self.for_each_event(&group, Some(&pattern), span(deployment), |event| {
            if let Some((id, report)) = Report::of_activation(&event.message) {
                reports.insert(ActivationId::from(id), report);
            }
        });
        reading.await.map_err(|failure| {
            Error::from(failure).at(Operation::new(crate::NAME, "add_bills").on(&deployment.name))
        })?;
        for activation in activations {
            if let Some(report) = reports.get(&activation.id) {
                self.add_report(activation, report, deployment);
            }
        }
        Ok(())
    }

    /// When the activations ran, by Lambda's own lines; `None` when it has not written them yet.
    async fn narrow(
        &self,
        group: &str,
        activations: &[ActivationId],
        span: Span,
    ) -> Result<Option<Span>, RequestError> {
        // Quoted, since `-` would be an operator; `?` means "or".
        let terms = activations.iter().map(|id| {
            let id: String = id.as_str().chars().filter(|c| *c != '"' && *c != '\\').collect();
            let any = if activations.len() > 1 { "?" } else { "" };
            format!("{any}\"{id}\"")
        });
        let pattern = terms.collect::<Vec<_>>().join(" ");
        let mut found: Option<Span> = None;
        self.for_each_event(group, Some(&pattern), span, |event| {
            let at = event.timestamp;
            let span = found.get_or_insert(Span { from: at, to: at });
            span.from = span.from.min(at);
            span.to = span.to.max(at);
        })
        .await?;
        Ok(found)
    }

    /// Reads page after page: an empty one may be followed by others. A group that is not there has no events.
    async fn for_each_event(
        &self,
        group: &str,
        pattern: Option<&str>,
        span: Span,
        mut each: impl FnMut(LogEvent),
    ) -> Result<(), RequestError> {
        let mut next: Option<String> = None;
        loop {
            let page = self
                .client
                .filter_log_events(group, pattern, span.from, span.to, next.as_deref())
                .await;
            let page = match page {
                Err(failure) if failure.is_not_found() => return Ok(()),
                page => page?,
            };
            page.events.into_iter().for_each(&mut each);
            next = page.next_token;
            if next.is_none() {
                return Ok(());
            }
        }
    }
}

/// When activations of a deployment can have run at all.
fn span(deployment: &Deployment) -> Span {
    let now = milliseconds(SystemTime::now());
    let started = deployment.ownership.as_ref().and_then(|owner| owner.run.started_at());
    let from = started.map_or(now.saturating_sub(DAY_MS), milliseconds);
    Span { from: from.saturating_sub(MARGIN_MS), to: now + MARGIN_MS }
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Lines by activation, as they come. Not all activations are kept, so that a log of millions fits into memory.
struct Grouped {
    logs: HashMap<ActivationId, Vec<LogLine>>,
    /// The activations that are kept, if they were named.
    wanted: Option<HashSet<ActivationId>>,
    /// The newest activations, the oldest of them first.
    begun: VecDeque<ActivationId>,
    /// How many activations are kept.
    most: usize,
    /// The activation that each stream's instance is running, if it is kept.
    running: BTreeMap<String, ActivationId>,
}

impl Grouped {
    /// Keeps these activations.
    fn of(activations: &[ActivationId]) -> Self {
        let wanted = Some(activations.iter().cloned().collect());
        Self { wanted, ..Self::keeping(usize::MAX) }
    }

    /// Keeps the newest `most` activations.
    fn keeping(most: usize) -> Self {
        let (logs, begun, running) = (HashMap::new(), VecDeque::new(), BTreeMap::new());
        Self { logs, wanted: None, begun, most, running }
    }

    fn add(&mut self, event: LogEvent) {
        let LogEvent { log_stream_name: stream, timestamp, message } = event;
        let message = message.trim_end_matches(['\n', '\r']);
        if let Some(id) = request_of(message, "START RequestId: ") {
            if self.wanted.as_ref().is_some_and(|wanted| !wanted.contains(&id)) {
                self.running.remove(&stream);
                return;
            }
            if self.logs.insert(id.clone(), Vec::new()).is_none() {
                self.begun.push_back(id.clone());
            }
            self.running.insert(stream, id);
            if self.begun.len() > self.most
                && let Some(oldest) = self.begun.pop_front()
            {
                self.logs.remove(&oldest);
            }
            return;
        }
        if request_of(message, "END RequestId: ").is_some() {
            self.running.remove(&stream);
            return;
        }
        if is_lambdas_own(message) {
            return;
        }
        let Some(lines) = self.running.get(&stream).and_then(|id| self.logs.get_mut(id)) else {
            return;
        };
        let at = UNIX_EPOCH.checked_add(Duration::from_millis(timestamp));
        let (stream, text) = without_prefix(message);
        lines.extend(
            text.split('\n').map(|line| LogLine::new(line).with_time(at).with_stream(stream)),
        );
    }

    fn into_logs(mut self, activations: &[ActivationId]) -> Vec<ActivationLog> {
        let logs = activations.iter().filter_map(|id| {
            let lines = self.logs.remove(id)?;
            Some(ActivationLog::new(id.clone(), lines))
        });
        logs.collect()
    }
}

fn request_of(message: &str, start: &str) -> Option<ActivationId> {
    let id = message.strip_prefix(start)?.split_whitespace().next()?;
    Some(ActivationId::from(id))
}

fn is_lambdas_own(message: &str) -> bool {
    ["REPORT RequestId: ", "INIT_START ", "INIT_REPORT ", "XRAY TraceId: "]
        .iter()
        .any(|start| message.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(stream: &str, timestamp: u64, message: &str) -> LogEvent {
        LogEvent { log_stream_name: stream.into(), timestamp, message: message.into() }
    }

    fn texts(log: &ActivationLog) -> Vec<&str> {
        log.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn lines_belong_to_what_their_stream_runs() {
        let ids: Vec<ActivationId> = ["a", "b", "c"].map(Into::into).into();
        let mut grouped = Grouped::of(&ids);
        for event in [
            event("s1", 1, "INIT_START Runtime Version: python"),
            event("s1", 1, "START RequestId: a Version: $LATEST\n"),
            event("s2", 1, "START RequestId: b Version: $LATEST\n"),
            event("s1", 2, "one\n"),
            event("s2", 2, "two\nthree\n"),
            event("s1", 3, "END RequestId: a\n"),
            event("s1", 3, "REPORT RequestId: a\tDuration: 1 ms"),
            event("s1", 4, "nobody's"),
        ] {
            grouped.add(event);
        }
        let logs = grouped.into_logs(&ids);
        assert_eq!(logs.len(), 2, "what has no log yet is left out");
        assert_eq!(texts(&logs[0]), ["one"]);
        assert_eq!(texts(&logs[1]), ["two", "three"]);
        assert_eq!(logs[0].lines[0].at, Some(UNIX_EPOCH + Duration::from_millis(2)));
    }

    #[test]
    fn of_a_log_of_millions_only_the_activations_asked_for_are_kept() {
        let mut grouped = Grouped::of(&["b".into()]);
        for id in ["a", "b", "c"] {
            grouped.add(event("s1", 1, &format!("START RequestId: {id} Version: $LATEST\n")));
            grouped.add(event("s1", 1, &format!("of {id}\n")));
            // Killed activations have no line that ends them.
        }
        assert_eq!(grouped.logs.keys().map(ActivationId::as_str).collect::<Vec<_>>(), ["b"]);
        assert!(grouped.begun.len() == 1 && grouped.running.is_empty());
        let logs = grouped.into_logs(&["a", "b", "c"].map(Into::into));
        assert_eq!(logs.iter().flat_map(texts).collect::<Vec<_>>(), ["of b"]);
    }

    #[test]
    fn of_many_activations_the_newest_are_kept() {
        let mut grouped = Grouped::keeping(2);
        for id in ["a", "b", "c"] {
            grouped.add(event("s1", 1, &format!("START RequestId: {id} Version: $LATEST\n")));
            grouped.add(event("s1", 1, &format!("of {id}\n")));
            grouped.add(event("s1", 1, &format!("END RequestId: {id}\n")));
        }
        let newest: Vec<ActivationId> = grouped.begun.iter().cloned().collect();
        let logs = grouped.into_logs(&newest);
        assert_eq!(logs.iter().flat_map(texts).collect::<Vec<_>>(), ["of b", "of c"]);
    }
}
