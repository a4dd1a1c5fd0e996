//! The default controller: rate and concurrency, from throttling and latency.

mod ceiling;
mod latency;
mod window;

use std::time::Duration;

use falco_core::Capabilities;
use falco_core::congestion::{Allowance, CongestionController, Signal, SignalKind};

use self::ceiling::Ceiling;
use self::latency::Latency;
use self::window::SlidingWindow;
use super::interval::Interval;
use super::quota::Quota;

/// The calls in flight at first on a platform that reports nothing; it doubles every second.
const UNKNOWN_CONCURRENCY: f64 = 32.0;
/// The shortest control interval.
const SECOND: Duration = Duration::from_secs(1);
/// From this share of a limit on, a refusal is probably because of it.
const SUSPICIOUS: f64 = 0.8;
/// From this share of a limit on, more would have been sent if more were allowed.
const FULL: f64 = 0.95;
/// A smaller share of refusals among many calls is the jitter of a ceiling that is well used: no growth, and no cut.
const TOLERATED: f64 = 0.005;
/// After so much time without an accepted call, one is tried.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Finds out how many invocations a platform takes in a window of time and how many at once, and keeps just below.
///
/// Two [ceilings](Allowance) are searched at the same time, starts per window and calls in flight. Both begin with
/// what [`Capabilities`] state.
///
/// - **A refusal** lowers the ceiling that was full when it came, to the level that *was* accepted: there is no
///   need to halve when one knows how much was good. Refusals of calls that were in flight together count as one event,
///   and each says that one call less was accepted. For a moment after the first nothing is sent, so that the
///   others come in.
/// - **A refusal long before a stated quota is full** means that somebody else has used it, or that it was lowered: the
///   first time only a pause follows, the second time in a row the ceiling is lowered too.
/// - **Quotas count in windows** ([`RateLimit::window`](falco_core::RateLimit)), so starts are counted in a sliding
///   window: no window of that width, wherever it begins, holds more than the ceiling. A short pipeline need not be
///   spread over a minute: the quota of a minute may be spent in its first second. Windows of a second are spread
///   evenly.
/// - **Growth** comes after a hold, only while a ceiling is used in full, with steps that begin at one per cent and
///   get four times as large each time; up to a level that was accepted before it is one step. A refused probe so
///   costs about one call in a hundred and more.
/// - **Latency** of more than one and a half times the best of late means that the platform queues: what is in flight
///   goes back to the level before the last step, and does not grow.
/// - **A platform that fails** more calls than it answers gets half.
///
/// # Examples
///
/// ```
/// use falco_core::congestion::CongestionController;
/// use falco_core::{Capabilities, RateLimit};
/// use falco_layers::Adaptive;
/// use std::time::Duration;
///
/// let openwhisk = Capabilities::default().with_concurrency(30).with_rate(RateLimit::new(60, Duration::from_secs(60)));
/// let mut controller = Adaptive::from_capabilities(&openwhisk);
/// assert_eq!(controller.allowance(Duration::ZERO).concurrency, Some(30));
/// ```
#[derive(Clone, Debug)]
pub struct Adaptive {
    rate: Ceiling,
    concurrency: Ceiling,
    /// Control interval of the rate: the quota's window.
    window: Interval,
    /// Control interval of what is in flight.
    second: Interval,
    starts: SlidingWindow,
    refusals: SlidingWindow,
    latency: Latency,
    event: Option<Event>,
    /// Refusals that came one after another without an accepted call between.
    refused_in_a_row: u32,
    /// A refusal long before the quota was full came in this interval, or in the one before.
    warned: Option<Duration>,
    pause_until: Duration,
    /// Whether the rate's ceiling was reached in this window or in the one before.
    rate_was_full: bool,
    in_flight: u32,
    counts: Counts,
}

/// Refusals of calls that were in flight together.
#[derive(Clone, Copy, Debug)]
struct Event {
    at: Duration,
    /// Until then, refusals of the same event are waited for.
    settled_at: Duration,
    blamed: Blamed,
    in_flight: u32,
    /// Refused calls that were sent before it.
    refused: u32,
    /// Calls that were sent between the event before and this one.
    sent_before: u32,
    /// Calls that were sent after it.
    sent_since: u32,
}

#[derive(Clone, Copy, Debug)]
struct Blamed {
    rate: bool,
    concurrency: bool,
}

/// The counts of the current intervals.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    peak_in_flight: u32,
    peak_starts: u64,
    answers_in_window: u64,
    answers: u64,
    failures: u64,
    refused: bool,
    refused_in_window: bool,
}

impl Default for Adaptive {
    /// Nothing is known of the platform.
    fn default() -> Self {
        Self::from_capabilities(&Capabilities::default())
    }
}

impl Adaptive {
    /// Begins with what the platform reports.
    pub fn from_capabilities(capabilities: &Capabilities) -> Self {
        let quota = Quota::reported(capabilities);
        let window = quota.map_or(SECOND, |quota| quota.window.max(SECOND));
        let starts = quota.map(|quota| quota.per_second * window.as_secs_f64());
        let rate_ceiling = starts.map_or_else(Ceiling::unlimited, Ceiling::reported);
        Self {
            rate: if window > SECOND { rate_ceiling } else { rate_ceiling.paced() },
            concurrency: capabilities.concurrency.map_or_else(
                || Ceiling::searched_from(UNKNOWN_CONCURRENCY),
                |limit| Ceiling::reported(f64::from(limit)),
            ),
            window: Interval::new(window),
            second: Interval::new(SECOND),
            starts: SlidingWindow::new(window),
            refusals: SlidingWindow::new(window),
            latency: Latency::default(),
            event: None,
            refused_in_a_row: 0,
            warned: None,
            pause_until: Duration::ZERO,
            rate_was_full: false,
            in_flight: 0,
            counts: Counts::default(),
        }
    }

    fn on_refusal(&mut self, now: Duration, signal: &Signal) {
        self.refusals.add(now);
        self.counts.refused = true;
        self.counts.refused_in_window = true;
        if self.is_paced() {
            let (refused, sent) = (self.refusals.count(now), self.starts.count(now));
            if (refused as f64) < TOLERATED * sent as f64 {
                return;
            }
        }
        if let Some(event) = &mut self.event
            && signal.sent_at <= event.at
        {
            event.refused += 1;
            if now <= event.settled_at {
                let event = *event;
                self.lower(now, event, Ceiling::refine);
            }
            return;
        }
        let before = self.event;
        let nothing_was_accepted = before.is_some_and(|event| event.refused >= event.sent_before);
        self.refused_in_a_row = if nothing_was_accepted { self.refused_in_a_row + 1 } else { 1 };
        let event = Event {
            at: now,
            settled_at: now + signal.latency.clamp(Duration::from_millis(5), SECOND / 5),
            blamed: self.blame(now, signal.in_flight),
            in_flight: signal.in_flight,
            refused: 1,
            sent_before: before.map_or(u32::MAX, |event| event.sent_since),
            sent_since: 0,
        };
        if self.refused_in_a_row > 1
            && !event.blamed.concurrency
            && before.is_some_and(|event| event.blamed.concurrency)
        {
            // It was lowered, and nothing got better.
            self.concurrency.restore();
        }
        self.event = Some(event);
        self.pause_until = event.settled_at.max(self.pause_end(now, event.blamed));
        self.lower(now, event, Ceiling::cut);
        if event.blamed.rate {
            self.window.restart(now);
        }
        self.second.restart(now);
    }

    /// Short windows are filled evenly, long ones may be spent in bursts.
    fn is_paced(&self) -> bool {
        self.window.length() <= SECOND
    }

    /// The ceiling that was hit.
    fn blame(&mut self, now: Duration, in_flight: u32) -> Blamed {
        let starts = self.starts.count(now) as f64;
        let in_flight = f64::from(in_flight);
        // A ceiling that was just probed beyond what was ever accepted is the first suspect.
        match (self.rate.is_probed_by(starts), self.concurrency.is_probed_by(in_flight)) {
            (true, false) => return Blamed { rate: true, concurrency: false },
            (false, true) => return Blamed { rate: false, concurrency: true },
            _ => {}
        }
        // Otherwise one of them has become lower, and only the next refusals show which: lower what was in use.
        let rate_is_limited = self.rate.limit().is_some();
        let concurrency_is_full = self.concurrency.is_full(in_flight, SUSPICIOUS)
            && (self.concurrency.is_known() || !rate_is_limited);
        Blamed {
            rate: rate_is_limited || !concurrency_is_full,
            concurrency: concurrency_is_full || !rate_is_limited,
        }
    }

    fn lower(&mut self, now: Duration, event: Event, to: fn(&mut Ceiling, f64)) {
        if event.blamed.concurrency {
            let accepted = event.in_flight.saturating_sub(event.refused);
            to(&mut self.concurrency, f64::from(accepted));
        }
        if event.blamed.rate {
            let starts = self.starts.count(now) as f64;
            let mut accepted = starts - self.refusals.count(now) as f64;
            if self.is_paced() {
                // The window may have begun with nothing: what counts is the pace.
                let span = now.saturating_sub(self.starts.oldest().unwrap_or(now));
                let width = self.window.length();
                accepted *= width.as_secs_f64() / span.clamp(width / 50, width).as_secs_f64();
            }
            let is_early = !self.is_paced()
                && !self.rate.is_probing()
                && !self.rate.is_full(starts, SUSPICIOUS);
            let is_second = self.warned.is_some_and(|at| event.at >= at + self.window.length());
            if !is_early || is_second {
                to(&mut self.rate, accepted);
            } else if self.warned.is_none() {
                self.warned = Some(event.at);
            }
        }
    }

    /// Without an accepted call between, each refusal doubles the pause: a window that is spent stays spent.
    fn pause_end(&self, now: Duration, blamed: Blamed) -> Duration {
        let doublings = self.refused_in_a_row.saturating_sub(u32::from(!blamed.rate)).min(20);
        if doublings == 0 {
            return now;
        }
        let first = self.window.length() / 64;
        let longest = (self.window.length() / 2).max(LONGEST_PAUSE);
        now + (first * 2_u32.pow(doublings - 1)).min(longest)
    }

    fn review(&mut self, now: Duration) {
        if self.second.has_ended(now) {
            self.review_concurrency();
        }
        if self.window.has_ended(now) {
            self.review_rate(now);
        }
    }

    fn review_concurrency(&mut self) {
        let counts = self.counts;
        let queues = self.latency.is_inflated();
        if counts.failures > counts.answers && counts.failures >= 5 {
            self.concurrency.halve(f64::from(counts.peak_in_flight));
        } else if !counts.refused {
            let round_trip = self.latency.typical().max(SECOND).as_secs_f64();
            self.concurrency.rest(counts.answers, 1.0 / round_trip);
            let is_full = self.concurrency.is_full(f64::from(counts.peak_in_flight), FULL);
            // Where the rate is what limits, more at once is not needed.
            if queues {
                self.concurrency.retreat();
            } else if is_full && !self.rate_was_full {
                self.concurrency.grow();
            }
        }
        self.counts = Counts {
            peak_in_flight: self.in_flight,
            peak_starts: counts.peak_starts,
            answers_in_window: counts.answers_in_window,
            refused_in_window: counts.refused_in_window,
            ..Counts::default()
        };
    }

    fn review_rate(&mut self, now: Duration) {
        self.rate_was_full = self.rate.is_full(self.counts.peak_starts as f64, FULL);
        if !self.counts.refused_in_window {
            self.rate.rest(self.counts.answers_in_window, 1.0);
            if self.rate_was_full {
                self.rate.grow();
                self.warned = None;
            }
        }
        self.counts.peak_starts = self.starts.count(now);
        self.counts.answers_in_window = 0;
        self.counts.refused_in_window = false;
    }
}

impl CongestionController for Adaptive {
    fn on_sent(&mut self, now: Duration, in_flight: u32) {
        self.review(now);
        self.starts.add(now);
        self.in_flight = in_flight;
        self.counts.peak_in_flight = self.counts.peak_in_flight.max(in_flight);
        self.counts.peak_starts = self.counts.peak_starts.max(self.starts.count(now));
        self.rate_was_full |= self.rate.is_full(self.counts.peak_starts as f64, FULL);
        if let Some(event) = &mut self.event {
            event.sent_since = event.sent_since.saturating_add(1);
        }
    }

    fn on_signal(&mut self, now: Duration, signal: &Signal) {
        self.review(now);
        self.in_flight = self.in_flight.min(signal.in_flight.saturating_sub(1));
        match signal.kind {
            SignalKind::Ok => {
                self.latency.add(signal.latency);
                self.counts.answers += 1;
                self.counts.answers_in_window += 1;
                if self.event.is_none_or(|event| signal.sent_at > event.at) {
                    self.refused_in_a_row = 0;
                }
            }
            SignalKind::Throttled => self.on_refusal(now, signal),
            SignalKind::Failed => self.counts.failures += 1,
            _ => {}
        }
    }

    fn allowance(&mut self, now: Duration) -> Allowance {
        self.review(now);
        let mut allowance = Allowance::UNLIMITED.with_not_before(self.pause_until);
        if let Some(limit) = self.concurrency.limit() {
            allowance = allowance.with_concurrency(limit.min(f64::from(u32::MAX)) as u32);
        }
        let Some(limit) = self.rate.limit() else { return allowance };
        if self.is_paced() {
            // Providers count short windows by token buckets of unknown depth, so no bursts here.
            let burst = (limit / 20.0).clamp(1.0, f64::from(u32::MAX)) as u32;
            return allowance.with_rate(limit / SECOND.as_secs_f64(), burst);
        }
        let room_at = self.starts.room_at(now, limit as u64);
        allowance.with_not_before(self.pause_until.max(room_at))
    }
}
