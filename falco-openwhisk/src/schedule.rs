//! When the server is asked, and how. It does no I/O and reads no clock.
//!
//! Many activations are found with few requests in the list; but an index behind the list lags, and with a small window
//! nothing is submitted until something was found. So a few activations are asked for by their ids, each when it is likely
//! to have ended, and then the more seldom the older it is.

use std::time::Duration;

use tokio::time::Instant;

use crate::walk::PAGE;

/// No page of the list is asked for again sooner.
pub(crate) const LIST_INTERVAL: Duration = Duration::from_millis(100);

/// No activation is asked for by its id sooner than this after it was submitted or asked for.
pub(crate) const MIN_ASK: Duration = Duration::from_millis(1);

/// No activation is asked for by its id for the first time later than at this age: a short one among long ones must not
/// hold a small window for as long as those.
const LATEST_FIRST_ASK: Duration = Duration::from_millis(250);

/// No activation is asked for by its id later than this after it was asked for.
const MAX_ASK: Duration = Duration::from_secs(15);

/// So many that are waited for are few: each is asked for by its id.
const FEW: usize = 128;

/// Few that grow in number may become many: this long after the number has grown they are few.
const SETTLED_AFTER: Duration = Duration::from_millis(20);

/// How long many that were waited for are remembered: the last ones of many are in the list soon.
const MANY_LAST: Duration = Duration::from_secs(2);

/// No count of the list is asked for again sooner.
const COUNT_INTERVAL: Duration = Duration::from_millis(500);

/// The list is read in full at most so often, where it is short.
const FULL_READING_INTERVAL: Duration = Duration::from_secs(5);

/// How the server is asked in one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Each activation by its id, for the first time at this age.
    ById { first: Duration },
    /// By the list; not from its top where that was read a moment ago.
    List { from_top: bool },
}

/// The schedule of one deployment's looks.
#[derive(Debug)]
pub(crate) struct Schedule {
    most: usize,
    most_at: Option<Instant>,
    grew_at: Option<Instant>,
    /// The age at which short activations are found, by and by.
    expected: Option<Duration>,
    last_list: Option<Instant>,
    next_count: Option<Instant>,
    next_full_reading: Option<Instant>,
    interval: Duration,
}

impl Schedule {
    pub(crate) fn new() -> Self {
        Self {
            most: 0,
            most_at: None,
            grew_at: None,
            expected: None,
            last_list: None,
            next_count: None,
            next_full_reading: None,
            interval: LIST_INTERVAL,
        }
    }

    /// Begins a look for `waiting` activations; `None` when it is too soon for one. `unfinished` says whether the list
    /// was not read to its end.
    pub(crate) fn begin(&mut self, now: Instant, waiting: usize, unfinished: bool) -> Option<How> {
        if waiting == 0 {
            return None;
        }
        self.see_number(now, waiting);
        if self.are_few(now) {
            return Some(How::ById { first: self.first_ask() });
        }
        let from_top = self.last_list.is_none_or(|last| now >= last + LIST_INTERVAL);
        if from_top {
            self.last_list = Some(now);
        }
        (from_top || unfinished).then_some(How::List { from_top })
    }

    fn see_number(&mut self, now: Instant, waiting: usize) {
        let is_remembered = self.most_at.is_some_and(|at| now < at + MANY_LAST);
        if waiting > self.most {
            self.grew_at = Some(now);
        }
        if waiting >= self.most || !is_remembered {
            (self.most, self.most_at) = (waiting, Some(now));
        }
    }

    fn are_few(&self, now: Instant) -> bool {
        self.most <= FEW && self.grew_at.is_none_or(|at| now >= at + SETTLED_AFTER)
    }

    /// The age at which an activation is asked for first: a little before it is likely to be found.
    pub(crate) fn first_ask(&self) -> Duration {
        (self.expected.unwrap_or_default() * 3 / 4).clamp(MIN_ASK, LATEST_FIRST_ASK)
    }

    /// The pause before an activation is asked for again at this age.
    pub(crate) fn ask_again(age: Duration) -> Duration {
        (age / 4).clamp(MIN_ASK, MAX_ASK)
    }

    /// Learns the age at which an activation was found by its id.
    pub(crate) fn learn(&mut self, age: Duration) {
        self.expected = Some(match self.expected {
            None => age,
            // It falls fast and rises slowly: asking early costs a request, and asking late costs time.
            Some(expected) if age < expected => (expected + age) / 2,
            Some(expected) => (expected * 15 + age) / 16,
        });
    }

    /// Whether the list's records should be counted now, to learn of those that appeared behind what was read.
    pub(crate) fn counts(&mut self, now: Instant) -> bool {
        if self.next_count.is_some_and(|at| now < at) {
            return false;
        }
        self.next_count = Some(now + COUNT_INTERVAL);
        self.next_full_reading.get_or_insert(now + FULL_READING_INTERVAL);
        true
    }

    /// Whether to read all of the list, of which `seen` records were seen and `count` are there.
    ///
    /// Few are not worth many pages at once; but none waits for ever.
    pub(crate) fn reads_in_full(&mut self, now: Instant, seen: u64, count: Option<u64>) -> bool {
        let pages = seen / PAGE as u64;
        let hidden = count.map_or(0, |count| count.saturating_sub(seen));
        let reads = hidden > pages / 4 || self.next_full_reading.is_some_and(|at| at <= now);
        if reads {
            let rest = FULL_READING_INTERVAL.max(Duration::from_millis(250 * pages));
            self.next_full_reading = Some(now + rest);
        }
        reads
    }

    /// The pause after a look. `news` says whether it found a record that was waited for or something was submitted
    /// since the last one, `next_due` when the first of few is asked for, `max` is the longest pause.
    pub(crate) fn pause(
        &mut self,
        now: Instant,
        news: bool,
        next_due: Option<Instant>,
        max: Duration,
    ) -> Duration {
        if self.most <= FEW {
            let due = next_due.map_or(max, |due| due.saturating_duration_since(now));
            // One that is submitted meanwhile is due as soon as it has the age for it.
            let newcomers = self.first_ask();
            let settled = self.grew_at.map(|at| at + SETTLED_AFTER).filter(|at| now < *at);
            let unsettled = settled.map_or(Duration::ZERO, |at| at - now);
            return due.min(newcomers).max(unsettled).clamp(MIN_ASK, max.max(MIN_ASK));
        }
        self.interval = match news {
            true => LIST_INTERVAL,
            false => (self.interval * 3 / 2).min(max).max(LIST_INTERVAL),
        };
        self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(2);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn few_are_asked_for_by_id_once_their_number_has_settled() {
        let (mut schedule, begin) = (Schedule::new(), Instant::now());
        assert_eq!(schedule.begin(begin, 0, false), None);
        assert_eq!(schedule.begin(begin, 8, false), Some(How::List { from_top: true }));
        assert_eq!(schedule.begin(begin + ms(1), 8, false), None);
        assert_eq!(schedule.pause(begin + ms(1), true, Some(begin), MAX), ms(19));
        let by_id = Some(How::ById { first: MIN_ASK });
        assert_eq!(schedule.begin(begin + ms(20), 8, false), by_id);
        assert_eq!(schedule.begin(begin + ms(21), 5, false), by_id);
    }

    #[test]
    fn many_and_the_last_ones_of_many_are_looked_for_in_the_list() {
        let (mut schedule, begin) = (Schedule::new(), Instant::now());
        let list = Some(How::List { from_top: true });
        for (n, waiting) in [40, 90, 1000, 700, 90, 3].into_iter().enumerate() {
            assert_eq!(schedule.begin(begin + ms(100) * n as u32, waiting, false), list);
        }
        // Those that are still not there are asked for.
        let later = schedule.begin(begin + ms(200) + MANY_LAST, 3, false);
        assert!(matches!(later, Some(How::ById { .. })), "{later:?}");
    }

    #[test]
    fn no_page_is_asked_for_again_at_once_but_reading_goes_on() {
        let (mut schedule, begin) = (Schedule::new(), Instant::now());
        assert_eq!(schedule.begin(begin, 1000, false), Some(How::List { from_top: true }));
        assert_eq!(schedule.begin(begin + ms(1), 1000, true), Some(How::List { from_top: false }));
        assert_eq!(schedule.begin(begin + ms(99), 1000, false), None);
    }

    #[test]
    fn the_first_question_follows_how_long_activations_take() {
        let mut schedule = Schedule::new();
        for _ in 0..30 {
            schedule.learn(ms(200));
        }
        let first = schedule.first_ask();
        assert!(ms(140) < first && first <= ms(150), "{first:?}");
        // Asked for at ever greater ages, a long one costs few questions.
        let (mut age, mut questions) = (MIN_ASK, 0);
        while age < Duration::from_secs(60) {
            age += Schedule::ask_again(age);
            questions += 1;
        }
        assert!(questions < 50, "{questions}");
    }

    #[test]
    fn short_activations_among_long_ones_are_asked_for_soon() {
        let mut schedule = Schedule::new();
        for _ in 0..30 {
            schedule.learn(Duration::from_secs(60));
        }
        assert_eq!(schedule.first_ask(), LATEST_FIRST_ASK);
        for _ in 0..30 {
            schedule.learn(ms(8));
        }
        assert!(schedule.first_ask() < ms(7), "{:?}", schedule.first_ask());
    }

    #[test]
    fn without_news_the_pauses_grow_and_news_makes_them_short() {
        let (mut schedule, now) = (Schedule::new(), Instant::now());
        schedule.begin(now, 1000, false);
        let pauses: Vec<_> = (0..12).map(|_| schedule.pause(now, false, None, MAX)).collect();
        assert!(pauses.is_sorted() && pauses[0] == ms(150) && pauses[11] == MAX, "{pauses:?}");
        assert_eq!(schedule.pause(now, true, None, MAX), LIST_INTERVAL);
    }

    #[test]
    fn the_list_is_read_in_full_for_what_hides_and_now_and_then() {
        let (mut schedule, now) = (Schedule::new(), Instant::now());
        assert!(schedule.counts(now) && !schedule.counts(now + ms(499)));
        assert!(!schedule.reads_in_full(now, 100, Some(100)), "nothing hides, and none has waited");
        assert!(schedule.reads_in_full(now, 100, Some(101)));
        assert!(!schedule.reads_in_full(now, 100, Some(100)));
        // Of 4,000 seen, one that hides is not worth 20 pages, six are.
        assert!(!schedule.reads_in_full(now, 4000, Some(4001)));
        assert!(schedule.reads_in_full(now, 4000, Some(4006)));
        assert!(schedule.counts(now + ms(500)));
        assert!(schedule.reads_in_full(now + FULL_READING_INTERVAL, 4000, None));
    }
}
