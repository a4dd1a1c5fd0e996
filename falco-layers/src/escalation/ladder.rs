//! The sizes that a function may grow to, and the one that its invocations begin with.

use std::time::Duration;

use falco_core::{Activation, Error, FunctionErrorKind, Result, Scaling};

/// How many invocations have to be over before later ones begin with a larger size.
const ENOUGH: u64 = 4;

/// The sizes that a function may grow to: memory for those of its invocations that need more, and time likewise.
///
/// # Examples
///
/// ```
/// use falco_layers::Ladder;
/// use std::time::Duration;
///
/// let ladder = Ladder::memory([512, 1024, 2048])?
///     .with_timeouts([Duration::from_secs(60), Duration::from_secs(900)])?;
/// assert!(Ladder::memory([1024, 512]).is_err());
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ladder {
    memory_mib: Vec<u32>,
    timeouts: Vec<Duration>,
    takes_crashes: bool,
}

impl Ladder {
    /// Amounts of memory, in MiB, each for invocations that ran out of the one before.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for no amounts, for zero, and for amounts that do not ascend.
    pub fn memory(memory_mib: impl IntoIterator<Item = u32>) -> Result<Self> {
        Self::default().with_memory(memory_mib)
    }

    /// Timeouts, each for invocations that took longer than the one before.
    ///
    /// # Errors
    ///
    /// As [`memory`](Self::memory).
    pub fn timeouts(timeouts: impl IntoIterator<Item = Duration>) -> Result<Self> {
        Self::default().with_timeouts(timeouts)
    }

    /// Sets the amounts of memory.
    ///
    /// # Errors
    ///
    /// As [`memory`](Self::memory).
    pub fn with_memory(mut self, memory_mib: impl IntoIterator<Item = u32>) -> Result<Self> {
        self.memory_mib = memory_mib.into_iter().collect();
        check("memory", &self.memory_mib, 0)?;
        Ok(self)
    }

    /// Sets the timeouts.
    ///
    /// # Errors
    ///
    /// As [`memory`](Self::memory).
    pub fn with_timeouts(mut self, timeouts: impl IntoIterator<Item = Duration>) -> Result<Self> {
        self.timeouts = timeouts.into_iter().collect();
        check("timeouts", &self.timeouts, Duration::ZERO)?;
        Ok(self)
    }

    /// Takes a process that died for one that ran out of memory: Google, and OpenWhisk in part, do not say why it died.
    #[must_use]
    pub fn with_crashes(mut self) -> Self {
        self.takes_crashes = true;
        self
    }

    /// The size of a function that asks for none: the first step of each kind.
    pub(super) fn first(&self, scaling: &Scaling) -> Scaling {
        let first = Scaling::default()
            .with_memory_mib(self.memory_mib.first().copied())
            .with_timeout(self.timeouts.first().copied());
        first.overridden_by(scaling)
    }

    /// The steps of a function of this size: only those above it.
    pub(super) fn above(&self, size: &Scaling) -> Self {
        let memory = |mib: &&u32| size.memory_mib.is_none_or(|own| **mib > own);
        let timeout = |time: &&Duration| size.timeout.is_none_or(|own| **time > own);
        Self {
            memory_mib: self.memory_mib.iter().filter(memory).copied().collect(),
            timeouts: self.timeouts.iter().filter(timeout).copied().collect(),
            takes_crashes: self.takes_crashes,
        }
    }

    /// The step that follows a failure; none where the failure is of another kind, or this is the last one.
    pub(super) fn after(&self, step: Step, failure: FunctionErrorKind) -> Option<Step> {
        let failure = match failure {
            FunctionErrorKind::Crashed if self.takes_crashes => FunctionErrorKind::OutOfMemory,
            failure => failure,
        };
        let next = match failure {
            FunctionErrorKind::OutOfMemory => Step { memory: step.memory + 1, ..step },
            FunctionErrorKind::Timeout => Step { timeout: step.timeout + 1, ..step },
            _ => return None,
        };
        let is_there = next.memory <= self.memory_mib.len() && next.timeout <= self.timeouts.len();
        is_there.then_some(next)
    }

    /// The size of a step, made of the function's own.
    pub(super) fn size(&self, step: Step) -> Scaling {
        let memory = step.memory.checked_sub(1).and_then(|at| self.memory_mib.get(at));
        let timeout = step.timeout.checked_sub(1).and_then(|at| self.timeouts.get(at));
        Scaling::default().with_memory_mib(memory.copied()).with_timeout(timeout.copied())
    }

    /// All steps but the function's own size.
    pub(super) fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        let timeouts = 0..=self.timeouts.len();
        (0..=self.memory_mib.len())
            .flat_map(move |memory| timeouts.clone().map(move |timeout| Step { memory, timeout }))
            .filter(|step| *step != Step::default())
    }

    /// The smallest step in which an activation that ended in `step` would have had enough memory.
    fn needed(&self, own: &Scaling, step: Step, activation: &Activation) -> Step {
        let Some(used) = activation.memory_used_bytes else { return step };
        let fits = |at: usize| {
            let mib = self.size(Step { memory: at, timeout: 0 }).memory_mib.or(own.memory_mib);
            mib.is_some_and(|mib| used < u64::from(mib) * 1024 * 1024)
        };
        Step { memory: (0..step.memory).find(|at| fits(*at)).unwrap_or(step.memory), ..step }
    }
}

fn check<T: PartialOrd + std::fmt::Debug>(what: &str, steps: &[T], zero: T) -> Result<()> {
    let invalid = |why: &str| {
        Err(Error::invalid_input(format!("invalid ladder of {what} {steps:?}: {why}"))
            .with_hint("name one or more steps, each larger than the one before"))
    };
    match steps {
        [] => invalid("it is empty"),
        [first, ..] if *first <= zero => invalid("a step is zero"),
        _ if !steps.is_sorted_by(|one, next| one < next) => invalid("the steps do not ascend"),
        _ => Ok(()),
    }
}

/// A size: how many steps above the function's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Step {
    pub(super) memory: usize,
    pub(super) timeout: usize,
}

/// How many invocations of a stage have needed each step, of memory and of time.
#[derive(Debug, Default)]
pub(super) struct Needs {
    memory: Vec<u64>,
    timeout: Vec<u64>,
}

impl Needs {
    /// Notes an invocation that is over.
    pub(super) fn note(&mut self, ladder: &Ladder, own: &Scaling, step: Step, it: &Activation) {
        let needed = ladder.needed(own, step, it);
        for (counts, at) in [(&mut self.memory, needed.memory), (&mut self.timeout, needed.timeout)]
        {
            if counts.len() <= at {
                counts.resize(at + 1, 0);
            }
            counts[at] += 1;
        }
    }

    /// The size to begin with: what most invocations needed, the smaller one of two halves.
    pub(super) fn start(&self) -> Step {
        let middle = |counts: &[u64]| {
            let all: u64 = counts.iter().sum();
            if all < ENOUGH {
                return 0;
            }
            let mut so_far = 0;
            let reaches_half = |count: &u64| {
                so_far += count;
                so_far * 2 >= all
            };
            counts.iter().position(reaches_half).unwrap_or_default()
        };
        Step { memory: middle(&self.memory), timeout: middle(&self.timeout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use falco_core::Payload;

    fn step(memory: usize, timeout: usize) -> Step {
        Step { memory, timeout }
    }

    #[test]
    fn a_ladder_that_does_not_ascend_is_refused_with_its_steps() {
        for wrong in [vec![], vec![0, 512], vec![1024, 512], vec![512, 512]] {
            let error = Ladder::memory(wrong.clone()).unwrap_err().to_string();
            assert!(error.contains(&format!("{wrong:?}")), "{error}");
        }
        assert!(Ladder::timeouts([Duration::ZERO]).is_err());
    }

    #[test]
    fn steps_lie_above_the_functions_own_size_and_end() {
        let ladder = Ladder::memory([512, 1024]).unwrap();
        let own = Scaling::default().with_memory_mib(512);
        let ladder = ladder.above(&own);
        let out = FunctionErrorKind::OutOfMemory;
        assert_eq!(ladder.after(step(0, 0), out), Some(step(1, 0)));
        assert_eq!(ladder.size(step(1, 0)).memory_mib, Some(1024));
        assert_eq!(ladder.after(step(1, 0), out), None);
        assert_eq!(ladder.after(step(0, 0), FunctionErrorKind::Timeout), None);
        assert_eq!(ladder.after(step(0, 0), FunctionErrorKind::Raised), None);
        assert_eq!(ladder.steps().collect::<Vec<_>>(), [step(1, 0)]);
        assert_eq!(ladder.first(&Scaling::default()).memory_mib, Some(1024));
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let times = Ladder::timeouts([minutes(1), minutes(15)]).unwrap();
        let times = times.above(&Scaling::default().with_timeout(minutes(1)));
        assert_eq!(times.size(step(0, 1)).timeout, Some(minutes(15)));
        let crash = FunctionErrorKind::Crashed;
        assert_eq!(ladder.after(step(0, 0), crash), None);
        assert_eq!(ladder.with_crashes().after(step(0, 0), crash), Some(step(1, 0)));
    }

    #[test]
    fn a_stage_begins_with_what_most_of_it_needed() {
        let ladder = Ladder::memory([512, 1024]).unwrap();
        let own = Scaling::default().with_memory_mib(256);
        let mut needs = Needs::default();
        let mut activation = Activation::succeeded("a", Payload::empty());
        for (size, start) in [(2, 0), (2, 0), (0, 0), (2, 2), (0, 2), (0, 0)] {
            needs.note(&ladder, &own, step(size, 0), &activation);
            assert_eq!(needs.start(), step(start, 0));
        }
        // It ran in the largest size, and did not need it.
        activation.memory_used_bytes = Some(300 << 20);
        assert_eq!(ladder.needed(&own, step(2, 0), &activation), step(1, 0));
        activation.memory_used_bytes = Some(256 << 20);
        assert_eq!(ladder.needed(&own, step(2, 0), &activation), step(1, 0));
    }
}
