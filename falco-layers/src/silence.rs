//! The platform's reachability, as an outcome shows it: whether somebody answered for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use falco_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

/// The platform's reachability, as the outcome of a call shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heard<'a> {
    /// The platform answered, whatever it said.
    Answer,
    /// Nobody answered, or the platform does not accept the credentials any more.
    Silence(&'a Error),
    /// Nothing.
    Nothing,
}

/// Calls that are accepted or refused together: a platform may have different credentials for each class.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Class {
    /// `invoke` and `submit`.
    Invocation,
    /// `collect` and `activation_log`.
    Query,
    /// All others.
    Management,
}

/// Distinguishes an outage from other failures, by what the platform has answered before.
#[derive(Debug)]
pub(crate) struct Listener {
    began: Instant,
    /// When the last answer came, in nanoseconds since it began; zero before the first one.
    last_answer: AtomicU64,
    /// The classes of calls whose credentials were accepted.
    accepted: [AtomicBool; 3],
}

impl Default for Listener {
    fn default() -> Self {
        Self { began: Instant::now(), last_answer: AtomicU64::new(0), accepted: Default::default() }
    }
}

impl Listener {
    /// Reads it from an outcome.
    ///
    /// Credentials that were never accepted are wrong; those that were have expired, or were replaced, and may be renewed.
    pub(crate) fn hear<'a, T>(&self, class: Class, outcome: &'a Result<T>) -> Heard<'a> {
        let accepted = &self.accepted[class as usize];
        let heard = match outcome {
            Ok(_) => {
                if !accepted.load(Ordering::Relaxed) {
                    accepted.store(true, Ordering::Relaxed);
                }
                Heard::Answer
            }
            Err(error) if error.is_exhausted() => Heard::Nothing,
            Err(error) if error.is_unreachable() => Heard::Silence(error),
            Err(error) => match error.kind() {
                ErrorKind::Unauthorized if accepted.load(Ordering::Relaxed) => {
                    Heard::Silence(error)
                }
                ErrorKind::Unauthorized
                | ErrorKind::Forbidden
                | ErrorKind::NotFound
                | ErrorKind::Conflict
                | ErrorKind::Throttled
                | ErrorKind::Unavailable => Heard::Answer,
                // It may come from the client itself, or be cut off by it.
                _ => Heard::Nothing,
            },
        };
        if let Heard::Answer = heard {
            let nanos = Instant::now().duration_since(self.began).as_nanos();
            self.last_answer.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        heard
    }

    /// Whether an answer came after `then`.
    pub(crate) fn has_heard_since(&self, then: Instant) -> bool {
        let last = Duration::from_nanos(self.last_answer.load(Ordering::Relaxed));
        last > then.saturating_duration_since(self.began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_from_the_moment_at_which_it_comes() {
        let listener = Listener::default();
        let began = Instant::now();
        assert!(!listener.has_heard_since(began), "there was none");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(matches!(listener.hear(Class::Query, &Ok(())), Heard::Answer));
        assert!(listener.has_heard_since(began));
        assert!(!listener.has_heard_since(Instant::now()), "it came before");
    }
}
