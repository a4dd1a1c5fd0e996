//! The decision of a resume about an invocation.

use std::time::{Duration, SystemTime};

use falco_core::{Attempts, Error, ErrorKind, Invocation, Outcome, Recalled, Result, StageName};

use crate::journal::{Doubt, RunJournal, is_same, other_argument};
use crate::recall::{Done, Past};
use crate::record::Verdict;

impl RunJournal {
    pub(crate) fn recalled(&self, invocation: &Invocation) -> Result<Recalled> {
        // Without its monitor: to recall a completion is not to complete it.
        let (run, stage, id) = (&self.run, invocation.stage(), invocation.id());
        let plain =
            Invocation::new(run.clone(), stage.clone(), id.clone(), invocation.payload().clone())
                .with_idempotent(invocation.is_idempotent());
        let (number, pure) = {
            let state = self.state();
            let Some(stage) = state.stages.get(stage) else { return Ok(SEND) };
            (stage.number, stage.pure.clone())
        };
        let past = match self.replay.index.is_empty() {
            true => Past::Nothing,
            false => self.replay.past(&self.reader, number, id.as_str(), plain.is_idempotent())?,
        };
        let past = self.looked_for(number, past);
        match (past, pure) {
            (Past::Nothing, Some(identity)) => self.reused(number, &identity, &plain),
            (past, _) => self.decide(number, past, &plain),
        }
    }

    /// The facts that this process has found out about the deployments of earlier ones.
    fn looked_for(&self, stage: u32, past: Past) -> Past {
        let deployment = self.replay.deployment_of.get(&stage);
        match past {
            Past::Submitted { attempt, .. } | Past::InDoubt { attempt, .. }
                if deployment.is_some_and(|name| self.state().vanished.contains(name)) =>
            {
                Past::Vanished { attempt }
            }
            past => past,
        }
    }

    fn decide(&self, number: u32, past: Past, invocation: &Invocation) -> Result<Recalled> {
        let (stage, id) = (invocation.stage(), invocation.id());
        let may_repeat = invocation.is_idempotent() || self.options.rerun_unknown;
        match past {
            Past::Nothing => Ok(SEND),
            Past::NotRun { attempt } => self.again(number, invocation, attempt, "it never ran"),
            Past::Damaged if may_repeat => {
                self.again(number, invocation, 0, "its records were damaged")
            }
            Past::Damaged => self.unknown(
                number,
                1,
                invocation,
                "records of the journal were damaged, and nobody knows whether it ran",
            ),
            Past::InDoubt { attempt, .. } if may_repeat => {
                self.again(number, invocation, attempt, "nobody knows whether it ran")
            }
            Past::InDoubt { argument, .. } if !is_same(argument, invocation) => {
                Err(other_argument(stage, id))
            }
            Past::InDoubt { attempt, call, .. } => {
                self.state().doubts.insert((number, id.clone()), Doubt { attempt, call });
                self.begins_with(number, id, attempt);
                Ok(Recalled::Settle { attempt })
            }
            Past::Submitted { attempt, argument, pending } if is_same(argument, invocation) => {
                self.begins_with(number, id, attempt);
                Ok(Recalled::Collect { attempt, pending })
            }
            Past::Submitted { attempt, .. } if invocation.is_idempotent() => self.again(
                number,
                invocation,
                attempt,
                "its argument differs from the recorded one",
            ),
            Past::Submitted { .. } => Err(other_argument(stage, id)),
            Past::Vanished { attempt } if may_repeat => self.again(
                number,
                invocation,
                attempt,
                "its function was removed before it answered",
            ),
            Past::Vanished { attempt } => self.unknown(
                number,
                attempt,
                invocation,
                "its function was removed after it was sent, and nobody knows whether it ran",
            ),
            Past::Done(done) => self.decide_done(number, *done, invocation),
        }
    }

    fn decide_done(&self, number: u32, done: Done, invocation: &Invocation) -> Result<Recalled> {
        let (attempt, verdict) = (done.record.n, done.record.o);
        let is_idempotent = invocation.is_idempotent();
        let again = |why| self.again(number, invocation, attempt, why);
        if !is_same(done.record.h, invocation) {
            return match is_idempotent || verdict == Verdict::PlatformFailed {
                true => again("its argument differs from the recorded one"),
                false => Err(other_argument(invocation.stage(), invocation.id())),
            };
        }
        match verdict {
            Verdict::PlatformFailed => return again("it never ran"),
            Verdict::FunctionFailed if is_idempotent || self.options.rerun_failed => {
                return again("it had failed");
            }
            Verdict::Unknown if is_idempotent || self.options.rerun_unknown => {
                return again("nobody knows whether it ran");
            }
            _ => {}
        }
        match done.completion(self.directory(), invocation) {
            Ok(completion) => Ok(Recalled::Done(Box::new(completion))),
            Err(error) if error.kind() == ErrorKind::NotFound && is_idempotent => {
                again("its result is missing or damaged")
            }
            Err(error) => Err(error),
        }
    }

    /// Sends an invocation that was sent before, and records why.
    fn again(
        &self,
        number: u32,
        invocation: &Invocation,
        last_attempt: u32,
        why: &'static str,
    ) -> Result<Recalled> {
        let attempt = last_attempt + 1;
        self.note(number, invocation.id(), why)?;
        self.begins_with(number, invocation.id(), attempt);
        Ok(Recalled::Send { attempt })
    }

    /// Records that nobody knows whether an invocation ran.
    fn unknown(
        &self,
        number: u32,
        attempt: u32,
        invocation: &Invocation,
        what: &str,
    ) -> Result<Recalled> {
        let error = nobody_knows(invocation.stage(), what);
        let outcome = Outcome::Unknown(error.clone());
        let attempts = Attempts::default();
        let completion =
            invocation.clone().complete(outcome, attempts, SystemTime::now(), Duration::ZERO);
        self.record_completion(number, attempt, &completion, Verdict::Unknown, None, Some(&error))?;
        Ok(Recalled::Done(Box::new(completion)))
    }

    /// The result of another run, recorded in this one, too, so that this journal is whole by itself.
    fn reused(&self, number: u32, identity: &str, invocation: &Invocation) -> Result<Recalled> {
        for other in &self.reused {
            let Some(completion) = other.completion(identity, invocation)? else { continue };
            let activation = completion.outcome.activation();
            self.record_completion(number, 1, &completion, Verdict::Succeeded, activation, None)?;
            return Ok(Recalled::Done(Box::new(completion)));
        }
        Ok(SEND)
    }
}

const SEND: Recalled = Recalled::Send { attempt: 1 };

/// The error of an invocation of which nobody knows whether it ran.
pub(crate) fn nobody_knows(stage: &StageName, what: &str) -> Error {
    Error::new(ErrorKind::Lost, format!("stage {stage:?}: {what}"))
        .with_may_have_run(true)
        .with_retryable(false)
        .with_hint("ResumeOptions::with_rerun_unknown sends it again; it may run twice then")
}
