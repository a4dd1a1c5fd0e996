//! A budget for retries, as a share of the traffic.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use falco_core::setters;
use tokio::time::Instant;

/// How many retries there may be in relation to first attempts.
///
/// When everything fails, retries multiply the load at the worst time; with a share of 0.2 a platform in
/// trouble sees at most a fifth more than without retries. What is negative or no number counts as nothing.
///
/// # Examples
///
/// ```
/// use falco_layers::RetryBudget;
///
/// let budget = RetryBudget::default().with_share(0.1);
/// assert_eq!(budget.reserve, 100);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RetryBudget {
    /// Retries per first attempt, in the long run.
    pub share: f64,
    /// Retries per second besides, so that little traffic can be retried too.
    pub per_second: f64,
    /// Retries that may be saved up, and that are there at first.
    pub reserve: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { share: 0.2, per_second: 1.0, reserve: 100 }
    }
}

impl RetryBudget {
    setters! {
        /// Sets the retries per first attempt, in the long run.
        with_share(share: f64);
        /// Sets the retries per second besides, so that little traffic can be retried too.
        with_per_second(per_second: f64);
        /// Sets how many retries may be saved up, and that are there at first.
        with_reserve(reserve: u32);
    }

    /// As many retries as the policy's attempts allow.
    pub const UNLIMITED: Self = Self { share: f64::INFINITY, per_second: 0.0, reserve: u32::MAX };
}

/// The rest of a budget.
#[derive(Debug)]
pub(super) struct Account {
    budget: RetryBudget,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    retries: f64,
    credited_at: Option<Instant>,
}

impl Account {
    pub(super) fn new(mut budget: RetryBudget) -> Self {
        // Of two numbers, `max` takes the one that is a number. A deposit must not be a debt.
        budget.share = budget.share.max(0.0);
        budget.per_second = budget.per_second.max(0.0);
        let retries = f64::from(budget.reserve);
        Self { budget, state: Mutex::new(State { retries, credited_at: None }) }
    }

    /// A first attempt has come back.
    pub(super) fn deposit(&self) {
        self.add(self.budget.share);
    }

    /// Takes one retry, if there is one.
    pub(super) fn withdraw(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = state.credited_at.map_or(Duration::ZERO, |then| now - then);
        state.credited_at = Some(now);
        state.retries = (state.retries + self.budget.per_second * elapsed.as_secs_f64())
            .min(f64::from(self.budget.reserve));
        let is_there = state.retries >= 1.0;
        if is_there {
            state.retries -= 1.0;
        }
        is_there
    }

    fn add(&self, retries: f64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.retries = (state.retries + retries).min(f64::from(self.budget.reserve));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn retries_are_a_share_of_first_attempts_and_a_trickle_besides() {
        let account = Account::new(RetryBudget { share: 0.5, per_second: 2.0, reserve: 2 });
        let spend = || (0..100).take_while(|_| account.withdraw()).count();
        assert_eq!(spend(), 2);
        account.deposit();
        account.deposit();
        assert_eq!(spend(), 1);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(spend(), 1);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(spend(), 2);
    }
}
