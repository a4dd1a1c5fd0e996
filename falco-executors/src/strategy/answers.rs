//! Where answers wait for the attempts that they belong to.

use std::mem;
use std::task::{Context, Poll, Waker};

use falco_core::{Activation, ActivationId, Result};
use slab::Slab;
use tokio::time::Instant;

/// In a box, because activations are large, and each future that hands one on moves it.
pub(super) type Answer = Result<Box<Activation>>;

/// Answers by their places, each given once and taken once.
#[derive(Debug, Default)]
pub(super) struct Answers(Slab<Place>);

#[derive(Debug)]
struct Place {
    activation: ActivationId,
    state: State,
}

#[derive(Debug)]
enum State {
    Awaited(Option<Waker>),
    Given(Answer, Instant),
    Taken,
}

impl Answers {
    /// A place for the answer of `activation`.
    pub(super) fn reserve(&mut self, activation: ActivationId) -> usize {
        self.0.insert(Place { activation, state: State::Awaited(None) })
    }

    /// Gives up a place, with the answer if it is there. Whose it was.
    pub(super) fn release(&mut self, place: usize) -> Option<ActivationId> {
        Some(self.0.try_remove(place)?.activation)
    }

    /// Gives the answer that came at `at`.
    pub(super) fn give(&mut self, place: usize, answer: Answer, at: Instant) {
        if let Some(Place { state, .. }) = self.0.get_mut(place)
            && let State::Awaited(Some(waker)) = mem::replace(state, State::Given(answer, at))
        {
            waker.wake();
        }
    }

    /// Takes the answer once it is there, with the time at which it came; there is no second one.
    pub(super) fn poll_take(&mut self, place: usize, cx: &Context<'_>) -> Poll<(Answer, Instant)> {
        let Some(Place { state, .. }) = self.0.get_mut(place) else { return Poll::Pending };
        match mem::replace(state, State::Taken) {
            State::Given(answer, at) => Poll::Ready((answer, at)),
            State::Awaited(Some(mut waker)) => {
                waker.clone_from(cx.waker());
                *state = State::Awaited(Some(waker));
                Poll::Pending
            }
            State::Awaited(None) => {
                *state = State::Awaited(Some(cx.waker().clone()));
                Poll::Pending
            }
            State::Taken => Poll::Pending,
        }
    }
}
