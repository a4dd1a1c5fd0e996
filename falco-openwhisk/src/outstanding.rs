//! The activations of one deployment: those that are waited for, and the records that were seen. It does no I/O.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use falco_core::{Activation, ActivationId, Error, Pending, Result};
use falco_http::{Delivery, Inbox};
use tokio::time::Instant;

use crate::schedule::{How, Schedule};
use crate::walk::PAGE;
use crate::wire::is_activation_id;

/// The most activations that are asked for by their ids in one look, where there are few.
const ASKED_AT_ONCE: usize = 64;

/// The most activations that are asked for by their ids in one look because they are behind the others, where there are
/// many; and as many because they are old.
const MAX_STRAGGLERS: usize = 8;

/// The age from which an activation is behind the others; a younger one is on its way.
const STRAGGLES_AFTER: Duration = Duration::from_secs(1);

/// The shortest pause before a straggler is asked for again.
const STRAGGLER_PAUSE: Duration = Duration::from_millis(250);

/// Records that are not waited for are kept, for their submission may still be on its way; large ones are not.
const KEPT_UNCLAIMED: usize = 1000;
const MAX_UNCLAIMED_BYTES: usize = 64 << 10;

/// The activations of one deployment.
#[derive(Debug)]
pub(crate) struct Outstanding {
    waiting: HashMap<ActivationId, Waiting>,
    /// The answers that were found. An error is a failure of the platform.
    inbox: Inbox<Result<Activation>>,
    /// The records that were seen, by start and id: all that the list had from `covered_since` on.
    seen: BTreeSet<(u64, u128)>,
    covered_since: u64,
    /// The seen ones that were not kept: one that is waited for after all is asked for by its id.
    not_kept: HashSet<u128>,
    /// Whether something was submitted since the last look.
    has_new: bool,
}

/// An activation that is waited for and was not found yet.
#[derive(Debug)]
struct Waiting {
    /// No record begins before, tolerance apart; by the driver's clock.
    since: SystemTime,
    registered: Instant,
    next_ask: Option<Instant>,
}

/// A row of the list, as far as it is needed to find one's way.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: u128,
    pub(crate) start: u64,
}

/// How far records may be from where they are looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowances {
    /// How far clocks may differ.
    pub(crate) tolerance: Duration,
    /// How far the server's clock is known to be behind the driver's.
    pub(crate) behind: Duration,
    /// The age at which an activation is asked for by its id, whatever the list says.
    pub(crate) patience: Duration,
}

/// The activations to ask for in one look.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The earliest start of those that the list is read for, in milliseconds; `None` when there are none.
    pub(crate) since: Option<u64>,
    /// Those that are asked for by their ids.
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
        }
    }

    /// Begins to wait for an activation. Ids that the server never gave out are not waited for.
    pub(crate) fn expect(&mut self, pending: &Pending, now: Instant) {
        if number(&pending.id).is_none()
            || self.waiting.contains_key(&pending.id)
            || !self.inbox.read([&pending.id]).is_empty()
        {
            return;
        }
        self.has_new = true;
        let waiting = Waiting { since: pending.submitted_at, registered: now, next_ask: None };
        self.waiting.insert(pending.id.clone(), waiting);
    }

    /// Whether something was submitted since this was asked.
    pub(crate) fn take_new(&mut self) -> bool {
        std::mem::take(&mut self.has_new)
    }

    /// The answers to these that were found.
    pub(crate) fn found(
        &self,
        pending: &[Pending],
    ) -> (Vec<Activation>, Vec<(ActivationId, Error)>) {
        let (mut finished, mut gone) = (Vec::new(), Vec::new());
        for (id, answer) in self.inbox.read(pending.iter().map(|pending| &pending.id)) {
            match answer {
                Ok(activation) => finished.push(activation),
                Err(error) => gone.push((id, error)),
            }
        }
        (finished, gone)
    }

    /// Lets go of activations.
    pub(crate) fn release(&mut self, ids: &[ActivationId]) {
        for id in ids {
            self.waiting.remove(id);
        }
        self.inbox.release(ids);
    }

    /// How many activations are waited for.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// When the first activation is to be asked for by its id, if that is first done at the age `first`.
    pub(crate) fn next_due(&self, first: Duration) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.due(first)).min()
    }

    /// Chooses what one look asks for.
    pub(crate) fn plan(&mut self, now: Instant, how: How, allowances: &Allowances) -> Plan {
        match how {
            How::ById { first } => self.plan_by_id(now, first),
            How::List { .. } => self.plan_list(now, allowances),
        }
    }

    fn plan_by_id(&mut self, now: Instant, first: Duration) -> Plan {
        let due = self.waiting.iter_mut().filter(|(_, waiting)| waiting.due(first) <= now);
        let asked = due.take(ASKED_AT_ONCE).map(|(id, waiting)| {
            waiting.next_ask = Some(now + Schedule::ask_again(waiting.age(now)));
            id.clone()
        });
        Plan { since: None, by_id: asked.collect() }
    }

    fn plan_list(&mut self, now: Instant, allowances: &Allowances) -> Plan {
        // Below this, records are no longer on the first page.
        let first_page = self.seen.iter().rev().nth(PAGE - 1).map_or(0, |(start, _)| *start);
        let Allowances { tolerance, behind, patience } = *allowances;
        let lower_bound =
            |waiting: &Waiting| millis(waiting.since).saturating_sub(as_millis(tolerance + behind));
        let overtaken = |waiting: &Waiting| millis(waiting.since) < first_page;
        let is_due = |waiting: &Waiting| waiting.next_ask.is_none_or(|at| at <= now);
        let earlier =
            |since: Option<u64>, bound| Some(since.map_or(bound, |since| since.min(bound)));
        let (mut by_id, mut behind_others) = (Vec::new(), Vec::new());
        let mut stragglers = 0;
        let (mut since, mut since_of_stragglers) = (None, None);
        for (id, waiting) in &self.waiting {
            let age = waiting.age(now);
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
                let pause = Schedule::ask_again(waiting.age(now)).max(STRAGGLER_PAUSE);
                waiting.next_ask = Some(now + pause);
            }
        }
        Plan { since, by_id }
    }

    /// Prepares a look at the list from `since` on; whether all of it has to be read, since it was never read so far.
    pub(crate) fn cover(&mut self, since: u64) -> bool {
        let is_new = since < self.covered_since;
        self.covered_since = self.covered_since.min(since);
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
        is_new
    }

    /// How many records were seen that began at `since` or later.
    pub(crate) fn seen_since(&self, since: u64) -> u64 {
        self.seen.range((since, 0)..).count() as u64
    }

    /// Takes note that a record was seen; whether it was before.
    pub(crate) fn see(&mut self, row: &Row) -> bool {
        !self.seen.insert((row.start, row.id))
    }

    /// Whether a record is worth keeping: its activation is waited for, or may be soon.
    pub(crate) fn wants(&self, id: &ActivationId, bytes: usize) -> bool {
        self.waiting.contains_key(id) || bytes <= MAX_UNCLAIMED_BYTES
    }

    /// Takes in an answer; the age of its activation, if that was waited for.
    pub(crate) fn deliver(
        &mut self,
        id: &ActivationId,
        answer: Result<Activation>,
        now: Instant,
    ) -> Option<Duration> {
        // Whatever else is handed back was read from a list, which keeps it: there is nothing to give back.
        if let Delivery::Evicted(id, _) = self.inbox.deliver(id.clone(), answer)
            && let Some(id) = number(&id)
        {
            self.not_kept.insert(id);
        }
        self.waiting.remove(id).map(|waiting| waiting.age(now))
    }

    /// Takes note that a record which was seen is not kept.
    pub(crate) fn pass_over(&mut self, row: &Row) {
        self.not_kept.insert(row.id);
    }
}

impl Waiting {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.registered)
    }

    fn due(&self, first: Duration) -> Instant {
        self.next_ask.unwrap_or(self.registered + first)
    }
}

/// An activation's id as a number; `None` for one that the server never gave out.
pub(crate) fn number(id: &ActivationId) -> Option<u128> {
    let id = id.as_str();
    is_activation_id(id).then(|| u128::from_str_radix(id, 16).ok())?
}

fn millis(time: SystemTime) -> u64 {
    as_millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn as_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
