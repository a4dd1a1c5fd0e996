//! The futures in flight, driven by one task.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use tokio::task::coop::has_budget_remaining;

/// A set of futures, each polled only after a wake-up, in wake-up order.
///
/// Unlike `FuturesUnordered`, which allocates for each future, it keeps the slots of those that have ended for those
/// that follow: an executor drives millions of futures, each as large as the one before, and few at a time.
#[derive(Debug)]
pub(super) struct InFlight<F> {
    slots: Vec<Slot<F>>,
    vacant: Vec<usize>,
    /// Slots to poll before those in `ready_queue`.
    to_poll: VecDeque<usize>,
    ready_queue: Arc<ReadyQueue>,
}

#[derive(Debug)]
struct Slot<F> {
    future: Pin<Box<Option<F>>>,
    slot_waker: Arc<SlotWaker>,
    /// The same as `slot_waker`, made once.
    waker: Waker,
}

/// Wakes one slot.
#[derive(Debug)]
struct SlotWaker {
    slot: usize,
    /// Whether the slot is in the ready queue, or about to be polled.
    is_queued: AtomicBool,
    ready_queue: Arc<ReadyQueue>,
}

/// The slots that were woken, in the order of their wake-ups, and the task to wake for them.
#[derive(Debug, Default)]
struct ReadyQueue(Mutex<(VecDeque<usize>, Option<Waker>)>);

impl<F: Future> InFlight<F> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            to_poll: VecDeque::new(),
            ready_queue: Arc::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.vacant.len() == self.slots.len()
    }

    /// Adds a future, which is polled by the next [`poll_next`](Self::poll_next).
    pub(super) fn push(&mut self, future: F) {
        let slot = self.vacant.pop().unwrap_or_else(|| self.add_slot());
        let Slot { future: vacant, slot_waker, .. } = &mut self.slots[slot];
        vacant.set(Some(future));
        // A wake-up of the future that was here before, after it had ended, counts for this one.
        if !slot_waker.is_queued.swap(true, Ordering::AcqRel) {
            self.to_poll.push_back(slot);
        }
    }

    fn add_slot(&mut self) -> usize {
        let slot = self.slots.len();
        let is_queued = AtomicBool::new(false);
        let slot_waker =
            Arc::new(SlotWaker { slot, is_queued, ready_queue: Arc::clone(&self.ready_queue) });
        let waker = Waker::from(Arc::clone(&slot_waker));
        self.slots.push(Slot { future: Box::pin(None), slot_waker, waker });
        slot
    }

    /// The output of the next future to end. `None` when there is none in flight.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        // Futures that wake themselves must not keep the task for ever.
        for _ in 0..=self.slots.len() {
            let Some(slot) = ready!(self.poll_next_slot(cx)) else { return Poll::Ready(None) };
            let Slot { future, slot_waker, waker } = &mut self.slots[slot];
            // Before the poll: what wakes it from now on wants another one. A swap, because a waker that finds the slot
            // queued leaves it to this poll to see what happened before; a store would let the poll look too early.
            slot_waker.is_queued.swap(false, Ordering::AcqRel);
            let Some(woken) = future.as_mut().as_pin_mut() else { continue };
            if let Poll::Ready(output) = woken.poll(&mut Context::from_waker(waker)) {
                future.set(None);
                self.vacant.push(slot);
                return Poll::Ready(Some(output));
            }
            if !has_budget_remaining() {
                // The runtime lets the task do no more for now, and would put off all the others one by one.
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The slot to poll next.
    fn poll_next_slot(&mut self, cx: &Context<'_>) -> Poll<Option<usize>> {
        if self.to_poll.is_empty() {
            if self.is_empty() {
                return Poll::Ready(None);
            }
            ready!(self.ready_queue.poll_take(&mut self.to_poll, cx));
        }
        Poll::Ready(self.to_poll.pop_front())
    }

    /// The futures in flight, to be polled without a wake-up.
    pub(super) fn iter_pin_mut(&mut self) -> impl Iterator<Item = Pin<&mut F>> {
        self.slots.iter_mut().filter_map(|slot| slot.future.as_mut().as_pin_mut())
    }

    /// Drops the futures in flight.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}

impl ReadyQueue {
    /// Swaps the empty `to_poll` for the slots that were woken, of which there is one at least.
    fn poll_take(&self, to_poll: &mut VecDeque<usize>, cx: &Context<'_>) -> Poll<()> {
        let (slots, task) = &mut *self.lock();
        if slots.is_empty() {
            match task {
                Some(task) => task.clone_from(cx.waker()),
                None => *task = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        std::mem::swap(slots, to_poll);
        Poll::Ready(())
    }

    fn add(&self, slot: usize) {
        let task = {
            let (slots, task) = &mut *self.lock();
            slots.push_back(slot);
            task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, (VecDeque<usize>, Option<Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::AcqRel) {
            self.ready_queue.add(self.slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicUsize;
    use std::thread;
    use std::time::{Duration, Instant};

    use tokio::sync::oneshot;

    use super::*;

    /// Counts how often the task is woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Task {
        fn woken(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn poll<F: Future>(in_flight: &mut InFlight<F>, task: &Arc<Task>) -> Poll<Option<F::Output>> {
        in_flight.poll_next(&mut Context::from_waker(&Waker::from(Arc::clone(task))))
    }

    #[test]
    fn what_ends_comes_out_once_in_the_order_in_which_it_was_woken() {
        let (mut in_flight, task) = (InFlight::new(), Arc::default());
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..4).map(|_| oneshot::channel()).unzip();
        receivers.into_iter().for_each(|receiver| in_flight.push(receiver));
        assert_eq!(poll(&mut in_flight, &task), Poll::Pending);
        for (n, sender) in senders.into_iter().enumerate().rev() {
            sender.send(n).unwrap();
        }
        assert_eq!(task.woken(), 1, "the task knows after the first that there is something");
        for n in [3, 2, 1, 0] {
            assert_eq!(poll(&mut in_flight, &task), Poll::Ready(Some(Ok(n))));
        }
        assert_eq!(poll(&mut in_flight, &task), Poll::Ready(None));
    }

    #[test]
    fn a_future_is_not_polled_unless_it_was_woken() {
        let (mut in_flight, task, polls) = (InFlight::new(), Arc::default(), AtomicUsize::new(0));
        let wakers = Mutex::new(Vec::new());
        for _ in 0..3 {
            in_flight.push(poll_fn(|cx: &mut Context<'_>| {
                polls.fetch_add(1, Ordering::Relaxed);
                wakers.lock().unwrap().push(cx.waker().clone());
                Poll::<()>::Pending
            }));
        }
        assert_eq!(poll(&mut in_flight, &task), Poll::Pending);
        assert_eq!(poll(&mut in_flight, &task), Poll::Pending);
        assert_eq!(polls.load(Ordering::Relaxed), 3);
        let second = wakers.lock().unwrap()[1].clone();
        second.wake_by_ref();
        second.wake();
        assert_eq!(poll(&mut in_flight, &task), Poll::Pending);
        assert_eq!(polls.load(Ordering::Relaxed), 4, "woken twice, it is polled once");
    }

    #[test]
    fn a_future_that_wakes_itself_lets_the_others_and_the_task_go_on() {
        let (mut in_flight, task) = (InFlight::new(), Arc::default());
        let restless = |answer: Option<u8>| {
            poll_fn(move |cx| {
                cx.waker().wake_by_ref();
                answer.map_or(Poll::Pending, Poll::Ready)
            })
        };
        in_flight.push(restless(None));
        in_flight.push(restless(Some(7)));
        assert_eq!(poll(&mut in_flight, &task), Poll::Ready(Some(7)));
        assert_eq!(poll(&mut in_flight, &task), Poll::Pending);
        assert_eq!(task.woken(), 1, "there is more to poll");
    }

    #[test]
    fn a_wake_up_for_a_future_that_has_ended_does_no_harm() {
        let (mut in_flight, task) = (InFlight::new(), Arc::default());
        let kept = Mutex::new(None);
        let keeping = |answer: Option<u8>| {
            let kept = &kept;
            poll_fn(move |cx: &mut Context<'_>| {
                *kept.lock().unwrap() = Some(cx.waker().clone());
                answer.map_or(Poll::Pending, Poll::Ready)
            })
        };
        in_flight.push(keeping(Some(1)));
        assert_eq!(poll(&mut in_flight, &task), Poll::Ready(Some(1)));
        let old = kept.lock().unwrap().take().unwrap();
        old.wake_by_ref();
        assert_eq!(poll(&mut in_flight, &task), Poll::Ready(None));
        in_flight.push(keeping(Some(2)));
        old.wake();
        assert_eq!(poll(&mut in_flight, &task), Poll::Ready(Some(2)));
        assert_eq!(poll(&mut in_flight, &task), Poll::Ready(None));
    }

    /// Knows what it has seen of a number, and keeps the waker of its first poll, as receivers of channels do.
    #[derive(Default)]
    struct Watched {
        number: AtomicUsize,
        seen: AtomicUsize,
        waker: OnceLock<Waker>,
    }

    #[test]
    fn what_another_thread_does_before_it_wakes_a_future_is_seen_by_a_poll_that_follows() {
        /// On two free cores, a store in place of the swap loses one in a thousand.
        const ROUNDS: usize = 50_000;
        const AT_MOST: Duration = Duration::from_secs(2);
        let (mut in_flight, task) = (InFlight::new(), Arc::default());
        let (watched, rung) = (Watched::default(), AtomicUsize::new(0));
        in_flight.push(poll_fn(|cx: &mut Context<'_>| {
            watched.waker.get_or_init(|| cx.waker().clone());
            watched.seen.store(watched.number.load(Ordering::Acquire), Ordering::Release);
            Poll::<()>::Pending
        }));
        assert_eq!(poll(&mut in_flight, &task), Poll::Pending);
        let waker = watched.waker.get().unwrap();
        let (begun, is_over) = (Instant::now(), AtomicBool::new(false));
        let mut lost = 0;
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    // The second wake-up comes while the poll for the first begins, in some rounds.
                    waker.wake_by_ref();
                    (0..round % 64).for_each(|_| std::hint::spin_loop());
                    watched.number.store(round, Ordering::Release);
                    waker.wake_by_ref();
                    rung.store(round, Ordering::Release);
                    while watched.seen.load(Ordering::Acquire) < round {
                        if is_over.load(Ordering::Acquire) {
                            return;
                        }
                        thread::yield_now();
                    }
                }
            });
            for round in 1..=ROUNDS {
                while rung.load(Ordering::Acquire) < round {
                    let _ = poll(&mut in_flight, &task);
                }
                let _ = poll(&mut in_flight, &task);
                lost += usize::from(watched.seen.fetch_max(round, Ordering::AcqRel) < round);
                // A machine with other things to do plays fewer rounds.
                if begun.elapsed() > AT_MOST {
                    break;
                }
            }
            is_over.store(true, Ordering::Release);
        });
        assert_eq!(lost, 0, "wake-ups were lost");
    }

    #[test]
    fn the_futures_in_flight_are_those_that_have_not_ended() {
        let (mut in_flight, task) = (InFlight::new(), Arc::default());
        for n in 0..3 {
            in_flight.push(poll_fn(move |_| if n == 1 { Poll::Ready(n) } else { Poll::Pending }));
        }
        assert_eq!(poll(&mut in_flight, &task), Poll::Ready(Some(1)));
        assert_eq!(in_flight.iter_pin_mut().count(), 2);
        in_flight.clear();
        assert!(in_flight.is_empty());
        assert_eq!(poll(&mut in_flight, &task), Poll::Ready(None));
    }
}
