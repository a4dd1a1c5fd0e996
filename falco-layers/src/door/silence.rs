//! Whether a part of a spread answers, as its calls show it.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use falco_core::{Error, ErrorKind, Invocation, InvocationId, Result, StageName};
use tokio::time::Instant;

/// The first and the longest time for which a part that does not answer is left alone.
const FIRST_REST: Duration = Duration::from_millis(500);
const LONGEST_REST: Duration = Duration::from_secs(10);

/// Whether a part answers.
#[derive(Debug, Default)]
pub(crate) struct Silence(Mutex<Option<Since>>);

/// A time in which a part does not answer.
#[derive(Debug)]
struct Since {
    /// Until when it is left alone, and for how long it was last.
    until: Instant,
    pause: Duration,
    /// Since when it could not be asked for results.
    uncollected: Option<Instant>,
    /// The calls that were sent to it although it does not answer.
    trying: HashSet<(StageName, InvocationId)>,
}

impl Since {
    /// One that begins now, and has no rest yet.
    fn new(now: Instant) -> Self {
        Self { until: now, pause: FIRST_REST, uncollected: None, trying: HashSet::new() }
    }
}

impl Silence {
    /// Whether it is left alone.
    pub(crate) fn is_resting(&self) -> bool {
        self.state().as_ref().is_some_and(|silence| Instant::now() < silence.until)
    }

    /// Whether nothing has been heard since it did not answer.
    pub(crate) fn is_silent(&self) -> bool {
        self.state().is_some()
    }

    /// Takes note that the part was chosen for a call. Where it has not answered, this call alone tries whether it is back.
    pub(crate) fn chosen(&self, invocation: &Invocation) {
        let now = Instant::now();
        let Some(silence) = &mut *self.state() else { return };
        silence.trying.insert(key(invocation));
        if silence.until <= now {
            silence.pause = (silence.pause * 2).min(LONGEST_REST);
            silence.until = now + silence.pause;
        }
    }

    /// Whether a call is turned away: the part has stopped answering while the call waited for it.
    pub(crate) fn turns_away(&self, invocation: &Invocation) -> bool {
        self.state().as_ref().is_some_and(|silence| !silence.trying.contains(&key(invocation)))
    }

    /// Reads from an outcome whether it answers; `is_answer` says whether a success shows that.
    pub(crate) fn hear<T>(&self, outcome: &Result<T>, is_answer: impl FnOnce(&T) -> bool) {
        match outcome {
            Ok(value) if is_answer(value) => *self.state() = None,
            Ok(_) => {}
            Err(error) => self.hear_error(error),
        }
    }

    /// Reads from a failure whether it answers.
    pub(crate) fn hear_error(&self, error: &Error) {
        let mut silence = self.state();
        match error.kind() {
            // A function's own timeout was over: a platform that works would have answered.
            _ if error.is_unreachable() || error.kind() == ErrorKind::Timeout => {
                let now = Instant::now();
                let silence = silence.get_or_insert_with(|| Since::new(now));
                // All that are cut off together count as one. A call that has tried whether it is back may have taken long.
                if silence.until <= now {
                    silence.until = now + silence.pause;
                }
            }
            ErrorKind::Unauthorized
            | ErrorKind::Forbidden
            | ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::Throttled
            | ErrorKind::Unavailable => *silence = None,
            // It may come from this side.
            _ => {}
        }
    }

    /// Takes note that the part could not be asked for results; for how long it could not.
    pub(crate) fn could_not_be_asked(&self) -> Duration {
        let mut silence = self.state();
        let Some(silence) = silence.as_mut() else { return Duration::ZERO };
        silence.uncollected.get_or_insert_with(Instant::now).elapsed()
    }

    fn state(&self) -> MutexGuard<'_, Option<Since>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(invocation: &Invocation) -> (StageName, InvocationId) {
    (invocation.stage().clone(), invocation.id().clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use falco_core::Payload;
    use tokio::time::sleep;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn invocation(id: &str) -> Invocation {
        Invocation::new("run", "stage", id, Payload::empty())
    }

    fn away() -> Error {
        Error::new(ErrorKind::Unavailable, "no route").with_unreachable(true)
    }

    /// How long the part is left alone from now on.
    async fn rest(silence: &Silence) -> Duration {
        let begun = Instant::now();
        while silence.is_resting() {
            sleep(ms(10)).await;
        }
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_rests_twice_as_long_after_each_call_that_tries_in_vain_whether_it_is_back() {
        let silence = Silence::default();
        assert_eq!(rest(&silence).await, Duration::ZERO);
        silence.hear_error(&away());
        assert_eq!(rest(&silence).await, ms(500));
        let mut rests = Vec::new();
        for _ in 0..6 {
            silence.chosen(&invocation("a"));
            rests.push(rest(&silence).await.as_millis());
        }
        assert_eq!(rests, [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        assert!(silence.is_silent());
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_are_cut_off_together_are_one_failure_and_a_later_one_is_another() {
        let silence = Silence::default();
        silence.hear_error(&away());
        sleep(ms(200)).await;
        silence.hear_error(&away());
        silence.chosen(&invocation("a"));
        assert_eq!(rest(&silence).await, ms(300));
        silence.hear_error(&away());
        assert_eq!(rest(&silence).await, ms(500));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_part_turns_all_calls_away_but_those_that_were_chosen_to_try_it() {
        let silence = Silence::default();
        let turned_away = |id| silence.turns_away(&invocation(id));
        silence.chosen(&invocation("a"));
        assert!(!turned_away("a") && !turned_away("b"));
        silence.hear_error(&away());
        assert!(turned_away("a"), "it was chosen while the part answered");
        silence.chosen(&invocation("a"));
        assert!(!turned_away("a") && turned_away("b"));
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_answer_of_the_platform_ends_a_silence() {
        let after = |error: Error| {
            let silence = Silence::default();
            silence.hear_error(&away());
            silence.hear_error(&error);
            silence.is_silent()
        };
        for kind in [ErrorKind::NotFound, ErrorKind::Throttled, ErrorKind::Unavailable] {
            assert!(!after(Error::new(kind, "an answer")), "{kind:?}");
        }
        for kind in [ErrorKind::Timeout, ErrorKind::InvalidInput] {
            assert!(after(Error::new(kind, "none")), "{kind:?}");
        }
        let silence = Silence::default();
        silence.hear_error(&Error::new(ErrorKind::Timeout, "too late"));
        silence.hear(&Ok(()), |()| false);
        assert!(silence.is_silent());
        silence.hear(&Ok(()), |()| true);
        assert!(!silence.is_silent());
        silence.hear(&Err::<(), _>(away()), |()| true);
        assert!(silence.is_silent());
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_could_not_be_asked_since_the_first_time() {
        let silence = Silence::default();
        sleep(ms(3_000)).await;
        assert_eq!(silence.could_not_be_asked(), Duration::ZERO, "it is not silent");
        silence.hear_error(&away());
        sleep(ms(3_000)).await;
        assert_eq!(silence.could_not_be_asked(), Duration::ZERO);
        sleep(ms(3_000)).await;
        assert_eq!(silence.could_not_be_asked(), ms(3_000));
    }
}
