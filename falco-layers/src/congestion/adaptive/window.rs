//! Counting in a window of time that slides.

use std::collections::VecDeque;
use std::time::Duration;

/// The window moves in steps of this part of its width.
const SLOTS: u64 = 120;

/// Counts events of the last `width`, in constant memory. It never counts too few: an event leaves up to one slot
/// late.
#[derive(Clone, Debug)]
pub(super) struct SlidingWindow {
    slot: Duration,
    /// Slots that are not empty, oldest first, as number and count.
    counts: VecDeque<(u64, u64)>,
    total: u64,
}

impl SlidingWindow {
    pub(super) fn new(width: Duration) -> Self {
        let slot = (width / SLOTS as u32).max(Duration::from_micros(1));
        Self { slot, counts: VecDeque::new(), total: 0 }
    }

    pub(super) fn add(&mut self, now: Duration) {
        self.advance(now);
        let slot = self.slot_of(now);
        match self.counts.back_mut() {
            Some((last, count)) if *last >= slot => *count += 1,
            _ => self.counts.push_back((slot, 1)),
        }
        self.total += 1;
    }

    pub(super) fn count(&mut self, now: Duration) -> u64 {
        self.advance(now);
        self.total
    }

    /// When the oldest that still counts happened, to a slot.
    pub(super) fn oldest(&self) -> Option<Duration> {
        let (slot, _) = self.counts.front()?;
        Some(Duration::from_nanos((self.slot.as_nanos() as u64).saturating_mul(*slot)))
    }

    /// When there will be room for one more below `limit`.
    pub(super) fn room_at(&mut self, now: Duration, limit: u64) -> Duration {
        self.advance(now);
        let mut left = self.total;
        for (slot, count) in &self.counts {
            if left < limit.max(1) {
                break;
            }
            left -= count;
            if left < limit.max(1) {
                return self.leaves_at(*slot);
            }
        }
        now
    }

    fn advance(&mut self, now: Duration) {
        while let Some((slot, count)) = self.counts.front().copied() {
            if now < self.leaves_at(slot) {
                break;
            }
            self.counts.pop_front();
            self.total -= count;
        }
    }

    fn slot_of(&self, now: Duration) -> u64 {
        (now.as_nanos() / self.slot.as_nanos()) as u64
    }

    /// A slot leaves when its last moment is a width ago.
    fn leaves_at(&self, slot: u64) -> Duration {
        let nanos = self.slot.as_nanos() as u64;
        Duration::from_nanos(nanos.saturating_mul(slot + SLOTS + 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_window_holds_more_than_the_limit_when_one_waits_for_room(
            limit in 1_u64..20, gaps in prop::collection::vec(0_u64..400, 1..200),
        ) {
            let width = Duration::from_millis(1000);
            let mut window = SlidingWindow::new(width);
            let mut now = Duration::ZERO;
            let mut sent = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                now = now.max(window.room_at(now, limit));
                prop_assert!(window.count(now) < limit);
                window.add(now);
                sent.push(now);
            }
            for (first, since) in sent.iter().enumerate() {
                let within = sent[first..].iter().take_while(|at| **at < *since + width).count();
                prop_assert!(within as u64 <= limit);
            }
        }
    }
}
