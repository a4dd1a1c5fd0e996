//! The records of earlier processes about an invocation, and what follows from them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use falco_core::{
    Activation, ActivationId, Attempts, Completion, Error, ErrorKind, Invocation, Outcome, Payload,
    Pending, Result,
};

use crate::blobs;
use crate::head::{Head, head};
use crate::index::{Entry, Position, key};
use crate::line;
use crate::record::{Argument, Call, Completed, Intent, Submitted, Verdict};
use crate::replay::{Replay, Segment};
use crate::segment::{parse, unreadable};

/// The bytes that one read of a record takes; longer records take another.
const READ: usize = 2048;

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
}

/// Reads records by their positions.
#[derive(Debug)]
pub(crate) struct Reader {
    segments: Vec<Segment>,
    files: Mutex<HashMap<u16, File>>,
}

impl Reader {
    pub(crate) fn new(replay: &Replay) -> Self {
        Self { segments: replay.segments.clone(), files: Mutex::default() }
    }

    /// Calls `read` with the path and the JSON of the record at `at`.
    pub(crate) fn with<T>(
        &self,
        at: Position,
        read: impl FnOnce(&Path, u64, &[u8]) -> Result<T>,
    ) -> Result<T> {
        let byte = u64::from(at.byte);
        let path = self.segments[usize::from(at.segment)].path.as_path();
        let line = self.line(path, at).map_err(|error| unreadable(path, &error))?;
        let json = line.strip_suffix(b"\n").and_then(line::open).ok_or_else(|| {
            let message = format!(
                "the record at byte {byte} of {} has changed since it was read",
                path.display()
            );
            Error::new(ErrorKind::Other, message)
        })?;
        read(path, byte, json)
    }

    fn line(&self, path: &Path, at: Position) -> std::io::Result<Vec<u8>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match files.entry(at.segment) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => entry.insert(File::open(path)?),
        };
        file.seek(SeekFrom::Start(u64::from(at.byte)))?;
        let mut line = Vec::with_capacity(READ);
        loop {
            let seen = line.len();
            let wanted = READ.max(seen) as u64;
            let read = Read::by_ref(file).take(wanted).read_to_end(&mut line)?;
            if let Some(end) = memchr::memchr(b'\n', &line[seen..]) {
                line.truncate(seen + end + 1);
                return Ok(line);
            }
            if read == 0 {
                return Ok(line);
            }
        }
    }
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
        let entries: Vec<_> = self.index.get(key(stage, id)).collect();
        let mut done: Option<Position> = None;
        let mut open: Option<(Position, Entry)> = None;
        let mut not_run: Option<Position> = None;
        for (at, entry) in entries {
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
                            UNIX_EPOCH + Duration::from_micros(p.1),
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
                Ok(record.map_or(Past::Nothing, |record| Past::Done(Box::new(Done { record }))))
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
        let Completed { n, o, q, l, d, a, e, b, .. } = self.record;
        let activation = a.map(std::borrow::Cow::into_owned);
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
        let attempts = Attempts { made: n, cost: d };
        let requested_at = UNIX_EPOCH + Duration::from_micros(q);
        Ok(invocation.clone().complete(outcome, attempts, requested_at, Duration::from_micros(l)))
    }
}

fn with_result(mut activation: Activation, result: Payload) -> Activation {
    activation.outcome = Ok(result);
    activation
}
