//! How far a limit may go: searched from below, remembered, and tried again once in a while.

/// Intervals in which a limit that was found stands still.
const HOLD: u32 = 2;
/// A probe above a known ceiling costs about its first step in refused calls: one in a hundred answers at most.
const ANSWERS_PER_REFUSAL: f64 = 100.0;
/// But no longer than for so many round trips and intervals, or a small quota would never be found to have grown.
const LONGEST_HOLD: f64 = 6.0;
/// Each probe that is not refused makes the next one larger by this factor.
const ACCELERATION: f64 = 4.0;
/// The share of the level found that is left unused, where that is at least one call.
const HEADROOM: f64 = 0.03;

/// A pace is not lowered to less than this share by one event.
const LEAST_PACE_LEFT: f64 = 0.9;

/// A limit on something, the rate or what is in flight.
#[derive(Clone, Debug)]
pub(super) struct Ceiling {
    limit: Option<f64>,
    before_cut: Option<f64>,
    /// The level that is known to be good: accepted when more was refused, used in full without refusal, or stated.
    known: Option<f64>,
    step: f64,
    hold: u32,
    answers_to_wait: f64,
    /// The least that it can be changed by: one, unless it is a pace.
    grain: f64,
}

impl Ceiling {
    /// The level that the platform states.
    pub(super) fn reported(level: f64) -> Self {
        let level = level.max(1.0);
        let (limit, known) = (Some(level), Some(level));
        let mut ceiling = Self { limit, known, hold: HOLD, ..Self::unlimited() };
        ceiling.step = ceiling.first_step(level);
        ceiling
    }

    /// Nothing is known: begin with `level` and double.
    pub(super) fn searched_from(level: f64) -> Self {
        Self { limit: Some(level), ..Self::unlimited() }
    }

    /// No limit until something is refused.
    pub(super) fn unlimited() -> Self {
        Self {
            limit: None,
            before_cut: None,
            known: None,
            step: 1.0,
            hold: 0,
            answers_to_wait: 0.0,
            grain: 1.0,
        }
    }

    /// Allows fractions: calls are evenly spaced, and the limit is their pace.
    pub(super) fn paced(mut self) -> Self {
        self.grain = 0.01;
        self.step = self.first_step(self.limit.unwrap_or(1.0));
        self
    }

    fn is_pace(&self) -> bool {
        self.grain < 1.0
    }

    pub(super) fn limit(&self) -> Option<f64> {
        self.limit
    }

    /// Whether `used` is so much that more might have been used.
    pub(super) fn is_full(&self, used: f64, share: f64) -> bool {
        self.limit.is_some_and(|limit| used + 0.5 >= (limit * share).max(1.0).floor())
    }

    /// Whether `used` is more than is known to be good.
    pub(super) fn is_probed_by(&self, used: f64) -> bool {
        self.known.is_some_and(|known| used > known + self.grain / 2.0)
    }

    /// Whether anything speaks for this limit: it is more than a place to begin.
    pub(super) fn is_known(&self) -> bool {
        self.known.is_some()
    }

    /// Whether more is allowed than is known to be good.
    pub(super) fn is_probing(&self) -> bool {
        self.limit.is_some_and(|limit| self.is_probed_by(limit))
    }

    /// Takes the last cut back.
    pub(super) fn restore(&mut self) {
        self.limit = self.before_cut;
    }

    /// More than `accepted` was refused.
    pub(super) fn cut(&mut self, accepted: f64) {
        self.before_cut = self.limit;
        self.refine(accepted);
    }

    /// The cut before was for more than `accepted`: other refusals of the same event have come in.
    pub(super) fn refine(&mut self, accepted: f64) {
        let level = match self.before_cut {
            // A handful of calls does not show a pace exactly. If it is less, the next refusal says so.
            Some(limit) if self.is_pace() => accepted.clamp(limit * LEAST_PACE_LEFT, limit),
            Some(limit) => accepted.min(limit).max(1.0),
            None => accepted.max(1.0),
        };
        self.known = Some(level);
        self.limit = Some((level - self.grained(level * HEADROOM)).max(self.grain));
        self.step = self.first_step(level);
        // A probe was refused: the level is exact, and the next probe can wait. Much more was refused: the level may
        // be that of a moment, such as of a window that others have spent.
        let was_probe = self.is_pace() || self.before_cut.is_none_or(|limit| level >= 0.9 * limit);
        self.hold = if was_probe { HOLD } else { 1 };
        self.answers_to_wait =
            if was_probe { ANSWERS_PER_REFUSAL * self.step.max(1.0) } else { 0.0 };
    }

    /// The platform as a whole fails: use half, and find out again how much is good.
    pub(super) fn halve(&mut self, used: f64) {
        let level = self.limit.map_or(used, |limit| limit.min(used)).max(1.0);
        self.limit = Some((level / 2.0).max(1.0));
        self.hold = 1;
    }

    /// An interval without refusal is over, in which there were `answers`, and which is this part of a round trip.
    pub(super) fn rest(&mut self, answers: u64, round_trips: f64) {
        self.hold = self.hold.saturating_sub(1);
        let least =
            ANSWERS_PER_REFUSAL * self.first_step(self.known.unwrap_or(1.0)).max(1.0) * round_trips;
        self.answers_to_wait -= (answers as f64).max(least / LONGEST_HOLD);
    }

    /// The limit was used in full, and nothing speaks against more.
    pub(super) fn grow(&mut self) {
        let Some(limit) = self.limit else { return };
        if self.hold > 0 {
            return;
        }
        self.limit = Some(match self.known {
            None => limit * 2.0,
            // What was accepted before is asked for at once; beyond it, small steps first.
            Some(known) if limit < known => known.min(limit * 4.0),
            Some(_) if self.answers_to_wait > 0.0 => limit,
            Some(_) => {
                self.known = Some(limit);
                let step = self.step.min(self.grained(limit / 2.0).max(self.grain));
                self.step *= ACCELERATION;
                limit + step
            }
        });
    }

    fn first_step(&self, level: f64) -> f64 {
        self.grained(level / 100.0).max(self.grain)
    }

    fn grained(&self, change: f64) -> f64 {
        (change / self.grain).floor() * self.grain
    }

    /// Goes back to what was good before the last step.
    pub(super) fn retreat(&mut self) {
        if self.is_probing() {
            self.limit = self.known;
            self.step = self.first_step(self.known.unwrap_or(1.0));
            self.hold = HOLD;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_until_something_is_refused_and_then_keeps_just_below() {
        let mut ceiling = Ceiling::searched_from(32.0);
        ceiling.grow();
        ceiling.grow();
        assert_eq!(ceiling.limit(), Some(128.0));
        ceiling.cut(100.0);
        assert_eq!(ceiling.limit(), Some(97.0));
    }

    #[test]
    fn it_probes_with_small_steps_that_grow_while_nothing_is_refused() {
        let mut ceiling = Ceiling::reported(100.0);
        let mut seen = Vec::new();
        for _ in 0..8 {
            ceiling.rest(200, 1.0);
            ceiling.grow();
            seen.extend(ceiling.limit());
        }
        assert_eq!(seen, [100.0, 101.0, 105.0, 121.0, 181.0, 271.0, 406.0, 609.0]);
    }

    #[test]
    fn it_is_full_from_half_a_call_below_the_share_of_it_on() {
        let full_from = |limit: f64, used: f64| {
            let ceiling = Ceiling::reported(limit);
            ceiling.is_full(used, 0.8) && !ceiling.is_full(used - 0.1, 0.8)
        };
        assert!(full_from(100.0, 79.5));
        // A share of a handful is rounded down, to one call at least.
        assert!(full_from(3.0, 1.5));
        assert!(full_from(1.0, 0.5));
        assert!(!Ceiling::unlimited().is_full(1e9, 0.8));
    }

    #[test]
    fn more_than_half_a_grain_above_what_is_good_is_a_probe() {
        let calls = Ceiling::reported(10.0);
        assert!(calls.is_probed_by(10.6) && !calls.is_probed_by(10.5));
        let pace = calls.paced();
        assert!(pace.is_probed_by(10.006) && !pace.is_probed_by(10.004));
    }

    #[test]
    fn one_event_lowers_a_pace_by_a_tenth_and_the_headroom_at_most() {
        let mut pace = Ceiling::reported(10.0).paced();
        pace.cut(2.0);
        let limit = pace.limit().unwrap();
        assert!((limit - 9.0 * 0.97).abs() < 0.02, "{limit}");
    }

    #[test]
    fn of_what_was_used_half_is_left_where_the_platform_fails() {
        let mut ceiling = Ceiling::reported(100.0);
        ceiling.halve(50.0);
        assert_eq!(ceiling.limit(), Some(25.0));
        ceiling.halve(100.0);
        assert_eq!(ceiling.limit(), Some(12.5));
    }

    /// The limits after intervals in which `ceiling` is used in full, each with so many answers.
    fn limits(mut ceiling: Ceiling, answers: u64, round_trips: f64, intervals: usize) -> Vec<f64> {
        let mut seen = Vec::new();
        for _ in 0..intervals {
            ceiling.rest(answers, round_trips);
            ceiling.grow();
            seen.extend(ceiling.limit());
        }
        seen
    }

    #[test]
    fn after_a_probe_was_refused_the_next_one_waits_for_a_hundred_times_its_answers() {
        let mut refused = Ceiling::reported(1000.0);
        // A tenth less than before: then the level is exact.
        refused.cut(900.0);
        assert_eq!(refused.limit(), Some(873.0));
        let busy = limits(refused.clone(), 225, 1.0, 5);
        assert_eq!(busy, [873.0, 900.0, 900.0, 909.0, 945.0]);
        // Where nothing is answered, it waits for six intervals, or for so many round trips.
        let idle = limits(refused.clone(), 0, 1.0, 6);
        assert_eq!(idle, [873.0, 900.0, 900.0, 900.0, 900.0, 909.0]);
        let slow = limits(refused, 0, 0.5, 12);
        assert_eq!((slow[10], slow[11]), (900.0, 909.0));
    }

    #[test]
    fn after_a_deep_cut_it_grows_again_with_the_next_interval() {
        let mut cut = Ceiling::reported(1000.0);
        cut.cut(500.0);
        assert_eq!(limits(cut, 0, 1.0, 2), [500.0, 505.0]);
    }

    #[test]
    fn far_below_what_is_good_it_grows_fourfold() {
        let mut halved = Ceiling::reported(1000.0);
        halved.halve(200.0);
        assert_eq!(limits(halved, 0, 1.0, 3), [400.0, 1000.0, 1010.0]);
    }
}
