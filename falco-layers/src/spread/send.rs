//! The part that a call goes to, and the next one when that does not take it.

use std::sync::PoisonError;

use falco_core::{AttemptReason, Deployment, Error, ErrorKind, Event, Invocation, Result};

use super::Share;
use super::part::{Call, Member};
use super::parts::Parts;

impl Parts {
    /// The next part for a call, among those that hold the function and have not refused it. Those that do not answer get
    /// none, unless no other has answered.
    fn choose(
        &self,
        held: &[(usize, Deployment)],
        refused: &[usize],
        has_answer: bool,
        is_repeated: bool,
    ) -> Option<usize> {
        let left = || (0..held.len()).filter(|at| !refused.contains(at));
        let is_awake = |member: &Member| match is_repeated {
            // Only first attempts try whether a silent part is back: a call could otherwise spend all its attempts on it.
            true => !member.silence.is_silent(),
            false => !member.silence.is_resting(),
        };
        let awake: Vec<usize> = left().filter(|at| is_awake(&self.members[held[*at].0])).collect();
        // Where all of them are away, a call has to find out whether one is back.
        let candidates = if awake.is_empty() && !has_answer { left().collect() } else { awake };
        let member = |at: &usize| &self.members[held[*at].0];
        let with_room = || candidates.iter().copied().filter(|at| member(at).room() > 0);
        let preferred = match self.share {
            Share::Weight => return self.next_by_weight(held, &candidates),
            Share::FreeCapacity => None,
            Share::Price => with_room().min_by(|one, other| {
                let price = |at: &usize| {
                    let prices = member(at).platform.capabilities().prices;
                    prices.map_or(f64::INFINITY, |it| it.upper_bound(&held[*at].1.scaling).0)
                };
                price(one).total_cmp(&price(other))
            }),
            Share::Overflow => with_room().next(),
        };
        // The first of those with the most room.
        preferred.or_else(|| candidates.iter().copied().rev().max_by_key(|at| member(at).room()))
    }

    /// Takes turns so that shares hold at any time, and not only in the end.
    fn next_by_weight(&self, held: &[(usize, Deployment)], candidates: &[usize]) -> Option<usize> {
        let mut credits = self.credits.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = 0.0;
        for at in candidates {
            let number = held[*at].0;
            credits[number] += self.members[number].weight;
            sum += self.members[number].weight;
        }
        let next = candidates
            .iter()
            .copied()
            .rev()
            .max_by(|one, other| credits[held[*one].0].total_cmp(&credits[held[*other].0]))?;
        credits[held[next].0] -= sum;
        Some(next)
    }

    /// Sends a call to one part after the other, until one takes it.
    pub(super) async fn send<T>(
        &self,
        operation: &'static str,
        deployment: &Deployment,
        invocation: &Invocation,
        call: Call<T>,
    ) -> Result<(&Member, T)> {
        let held = self.held(deployment, operation)?;
        let (mut refused, mut failure, mut may_have_run) = (Vec::new(), None::<Error>, false);
        let mut unreported: Option<Error> = None;
        loop {
            let has_answer = failure.as_ref().is_some_and(|error| !error.is_unreachable());
            let is_repeated = invocation.attempt() > 1;
            let Some(at) = self.choose(&held, &refused, has_answer, is_repeated) else {
                let none = || Error::new(ErrorKind::Unavailable, "no part has taken the call");
                return Err(failure.unwrap_or_else(none).with_may_have_run(may_have_run));
            };
            let (number, deployment) = &held[at];
            let member = &self.members[*number];
            member.silence.chosen(invocation);
            // The last failure is left to the caller.
            if let Some(error) = unreported.take() {
                invocation.report(&Event::CallFailed { invocation, error: &error });
                let reason = AttemptReason::CallFailed;
                invocation.report(&Event::Attempt { invocation, reason });
            }
            let outcome = call(&*member.platform, deployment, invocation).await;
            let error = match outcome {
                Ok(answer) => return Ok((member, answer)),
                Err(error) => member.error(error),
            };
            refused.push(at);
            may_have_run |= error.may_have_run();
            let is_safe = !error.may_have_run() || invocation.is_idempotent();
            let may_go_on = error.is_retryable() || error.is_unreachable();
            if !(is_safe && may_go_on) {
                return Err(error.with_may_have_run(may_have_run));
            }
            unreported = Some(error.clone());
            // Only where no part answers is the whole away: else that is a matter of one part.
            let error = match failure.take() {
                Some(answer) if !answer.is_unreachable() && error.is_unreachable() => answer,
                _ => error,
            };
            failure = Some(error);
        }
    }
}
