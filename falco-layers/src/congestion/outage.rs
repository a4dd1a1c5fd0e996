//! Whether the platform can be reached, as calls show it.

use std::time::{Duration, SystemTime};

use falco_core::{Error, ErrorKind};

use super::watchers::Report;
use crate::silence::Heard;

/// The first and the longest pause between two calls that try whether the platform is back.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// No pause can be set to more.
const LONGEST_SET_PAUSE: Duration = Duration::from_secs(3600);
/// So many failures in a row, without any answer between them, are an outage. A single connection may always break.
const FAILURES: u32 = 3;
/// How many calls may start at once after an outage.
const FIRST_BATCH: f64 = 4.0;
/// A probe that runs a function may take long. Failing to connect takes less than so many longest pauses.
const PAUSES_OF_A_LONG_PROBE: u32 = 2;

/// A change of the platform's reachability.
#[derive(Debug)]
pub(super) enum Change {
    Started(Error),
    Ended(Duration),
}

/// Whether a call may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Open,
    /// One call may try whether the platform is back.
    Probe,
    /// Nothing may be sent before this time.
    Shut(Duration),
}

/// Whether the platform can be reached. Pure: the time is passed in.
#[derive(Debug)]
pub(super) struct Reach {
    first_pause: Duration,
    longest_pause: Duration,
    random: fastrand::Rng,
    /// Failures since the last answer, and when the first of them came.
    failures: u32,
    failing_since: Duration,
    outage: Option<Outage>,
    reopened: Option<Reopened>,
    /// All outages that are over, and the last of them.
    total: Duration,
    last: Duration,
}

#[derive(Debug)]
struct Outage {
    since: Duration,
    since_wall: SystemTime,
    /// The pause that follows the next probe, without its random part.
    pause: Duration,
    probe_at: Duration,
    probe: Option<Probe>,
    last: Error,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    sent_at: Duration,
    may_take_long: bool,
}

#[derive(Debug)]
struct Reopened {
    at: Duration,
    sent: u32,
}

impl Default for Reach {
    fn default() -> Self {
        Self {
            first_pause: PAUSES.0,
            longest_pause: PAUSES.1,
            random: fastrand::Rng::new(),
            failures: 0,
            failing_since: Duration::ZERO,
            outage: None,
            reopened: None,
            total: Duration::ZERO,
            last: Duration::ZERO,
        }
    }
}

impl Reach {
    pub(super) fn set_pauses(&mut self, first: Duration, longest: Duration) {
        self.first_pause = first.clamp(Duration::from_millis(1), LONGEST_SET_PAUSE);
        self.longest_pause = longest.clamp(self.first_pause, LONGEST_SET_PAUSE);
    }

    /// Whether a call may be sent at `now`.
    pub(super) fn way(&mut self, now: Duration) -> Way {
        if let Some(outage) = &self.outage {
            return match outage.probe {
                Some(probe) => Way::Shut(self.taken_at(probe).unwrap_or(Duration::MAX)),
                None if now >= outage.probe_at => Way::Probe,
                None => Way::Shut(outage.probe_at),
            };
        }
        let Some(reopened) = &self.reopened else { return Way::Open };
        let step = self.first_pause.as_secs_f64();
        let steps = now.saturating_sub(reopened.at).as_secs_f64() / step;
        let (sent, may_be_sent) = (f64::from(reopened.sent), FIRST_BATCH * steps.exp2());
        if may_be_sent > sent {
            return Way::Open;
        }
        let room_at = (sent / FIRST_BATCH).log2() * step;
        Way::Shut(reopened.at + Duration::from_secs_f64(room_at) + Duration::from_millis(1))
    }

    /// When a probe that has not failed shows that the platform has taken it, where that is seen before its answer.
    fn taken_at(&self, probe: Probe) -> Option<Duration> {
        probe.may_take_long.then(|| probe.sent_at + self.longest_pause * PAUSES_OF_A_LONG_PROBE)
    }

    /// Ends an outage whose probe was taken and is not answered yet, since the function runs.
    pub(super) fn review(&mut self, now: Duration) -> Option<Change> {
        let probe = self.outage.as_ref()?.probe?;
        if now < self.taken_at(probe)? {
            return None;
        }
        self.end(now)
    }

    /// Takes note that a call is sent, as [`way`](Self::way) has allowed. Whether it is a probe.
    pub(super) fn sent(&mut self, now: Duration, may_take_long: bool) -> bool {
        if let Some(outage) = &mut self.outage {
            outage.probe = Some(Probe { sent_at: now, may_take_long });
            return true;
        }
        if let Some(reopened) = &mut self.reopened {
            reopened.sent = reopened.sent.saturating_add(1);
            // Twenty steps are a million times the first batch.
            if now.saturating_sub(reopened.at) > self.first_pause * 20 {
                self.reopened = None;
            }
        }
        false
    }

    /// Takes note of what a call has shown that was sent at `sent_at`.
    pub(super) fn heard(
        &mut self,
        now: Duration,
        sent_at: Duration,
        is_probe: bool,
        heard: Heard<'_>,
    ) -> Option<Change> {
        // A probe that was taken for answered may fail in the next outage, whose probe is another call.
        let probe = self.outage.as_ref().and_then(|outage| outage.probe);
        let is_probe = is_probe && probe.is_some_and(|probe| probe.sent_at == sent_at);
        match heard {
            Heard::Answer => self.answered(now, sent_at),
            Heard::Silence(error) => self.failed(now, is_probe, error),
            Heard::Nothing => {
                if let Some(outage) = self.outage.as_mut().filter(|_| is_probe) {
                    outage.probe = None;
                }
                None
            }
        }
    }

    fn answered(&mut self, now: Duration, sent_at: Duration) -> Option<Change> {
        self.failures = 0;
        // What was sent before may have gone by a connection that still stands, where no new one is made.
        if self.outage.as_ref().is_none_or(|outage| sent_at < outage.since) {
            return None;
        }
        self.end(now)
    }

    fn end(&mut self, now: Duration) -> Option<Change> {
        let outage = self.outage.take()?;
        self.reopened = Some(Reopened { at: now, sent: 0 });
        let lasted = now.saturating_sub(outage.since);
        self.total += lasted;
        self.last = lasted;
        Some(Change::Ended(lasted))
    }

    fn failed(&mut self, now: Duration, is_probe: bool, error: &Error) -> Option<Change> {
        if let Some(outage) = &mut self.outage {
            outage.last = error.clone();
            if is_probe {
                let pause = outage.pause;
                outage.pause = (pause * 2).min(self.longest_pause);
                outage.probe = None;
                outage.probe_at =
                    now + jittered(pause, self.first_pause, self.longest_pause, &mut self.random);
            }
            return None;
        }
        if self.failures == 0 {
            self.failing_since = now;
        }
        self.failures += 1;
        if self.failures < FAILURES {
            return None;
        }
        let lasting = now.saturating_sub(self.failing_since);
        let wall = SystemTime::now();
        self.failures = 0;
        self.reopened = None;
        self.outage = Some(Outage {
            since: self.failing_since,
            since_wall: wall.checked_sub(lasting).unwrap_or(wall),
            pause: (self.first_pause * 2).min(self.longest_pause),
            probe_at: now
                + jittered(
                    self.first_pause,
                    self.first_pause,
                    self.longest_pause,
                    &mut self.random,
                ),
            probe: None,
            last: error.clone(),
        });
        Some(Change::Started(error.clone()))
    }

    /// Whether nobody answers.
    pub(super) fn is_away(&self) -> bool {
        self.outage.is_some()
    }

    /// The state that watchers hear of.
    pub(super) fn report(&self) -> Report {
        match &self.outage {
            Some(outage) => Report::Away(outage.last.clone()),
            None => Report::Back(self.last),
        }
    }

    /// How long there were outages until `now`.
    pub(super) fn lost(&self, now: Duration) -> Duration {
        let current = self.outage.as_ref().map(|outage| now.saturating_sub(outage.since));
        self.total + current.unwrap_or_default()
    }

    /// Why a call that has not been sent is given up, when the outage has lasted for `patience`.
    pub(super) fn given_up(&self, now: Duration, patience: Duration) -> Option<Error> {
        let outage = self.outage.as_ref()?;
        let lasted = now.saturating_sub(outage.since);
        (lasted >= patience).then(|| no_answer_since(&outage.last, outage.since_wall, lasted))
    }
}

/// A pause with a random part, so that drivers that lost the same platform do not come back together.
fn jittered(
    pause: Duration,
    shortest: Duration,
    longest: Duration,
    random: &mut fastrand::Rng,
) -> Duration {
    pause.mul_f64(0.8 + 0.4 * random.f64()).clamp(shortest, longest)
}

/// The error of a call that was not sent, or not again: since when nobody has answered, and what was tried last.
pub(crate) fn no_answer_since(last: &Error, since: SystemTime, lasted: Duration) -> Error {
    let what = match last.kind() {
        ErrorKind::Unauthorized => "the credentials have not been accepted",
        _ => "nobody has answered",
    };
    let mut tried = String::new();
    for part in [last.operation(), last.function()].into_iter().flatten() {
        tried.push_str(part);
        tried.push(' ');
    }
    let message = format!(
        "{what} since {} ({}); last tried: {}: {}",
        humantime::format_rfc3339_seconds(since),
        humantime::format_duration(Duration::from_secs(lasted.as_secs())),
        tried.trim_end(),
        last.message(),
    );
    let mut error = Error::new(last.kind(), message)
        .with_unreachable(true)
        .with_retryable(true)
        .with_may_have_run(false)
        .with_hint(match last.hint() {
            Some(hint) => hint.to_owned(),
            None => "check the network and the credentials, or wait longer: raise Stack::with_outage_patience or RunOptions::with_outage_patience".to_owned(),
        });
    if let Some(platform) = last.platform() {
        error = error.with_platform(platform);
    }
    error.into_exhausted()
}

#[cfg(test)]
mod tests;
