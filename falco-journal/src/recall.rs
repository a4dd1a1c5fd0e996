//! The records of earlier processes about an invocation, and what follows from them.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use falco_core::{
    Activation, ActivationId, Attempts, Completion, Error, Invocation, Outcome, Payload, Pending,
    Result,
};

use crate::blobs;
use crate::head::{Head, head};
use crate::index::{Entry, Position, key};
use crate::reader::Reader;
use crate::record::{Argument, Call, Completed, Intent, Submitted, Verdict};
use crate::replay::Replay;
use crate::segment::parse;

/// The records of an invocation.
#[derive(Debug)]
pub(crate) enum Past {
    /// Nothing.
    Nothing,
    /// Its last attempt has certainly not run.
    NotRun { attempt: u32 },
    /// It was being sent when its process ended.
    InDoubt { attempt: u32, argument: Argument, call: Call },
    /// It was submitted.
    Submitted { attempt: u32, argument: Argument, pending: Pending },
    /// It was sent to a function that is not there any more.
    Vanished { attempt: u32 },
    /// Records of it may have been lost in damage.
    Damaged,
    /// It has an outcome.
    Done(Box<Done>),
}

/// The outcome of an invocation.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) record: Completed<'static>,
    /// The times in the record count from here, in microseconds since the Unix epoch.
    pub(crate) base: u64,
}

impl Replay {
    /// The records of an invocation.
    ///
    /// # Errors
    ///
    /// `Other` when a record cannot be read any more.
    pub(crate) fn past(
        &self,
        reader: &Reader,
        stage: u32,
        id: &str,
        is_idempotent: bool,
    ) -> Result<Past> {
        let mut done: Option<Position> = None;
        let mut open: Option<(Position, Entry)> = None;
        let mut not_run: Option<Position> = None;
        for (at, entry) in self.index.get(key(stage, id)) {
            match entry {
                Entry::Completed(_) => (done, open, not_run) = (Some(at), None, None),
                Entry::Intent | Entry::Submitted => open = Some((at, entry)),
                Entry::NotRun => (open, not_run) = (None, Some(at)),
            }
        }
        let same = |head: &Head<'_>| head.stage == stage && head.id == id;
        if let Some((at, entry)) = open {
            return reader.with(at, |path, byte, json| {
                if !head(json).is_some_and(|head| same(&head)) {
                    return Ok(Past::Nothing);
                }
                Ok(match entry {
                    Entry::Intent => {
                        let Intent { n: attempt, h: argument, o: call, .. } =
                            parse(path, byte, json)?;
                        match self.has_vanished(stage, at) {
                            true => Past::Vanished { attempt },
                            false => Past::InDoubt { attempt, argument, call },
                        }
                    }
                    _ => {
                        let Submitted { n: attempt, h: argument, p, .. } = parse(path, byte, json)?;
                        let pending = Pending::new(
                            ActivationId::from(p.0.into_owned()),
                            UNIX_EPOCH
                                + Duration::from_micros(reader.base(at).wrapping_add_signed(p.1)),
                        );
                        match self.has_vanished(stage, at) {
                            true => Past::Vanished { attempt },
                            false => Past::Submitted { attempt, argument, pending },
                        }
                    }
                })
            });
        }
        let past = match (done, not_run) {
            (Some(at), _) => reader.with(at, |path, byte, json| {
                let is_it = head(json).is_some_and(|head| same(&head));
                let record = is_it.then(|| parse(path, byte, json)).transpose()?;
                Ok(record.map_or(Past::Nothing, |record| {
                    Past::Done(Box::new(Done { record, base: reader.base(at) }))
                }))
            })?,
            (None, Some(at)) => reader.with(at, |_, _, json| {
                let head = head(json).filter(same);
                Ok(head.map_or(Past::Nothing, |head| Past::NotRun { attempt: head.attempt }))
            })?,
            (None, None) => Past::Nothing,
        };
        let says_nothing = matches!(past, Past::Nothing | Past::NotRun { .. });
        Ok(if !self.lost.is_empty() && says_nothing && !is_idempotent {
            Past::Damaged
        } else {
            past
        })
    }

    /// How many invocations of a stage have succeeded.
    pub(crate) fn successes_of(&self, reader: &Reader, stage: u32) -> u64 {
        let mut successes = 0;
        for group in self.index.groups() {
            let Some((at, Entry::Completed(Verdict::Succeeded))) = group.last() else { continue };
            let is_of =
                |_: &Path, _, json: &[u8]| Ok(head(json).is_some_and(|it| it.stage == stage));
            successes += u64::from(reader.with(at, is_of).unwrap_or(false));
        }
        successes
    }

    /// Whether the function that an invocation was sent to was removed afterwards.
    fn has_vanished(&self, stage: u32, sent: Position) -> bool {
        let deployment = self.deployment_of.get(&stage);
        let removed = deployment.and_then(|name| self.removed.get(name));
        removed.is_some_and(|removed| *removed > sent)
    }
}

impl Done {
    /// The completion of `invocation`, as it was recorded.
    ///
    /// # Errors
    ///
    /// `NotFound` when its result is stored beside the log and cannot be read.
    pub(crate) fn completion(self, run: &Path, invocation: &Invocation) -> Result<Completion> {
        let Self { mut record, base } = self;
        let requested_at = base.wrapping_add_signed(record.q);
        let activation = record.activation(requested_at);
        let Completed { n, o, l, d, e, b, .. } = record;
        let error = e.map(std::borrow::Cow::into_owned);
        let outcome = match (o, activation, error) {
            (Verdict::Succeeded, Some(activation), _) => {
                let activation = match b {
                    Some(hash) => with_result(activation, blobs::read(run, &hash)?),
                    None => activation,
                };
                Outcome::Succeeded(activation)
            }
            (Verdict::FunctionFailed, Some(activation), _) => Outcome::FunctionFailed(activation),
            (Verdict::PlatformFailed, _, Some(error)) => Outcome::PlatformFailed(error),
            (Verdict::Unknown, _, Some(error)) => Outcome::Unknown(error),
            _ => {
                let message = format!("the completion of {:?} holds no outcome", invocation.id());
                return Err(Error::unsupported(message));
            }
        };
        let attempts = Attempts::new(n).with_cost(d);
        let requested_at = UNIX_EPOCH + Duration::from_micros(requested_at);
        Ok(invocation.clone().complete(outcome, attempts, requested_at, Duration::from_micros(l)))
    }
}

fn with_result(mut activation: Activation, result: Payload) -> Activation {
    activation.outcome = Ok(result);
    activation
}
