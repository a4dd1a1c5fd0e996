//! The inbox of queue-fed platforms.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use falco_core::ActivationId;
use tokio::sync::Notify;

/// Keeps the records of activations until they are asked for, on platforms whose results arrive in a queue that
/// many waiters share.
///
/// A reader of the queue cannot choose which record comes next. A record may come before the call that submitted
/// the activation has returned, more than once, for another stage, or for nobody. So:
///
/// - a record is kept until its activation is released, and may be read any number of times: a dropped `collect`
///   loses nothing;
/// - a record that nobody [expects](Self::expect) yet is kept as well; of those only the newest `capacity` are, since
///   they may belong to nobody;
/// - what comes for an activation that was released (the newest `capacity` of them are remembered) is handed back at
///   once.
///
/// `R` is the record, with whatever is needed to delete it at the provider.
///
/// # Examples
///
/// ```
/// use falco_http::{Delivery, Inbox};
///
/// let inbox = Inbox::new(1000);
/// // The record comes first, then the answer to the request that submitted its activation.
/// assert_eq!(inbox.deliver("a-1".into(), "result"), Delivery::Kept);
/// inbox.expect("a-1".into());
///
/// let found = inbox.read(["a-1", "a-2"].map(Into::into).iter());
/// assert_eq!(found, [("a-1".into(), "result")]);
///
/// // Released, its record is handed over for deletion, and so is a copy that comes later.
/// assert_eq!(inbox.release(&["a-1".into()]), ["result"]);
/// assert_eq!(inbox.deliver("a-1".into(), "copy"), Delivery::Released("copy"));
/// ```
#[derive(Debug)]
pub struct Inbox<R> {
    state: Mutex<State<R>>,
    arrival: Notify,
    capacity: usize,
}

#[derive(Debug)]
struct State<R> {
    slots: HashMap<ActivationId, Slot<R>>,
    /// The slots that nobody expects, by the order of arrival.
    unclaimed: BTreeMap<u64, ActivationId>,
    arrivals: u64,
    released: HashSet<ActivationId>,
    released_order: VecDeque<ActivationId>,
}

#[derive(Debug)]
struct Slot<R> {
    record: Option<R>,
    /// Its key in `unclaimed`.
    unclaimed: Option<u64>,
}

/// The result of delivering a record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a record that is handed back may have to be deleted at the provider"]
pub enum Delivery<R> {
    /// It is kept.
    Kept,
    /// It is kept, in place of an earlier copy: the newer one is the one that a queue lets be deleted.
    Replaced(R),
    /// It is kept, and the oldest one that nobody expects had to go.
    Evicted(ActivationId, R),
    /// Its activation was released: here it is back.
    Released(R),
}

impl<R> Inbox<R> {
    /// An empty inbox that keeps at most `capacity` records that nobody expects, and remembers as many released
    /// activations.
    pub fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State {
                slots: HashMap::new(),
                unclaimed: BTreeMap::new(),
                arrivals: 0,
                released: HashSet::new(),
                released_order: VecDeque::new(),
            }),
            arrival: Notify::new(),
            capacity: capacity.max(1),
        }
    }

    /// Says that an activation was submitted: from now on its record is kept until it is released.
    pub fn expect(&self, id: ActivationId) {
        self.lock().claim(&id);
    }

    /// Takes in a record, and wakes those who [wait](Self::arrived).
    pub fn deliver(&self, id: ActivationId, record: R) -> Delivery<R> {
        let delivery = self.lock().deliver(id, record, self.capacity);
        self.arrival.notify_waiters();
        delivery
    }

    /// The records that are there of the activations asked for. Asking is expecting.
    pub fn read<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a ActivationId>,
    ) -> Vec<(ActivationId, R)>
    where
        R: Clone,
    {
        let mut state = self.lock();
        let records = ids.into_iter().filter_map(|id| {
            let record = state.claim(id)?.record.clone()?;
            Some((id.clone(), record))
        });
        records.collect()
    }

    /// Claims the oldest record that nobody expects and that is wanted, and returns its activation: for one that was
    /// submitted without an answer to the request.
    pub fn claim_by(&self, mut is_wanted: impl FnMut(&R) -> bool) -> Option<ActivationId> {
        let mut state = self.lock();
        let found = state.unclaimed.values().find(|id| {
            let record = state.slots.get(*id).and_then(|slot| slot.record.as_ref());
            record.is_some_and(&mut is_wanted)
        });
        let id = found.cloned()?;
        state.claim(&id);
        Some(id)
    }

    /// Lets go of activations, and gives back the records that were kept of them.
    pub fn release(&self, ids: &[ActivationId]) -> Vec<R> {
        let mut state = self.lock();
        ids.iter().filter_map(|id| state.release(id, self.capacity)).collect()
    }

    /// Resolves when the record of one of the activations is there; at once, when one is there already.
    ///
    /// It is for those who wait while another reads the queue, and may be dropped at any time.
    pub async fn arrived(&self, ids: &[ActivationId]) {
        loop {
            // Registered before looking, so that no record slips in between.
            let mut next = std::pin::pin!(self.arrival.notified());
            next.as_mut().enable();
            if self.lock().has_any(ids) {
                return;
            }
            next.await;
        }
    }

    /// A poisoned lock means a panic in a caller's `Clone`; the state is consistent between any two statements.
    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> State<R> {
    /// The slot of an activation that somebody asks for; none once it is released.
    fn claim(&mut self, id: &ActivationId) -> Option<&mut Slot<R>> {
        if self.released.contains(id) {
            return None;
        }
        let slot = self.slots.entry(id.clone()).or_insert(Slot { record: None, unclaimed: None });
        if let Some(arrival) = slot.unclaimed.take() {
            self.unclaimed.remove(&arrival);
        }
        Some(slot)
    }

    fn deliver(&mut self, id: ActivationId, record: R, capacity: usize) -> Delivery<R> {
        if self.released.contains(&id) {
            return Delivery::Released(record);
        }
        if let Some(slot) = self.slots.get_mut(&id) {
            return slot.record.replace(record).map_or(Delivery::Kept, Delivery::Replaced);
        }
        self.arrivals += 1;
        self.unclaimed.insert(self.arrivals, id.clone());
        self.slots.insert(id, Slot { record: Some(record), unclaimed: Some(self.arrivals) });
        if self.unclaimed.len() <= capacity {
            return Delivery::Kept;
        }
        self.evict().map_or(Delivery::Kept, |(id, record)| Delivery::Evicted(id, record))
    }

    fn evict(&mut self) -> Option<(ActivationId, R)> {
        let (_, id) = self.unclaimed.pop_first()?;
        let record = self.slots.remove(&id)?.record?;
        Some((id, record))
    }

    fn release(&mut self, id: &ActivationId, capacity: usize) -> Option<R> {
        if self.released.insert(id.clone()) {
            self.released_order.push_back(id.clone());
        }
        if self.released_order.len() > capacity
            && let Some(oldest) = self.released_order.pop_front()
        {
            self.released.remove(&oldest);
        }
        let slot = self.slots.remove(id)?;
        if let Some(arrival) = slot.unclaimed {
            self.unclaimed.remove(&arrival);
        }
        slot.record
    }

    fn has_any(&self, ids: &[ActivationId]) -> bool {
        ids.iter().any(|id| self.slots.get(id).is_some_and(|slot| slot.record.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> ActivationId {
        format!("a-{n}").into()
    }

    fn ids(n: impl IntoIterator<Item = u32>) -> Vec<ActivationId> {
        n.into_iter().map(id).collect()
    }

    #[test]
    fn a_record_is_read_until_it_is_released() {
        let inbox = Inbox::new(10);
        inbox.expect(id(1));
        assert!(inbox.read(&ids([1])).is_empty());
        assert_eq!(inbox.deliver(id(1), 'x'), Delivery::Kept);
        for _ in 0..2 {
            assert_eq!(inbox.read(&ids([0, 1])), [(id(1), 'x')]);
        }
        assert_eq!(inbox.release(&ids([1])), ['x']);
        assert!(inbox.read(&ids([1])).is_empty());
        assert!(inbox.release(&ids([1])).is_empty());
    }

    #[test]
    fn a_record_without_an_answer_to_its_request_is_claimed_by_what_is_in_it() {
        let inbox = Inbox::new(10);
        inbox.expect(id(1));
        for (n, record) in [(1, "mine"), (2, "other"), (3, "wanted"), (4, "wanted")] {
            assert_eq!(inbox.deliver(id(n), record), Delivery::Kept);
        }
        let claim = |wanted| inbox.claim_by(|record: &&str| *record == wanted);
        assert_eq!(claim("wanted"), Some(id(3)));
        assert_eq!(claim("wanted"), Some(id(4)));
        assert_eq!(claim("wanted"), None);
        assert_eq!(claim("mine"), None, "somebody expects it");
        assert_eq!(inbox.read(&ids([3])), [(id(3), "wanted")]);
    }

    #[test]
    fn a_newer_record_replaces_an_older_one_of_the_same_activation() {
        let inbox = Inbox::new(10);
        assert_eq!(inbox.deliver(id(1), "receipt-1"), Delivery::Kept);
        assert_eq!(inbox.deliver(id(1), "receipt-2"), Delivery::Replaced("receipt-1"));
        assert_eq!(inbox.read(&ids([1])), [(id(1), "receipt-2")]);
    }

    #[test]
    fn only_records_that_nobody_expects_are_evicted_the_oldest_first() {
        let inbox = Inbox::new(2);
        inbox.expect(id(0));
        for n in 0..=2 {
            assert_eq!(inbox.deliver(id(n), n), Delivery::Kept);
        }
        assert_eq!(inbox.deliver(id(3), 3), Delivery::Evicted(id(1), 1));
        inbox.expect(id(2));
        assert_eq!(inbox.deliver(id(4), 4), Delivery::Kept);
        assert_eq!(inbox.deliver(id(5), 5), Delivery::Evicted(id(3), 3));
        let read = inbox.read(&ids(0..=5));
        assert_eq!(read.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [0, 2, 4, 5]);
    }

    #[test]
    fn a_late_record_of_a_released_activation_is_handed_back_even_if_it_was_never_read() {
        let inbox = Inbox::new(10);
        inbox.expect(id(1));
        assert!(inbox.release(&ids([1])).is_empty());
        assert_eq!(inbox.deliver(id(1), 'x'), Delivery::Released('x'));
    }

    #[test]
    fn memory_stays_bounded_whatever_arrives_and_is_released() {
        let inbox = Inbox::new(8);
        for n in 0..1000 {
            let _ = inbox.deliver(id(n), n);
            inbox.release(&ids([n / 2]));
        }
        let state = inbox.lock();
        assert!(state.slots.len() <= 8 && state.unclaimed.len() == state.slots.len());
        assert!(state.released.len() <= 8 && state.released_order.len() == state.released.len());
    }

    #[tokio::test]
    async fn a_waiter_is_woken_by_the_call_that_reads_the_queue() {
        let inbox = std::sync::Arc::new(Inbox::new(10));
        let waiter = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.arrived(&ids([7])).await }
        });
        tokio::task::yield_now().await;
        let _ = inbox.deliver(id(6), ());
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        let _ = inbox.deliver(id(7), ());
        waiter.await.unwrap();
    }
}
