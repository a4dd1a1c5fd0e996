//! Batches that an earlier process submitted. Only those of their inputs are known that were asked for.

use std::collections::HashSet;

use falco_core::Release;

use super::Batches;

/// A batch of an earlier process.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    asked: HashSet<usize>,
    released: HashSet<usize>,
    /// Whether the platform has said what became of it.
    is_over: bool,
    /// How many inputs it has, once its result says so.
    inputs: Option<usize>,
    is_abandoned: bool,
}

impl Earlier {
    /// Takes note that somebody asks for an input.
    pub(super) fn ask(&mut self, index: usize) {
        self.asked.insert(index);
    }

    /// Takes note that the platform has said what became of it, with so many answers where it ran to its end.
    pub(super) fn end(&mut self, answers: Option<usize>) {
        self.is_over = true;
        self.inputs = answers.or(self.inputs);
    }

    /// Takes note that nobody waits for an input any more.
    pub(super) fn let_go(&mut self, index: usize, release: Release) {
        self.released.insert(index);
        self.is_abandoned |= release == Release::Abandoned;
    }

    /// How the batch is released now, if it is.
    ///
    /// The provider may delete the result then. So that waits while inputs may follow that are in the batch, too: until all of
    /// them were released, or until `is_last` says that no further input is asked for. One that does not answer is given up
    /// with the inputs that were asked for, so that layers do not count it as in flight.
    pub(super) fn release(&self, is_last: bool) -> Option<Release> {
        if !self.asked.is_subset(&self.released) {
            return None;
        }
        let is_whole = self.inputs.is_some_and(|inputs| self.released.len() >= inputs);
        match self.is_abandoned {
            true if is_whole || is_last || !self.is_over => Some(Release::Abandoned),
            false if is_whole || is_last => Some(Release::Taken),
            _ => None,
        }
    }
}

impl Batches {
    /// Lets go of the batches of earlier processes whose inputs are all released. No further input is asked for.
    pub(in crate::strategy) fn let_go_of_earlier(&self) {
        let earlier = std::mem::take(&mut self.lock().earlier);
        for (batch, earlier) in earlier {
            if let Some(release) = earlier.release(true) {
                self.platform.release(&self.deployment, std::slice::from_ref(&batch), release);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch with these inputs asked for and these let go of.
    fn earlier(asked: &[usize], released: &[(usize, Release)]) -> Earlier {
        let mut earlier = Earlier::default();
        asked.iter().for_each(|index| earlier.ask(*index));
        released.iter().for_each(|(index, release)| earlier.let_go(*index, *release));
        earlier
    }

    #[test]
    fn a_result_is_let_go_of_once_no_further_input_can_be_asked_for() {
        use Release::{Abandoned, Taken};
        for (release, other) in [(Taken, Taken), (Abandoned, Taken), (Abandoned, Abandoned)] {
            let mut one_of_two = earlier(&[0], &[(0, release)]);
            one_of_two.end(Some(2));
            assert_eq!(one_of_two.release(false), None, "the other one may follow");
            assert_eq!(one_of_two.release(true), Some(release));
            one_of_two.ask(1);
            assert_eq!(one_of_two.release(true), None, "somebody waits for the other one");
            one_of_two.let_go(1, other);
            assert_eq!(one_of_two.release(false), Some(release));
        }
    }

    #[test]
    fn a_batch_that_does_not_answer_is_given_up_with_those_who_asked_for_it() {
        let mut silent = earlier(&[0, 1], &[(0, Release::Abandoned)]);
        assert_eq!(silent.release(true), None);
        silent.let_go(1, Release::Abandoned);
        assert_eq!(silent.release(false), Some(Release::Abandoned));
        silent.end(None);
        assert_eq!(silent.release(false), None, "another input of it may hear the same");
    }
}
