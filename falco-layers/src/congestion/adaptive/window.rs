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

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn an_event_counts_for_the_whole_width_and_leaves_within_one_slot() {
        // Slots of ten milliseconds.
        let mut window = SlidingWindow::new(ms(1200));
        assert_eq!(window.oldest(), None);
        window.add(ms(25));
        assert_eq!(window.oldest(), Some(ms(20)));
        // The last moment of its slot is at 30 ms.
        let gone = ms(1230);
        assert_eq!(window.room_at(ms(100), 1), gone);
        assert_eq!(window.count(gone - Duration::from_nanos(1)), 1);
        assert_eq!((window.count(gone), window.oldest()), (0, None));
    }

    #[test]
    fn there_is_room_when_as_many_as_are_too_many_have_left() {
        let mut window = SlidingWindow::new(ms(1200));
        for at in [5, 5, 45, 85] {
            window.add(ms(at));
        }
        assert_eq!(window.room_at(ms(100), 5), ms(100), "there is room already");
        assert_eq!(window.room_at(ms(100), 4), ms(1210));
        assert_eq!(window.room_at(ms(100), 3), ms(1210), "both of a slot leave at once");
        assert_eq!(window.room_at(ms(100), 2), ms(1250));
        assert_eq!(window.room_at(ms(100), 1), ms(1290));
        assert_eq!(window.room_at(ms(100), 0), ms(1290), "none at all would never have room");
    }

    #[test]
    fn memory_does_not_grow_with_events() {
        let mut window = SlidingWindow::new(ms(1200));
        for at in 0..24_000 {
            window.add(Duration::from_micros(at * 100));
        }
        assert!(window.counts.len() <= SLOTS as usize + 1, "{}", window.counts.len());
        assert_eq!(window.counts.iter().map(|(_, count)| count).sum::<u64>(), window.total);
    }

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
