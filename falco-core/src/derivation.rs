//! How the invocations of one stage follow from the completions of others.

use std::fmt::Debug;

use crate::capabilities::Capabilities;
use crate::completion::Completion;
use crate::error::Result;
use crate::id::StageName;
use crate::input::Input;

/// How a stage's inputs follow from what its upstream stages completed: the recipe, shared by all runs.
///
/// # For implementers
///
/// Ids and payloads must depend on upstream ids and results only, never on the order of arrival: results are
/// then reproducible, and a run can be resumed. The built-in derivations keep to these rules, and so should others:
/// one to one keeps the parent's id; fan-out appends `.k`; barriers sort by id; chunks go by sequence number; with
/// several upstream stages the id is prefixed by the stage.
pub trait Derivation: Debug + Send + Sync + 'static {
    /// Begins to derive the inputs of one stage in one run.
    ///
    /// # Errors
    ///
    /// When the recipe does not fit the stage, such as a join with one upstream stage.
    fn start(&self, context: DerivationContext) -> Result<Box<dyn Deriver>>;

    /// Whether all inputs are made by [`Deriver::finish`]. Such a stage does not wait any longer once a stage upstream has
    /// failed, and what feeds only such stages is stopped.
    fn is_barrier(&self) -> bool {
        false
    }

    /// Whether it looks into the results upstream. One that only hands them on says false: results that were too long for
    /// the platform then stay where a layer keeps them, and are not fetched for it.
    fn reads_results(&self) -> bool {
        true
    }
}

/// A derivation at work in one run. It sees each successful completion of the upstream stages once.
///
/// Where it answers decides how stages overlap: inputs returned by [`on_completion`](Self::on_completion) start at once (one to one,
/// fan-out), those returned by [`finish`](Self::finish) wait for all (fan-in, shuffle).
pub trait Deriver: Send {
    /// Takes a completion that succeeded; returns the inputs that follow from it now.
    ///
    /// # Errors
    ///
    /// An error fails the stage: a result of the wrong shape, or an input over the platform's limit.
    fn on_completion(&mut self, completion: &Completion) -> Result<Vec<Input>>;

    /// Called once, after all upstream stages have succeeded; returns the inputs that are left.
    ///
    /// # Errors
    ///
    /// As [`on_completion`](Self::on_completion).
    fn finish(&mut self) -> Result<Vec<Input>>;
}

/// The facts that a derivation may know of the stage that it works for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DerivationContext {
    /// The stage whose inputs are derived.
    pub stage: StageName,
    /// The stages that it follows.
    pub upstream: Vec<StageName>,
    /// The platform's limits: an input over them has to be an error that names stage, group and limit. `submit` is
    /// false also where the strategy does not submit.
    pub capabilities: Capabilities,
}

impl DerivationContext {
    /// The context of `stage`, which follows `upstream`.
    pub fn new(stage: StageName, upstream: Vec<StageName>, capabilities: Capabilities) -> Self {
        Self { stage, upstream, capabilities }
    }

    /// The longest input that the platform takes, by invoking and, where the strategy submits, by submitting: it may
    /// fall back to invoking.
    pub fn max_payload(&self) -> Option<u64> {
        let submit = self.capabilities.max_submit_payload.filter(|_| self.capabilities.submit);
        [self.capabilities.max_payload, submit].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_submitting_counts_only_where_invocations_are_submitted() {
        for (submit, expected) in [(true, 100), (false, 600)] {
            let capabilities = Capabilities {
                submit,
                max_payload: Some(600),
                max_submit_payload: Some(100),
                ..Capabilities::default()
            };
            let context = DerivationContext::new("stage".into(), vec![], capabilities);
            assert_eq!(context.max_payload(), Some(expected));
        }
    }
}
