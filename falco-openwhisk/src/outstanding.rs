//! What is known of a deployment's activations: those that are waited for, and the records that were seen.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use falco_core::{Activation, ActivationId, Pending};
use falco_http::{Delivery, Inbox};
use tokio::time::Instant;

use crate::wire::is_activation_id;

/// Records of the list's first page; whatever began before them is not seen by looking at the newest.
pub(crate) const PAGE: usize = 200;

/// So many activations are asked for one by one at most, of each sort, each time that is looked.
const MAX_STRAGGLERS: usize = 8;

/// One that is younger is not behind the others, but on its way.
const STRAGGLES_AFTER: Duration = Duration::from_secs(1);

/// Records that nobody waits for yet are kept, for their submission may still be on its way; large ones are not.
const KEPT_UNCLAIMED: usize = 1000;
const MAX_UNCLAIMED_BYTES: usize = 64 << 10;

/// No request is repeated sooner.
pub(crate) const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// The activations of one deployment.
#[derive(Debug)]
pub(crate) struct Outstanding {
    waiting: HashMap<ActivationId, Waiting>,
    inbox: Inbox<Activation>,
    /// The records that were seen, by start and id: from `covered_since` on, all of which somebody had looked.
    seen: BTreeSet<(u64, u128)>,
    covered_since: u64,
    /// Those of them that were not kept: whoever waits for one has to ask for it by its id.
    not_kept: HashSet<u128>,
    /// Whether something was submitted since the last look.
    pub(crate) has_new: bool,
    /// Where a walk through the list was left.
    pub(crate) resume: Option<Cursor>,
    pub(crate) last_look: Option<Instant>,
    pub(crate) next_count: Option<Instant>,
    pub(crate) next_full_walk: Option<Instant>,
    pub(crate) page_size: usize,
    pub(crate) interval: Duration,
}

/// Where in the list to read on: at records that began at `upto` or before, without the first `skip` of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) upto: Option<u64>,
    pub(crate) skip: usize,
    /// Whether the walk ends where it meets what was seen before.
    pub(crate) until_seen: bool,
}

/// An activation that is waited for and was not found yet.
#[derive(Debug)]
struct Waiting {
    /// No record begins before, tolerance apart; by our clock.
    since: SystemTime,
    registered: Instant,
    next_get: Option<Instant>,
}

/// A row of the list, as far as it is needed to find one's way.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: u128,
    pub(crate) start: u64,
}

/// What to look for.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The earliest start of whatever the list is read for, in milliseconds; `None` when there is nothing.
    pub(crate) since: Option<u64>,
    /// What is asked for one by one.
    pub(crate) by_id: Vec<ActivationId>,
}

impl Outstanding {
    pub(crate) fn new() -> Self {
        Self {
            waiting: HashMap::new(),
            inbox: Inbox::new(KEPT_UNCLAIMED),
            seen: BTreeSet::new(),
            covered_since: u64::MAX,
            not_kept: HashSet::new(),
            has_new: false,
            resume: None,
            last_look: None,
            next_count: None,
            next_full_walk: None,
            page_size: PAGE,
            interval: MIN_INTERVAL,
        }
    }

    /// Takes note that an activation is waited for.
    pub(crate) fn expect(&mut self, pending: &Pending) {
        if self.waiting.contains_key(&pending.id) || !self.inbox.read([&pending.id]).is_empty() {
            return;
        }
        self.has_new = true;
        let waiting =
            Waiting { since: pending.submitted_at, registered: Instant::now(), next_get: None };
        self.waiting.insert(pending.id.clone(), waiting);
    }

    /// The records of these that were found.
    pub(crate) fn found(&self, pending: &[Pending]) -> Vec<Activation> {
        let records = self.inbox.read(pending.iter().map(|pending| &pending.id));
        records.into_iter().map(|(_, activation)| activation).collect()
    }

    /// Lets go of activations.
    pub(crate) fn release(&mut self, ids: &[ActivationId]) {
        for id in ids {
            self.waiting.remove(id);
        }
        self.inbox.release(ids);
    }

    /// Whether anything is waited for.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What the next look is for. `tolerance` is how far clocks may differ, `behind` how far the server's is known to
    /// be behind ours; `patience` is the age at which an activation is asked for by its id whatever the list says.
    pub(crate) fn plan(
        &mut self,
        now: Instant,
        tolerance: Duration,
        behind: Duration,
        patience: Duration,
    ) -> Plan {
        // Below this, records are no longer on the first page.
        let first_page = self.seen.iter().rev().nth(PAGE - 1).map_or(0, |(start, _)| *start);
        let lower_bound =
            |waiting: &Waiting| millis(waiting.since).saturating_sub(as_millis(tolerance + behind));
        let overtaken = |waiting: &Waiting| millis(waiting.since) < first_page;
        let is_due = |waiting: &Waiting| waiting.next_get.is_none_or(|at| at <= now);
        let earlier =
            |since: Option<u64>, bound| Some(since.map_or(bound, |since| since.min(bound)));
        let (mut by_id, mut behind_others) = (Vec::new(), Vec::new());
        let mut stragglers = 0;
        let (mut since, mut since_of_stragglers) = (None, None);
        for (id, waiting) in &self.waiting {
            let age = now.saturating_duration_since(waiting.registered);
            let was_not_kept = number(id).is_some_and(|id| self.not_kept.contains(&id));
            let bound = lower_bound(waiting);
            if was_not_kept || age >= patience {
                if is_due(waiting) && by_id.len() < MAX_STRAGGLERS {
                    by_id.push(id.clone());
                }
            } else if age >= STRAGGLES_AFTER && overtaken(waiting) {
                stragglers += 1;
                since_of_stragglers = earlier(since_of_stragglers, bound);
                if is_due(waiting) && behind_others.len() < MAX_STRAGGLERS {
                    behind_others.push(id.clone());
                }
            } else {
                since = earlier(since, bound);
            }
        }
        // Of few, each is asked for; for many it is cheaper to read the list again, once it has more of them.
        if stragglers > MAX_STRAGGLERS {
            since = since.into_iter().chain(since_of_stragglers).min();
        } else {
            by_id.extend(behind_others);
        }
        for id in &by_id {
            if let Some(waiting) = self.waiting.get_mut(id) {
                let age = now.saturating_duration_since(waiting.registered);
                let pause = (age / 4).clamp(Duration::from_millis(250), Duration::from_secs(15));
                waiting.next_get = Some(now + pause);
            }
        }
        Plan { since, by_id }
    }

    /// Prepares a look at the list from `since` on. Where nobody has looked so far back, all of it is read.
    pub(crate) fn look_since(&mut self, since: u64) {
        if since < self.covered_since {
            self.covered_since = since;
            self.resume = Some(Cursor::default());
        }
        // Not each time: `since` may go back a little, and then what was seen should still be known.
        let forgotten = self.seen.range(..(since, 0)).count();
        if forgotten > self.seen.len() / 2 && forgotten > 10_000 {
            let kept = self.seen.split_off(&(since, 0));
            let forgotten = std::mem::replace(&mut self.seen, kept);
            for (_, id) in forgotten {
                self.not_kept.remove(&id);
            }
            self.covered_since = since;
        }
    }

    /// How many records were seen that began at `since` or later.
    pub(crate) fn seen_since(&self, since: u64) -> u64 {
        self.seen.range((since, 0)..).count() as u64
    }

    pub(crate) fn has_seen(&self, row: &Row) -> bool {
        self.seen.contains(&(row.start, row.id))
    }

    /// Takes note that a record was seen.
    pub(crate) fn see(&mut self, row: &Row) {
        self.seen.insert((row.start, row.id));
    }

    /// Whether a record is worth keeping: somebody waits for it, or may soon.
    pub(crate) fn wants(&self, id: &ActivationId, bytes: usize) -> bool {
        self.waiting.contains_key(id) || bytes <= MAX_UNCLAIMED_BYTES
    }

    /// Takes in a record.
    pub(crate) fn deliver(&mut self, activation: Activation) {
        let id = activation.id.clone();
        self.waiting.remove(&id);
        // Whatever else is handed back was read from a list, which keeps it: there is nothing to give back.
        if let Delivery::Evicted(id, _) = self.inbox.deliver(id, activation)
            && let Some(id) = number(&id)
        {
            self.not_kept.insert(id);
        }
    }

    /// Takes note that a record which was seen is not kept.
    pub(crate) fn pass_over(&mut self, row: &Row) {
        self.not_kept.insert(row.id);
    }

    /// The pause after a look that brought `news` records.
    pub(crate) fn pause(&mut self, news: usize, max: Duration) -> Duration {
        let fresh = std::mem::take(&mut self.has_new);
        self.interval = if news > 0 || fresh {
            MIN_INTERVAL
        } else {
            (self.interval * 3 / 2).min(max).max(MIN_INTERVAL)
        };
        if self.resume.is_some() && news > 0 { Duration::ZERO } else { self.interval }
    }
}

/// An activation's id as a number; `None` for what the server never gave out.
pub(crate) fn number(id: &ActivationId) -> Option<u128> {
    let id = id.as_str();
    is_activation_id(id).then(|| u128::from_str_radix(id, 16).ok())?
}

pub(crate) fn millis(time: SystemTime) -> u64 {
    as_millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

pub(crate) fn as_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use falco_core::Payload;

    const BEGIN: u64 = 1_700_000_000_000;
    const TOLERANCE: Duration = Duration::from_millis(10);
    const PATIENCE: Duration = Duration::from_secs(70);

    fn id(n: u64) -> ActivationId {
        format!("{n:032x}").into()
    }

    fn at(offset: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(BEGIN + offset)
    }

    /// Waits for these, submitted a millisecond apart; a full page of others began a second later.
    fn overtaken(count: u64) -> Outstanding {
        let mut outstanding = Outstanding::new();
        for n in 0..count {
            outstanding.expect(&Pending::new(id(n), at(n)));
        }
        for n in 0..PAGE as u64 {
            outstanding.see(&Row { id: 1_000_000 + u128::from(n), start: BEGIN + 1000 + n });
        }
        outstanding
    }

    fn plan(outstanding: &mut Outstanding, after: Duration) -> Plan {
        outstanding.plan(Instant::now() + after, TOLERANCE, Duration::ZERO, PATIENCE)
    }

    #[test]
    fn the_list_is_read_from_the_earliest_start_that_is_possible() {
        let mut outstanding = Outstanding::new();
        for n in [7, 3, 5] {
            outstanding.expect(&Pending::new(id(n), at(n)));
        }
        let behind = Duration::from_secs(1);
        let plan = outstanding.plan(Instant::now(), TOLERANCE, behind, PATIENCE);
        assert_eq!(plan.since, Some(BEGIN + 3 - 10 - 1000));
        assert!(plan.by_id.is_empty());
    }

    #[test]
    fn few_that_are_behind_are_asked_for_by_id_and_more_and_more_seldom() {
        let mut outstanding = overtaken(3);
        let plan_at = |outstanding: &mut Outstanding, seconds| {
            let plan = plan(outstanding, Duration::from_secs(seconds));
            assert_eq!(plan.since, None);
            plan.by_id.len()
        };
        let asked: Vec<_> = (2..60).map(|second| plan_at(&mut outstanding, second)).collect();
        assert_eq!(asked[0], 3);
        assert!(asked.iter().all(|count| [0, 3].contains(count)), "{asked:?}");
        assert!(asked.iter().sum::<usize>() < 3 * 20, "{asked:?}");
    }

    #[test]
    fn of_many_that_are_behind_the_list_is_read() {
        let mut outstanding = overtaken(50);
        let plan = plan(&mut outstanding, Duration::from_secs(2));
        assert_eq!((plan.since, plan.by_id.len()), (Some(BEGIN - 10), 0));
    }

    #[test]
    fn whatever_is_too_old_is_asked_for_a_few_at_a_time() {
        let mut outstanding = overtaken(50);
        let plan = plan(&mut outstanding, PATIENCE);
        assert_eq!((plan.since, plan.by_id.len()), (None, MAX_STRAGGLERS));
    }

    #[test]
    fn a_record_that_was_seen_before_anybody_waited_is_found_or_asked_for() {
        let mut outstanding = Outstanding::new();
        let (kept, passed) = (Pending::new(id(1), at(0)), Pending::new(id(2), at(0)));
        for n in [1, 2] {
            outstanding.see(&Row { id: n, start: BEGIN });
        }
        assert!(!outstanding.wants(&passed.id, MAX_UNCLAIMED_BYTES + 1));
        outstanding.pass_over(&Row { id: 2, start: BEGIN });
        outstanding.deliver(Activation::succeeded(kept.id.clone(), Payload::empty()));
        outstanding.expect(&kept);
        outstanding.expect(&passed);
        assert_eq!(outstanding.found(&[kept]).len(), 1);
        assert_eq!(plan(&mut outstanding, Duration::ZERO).by_id, [passed.id]);
    }

    #[test]
    fn looking_further_back_than_anybody_has_reads_all_of_it() {
        let mut outstanding = Outstanding::new();
        outstanding.look_since(BEGIN);
        outstanding.resume = None;
        outstanding.look_since(BEGIN + 5);
        assert_eq!(outstanding.resume, None);
        outstanding.look_since(BEGIN - 5);
        assert_eq!(outstanding.resume, Some(Cursor::default()));
    }
}
