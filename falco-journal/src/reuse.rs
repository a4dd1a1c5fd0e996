//! The results of another run, for stages whose results follow from function and argument alone.

use std::path::{Path, PathBuf};

use falco_core::{Activation, Completion, Invocation, Outcome, Result};

use crate::head::{head, kind_of};
use crate::index::{Entry, Index, Position, hash_of};
use crate::reader::Reader;
use crate::recall::Done;
use crate::record::{Argument, Completed, Verdict, kind};
use crate::replay::{Keep, Replay, replay};
use crate::segment::{self, Claims, parse};

/// The begin of a reference to an object of a store, as the data plane writes it: the object lives no longer than its run.
const REFERENCE: &str = "\"falco:";

/// The results of another run, by function and argument.
#[derive(Debug)]
pub(crate) struct Reused {
    directory: PathBuf,
    reader: Reader,
    results: Index,
}

impl Reused {
    /// Reads the journal of a run, which may still be written to.
    ///
    /// # Errors
    ///
    /// As for a resume.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let replay = replay(directory, Keep::Places)?;
        let mut results = Index::default();
        for (place, segment) in replay.segments.iter().enumerate() {
            let lost = replay.lost.iter().filter(|(number, ..)| *number == segment.number);
            let claims = Claims {
                length: Some(segment.length),
                lost: lost.map(|(_, from, to)| (*from, *to)).collect(),
            };
            let read = segment::read(segment.number, &segment.path, &claims, |at, json| {
                let position = Position { segment: place as u16, byte: at as u32 };
                if let Some(key) = key_of(&replay, &segment.path, at, json)? {
                    results.add(key, position, Entry::Completed(Verdict::Succeeded));
                }
                Ok(())
            })?;
            read.map_err(|damage| damage.error())?;
        }
        results.settle();
        Ok(Self { directory: directory.to_owned(), reader: Reader::new(&replay), results })
    }

    /// The completion of `invocation`, of a function with this identity, if the run has its result.
    pub(crate) fn completion(
        &self,
        identity: &str,
        invocation: &Invocation,
    ) -> Result<Option<Completion>> {
        let argument = Argument::of(invocation.payload());
        let Some((at, _)) = self.results.get(key_for(identity, argument)).last() else {
            return Ok(None);
        };
        let record: Completed<'static> = self.reader.with(at, parse)?;
        if record.h != argument {
            return Ok(None);
        }
        // A result that is missing beside the log is computed again, and so is one that refers to objects.
        let completion = Done { record, base: self.reader.base(at) };
        let completion = completion.completion(&self.directory, invocation).ok();
        let completion =
            completion.filter(|it| it.result().is_some_and(|it| !it.as_str().contains(REFERENCE)));
        Ok(completion.map(without_expenses))
    }
}

/// The completion without the provider's times and costs: the other run has paid them.
fn without_expenses(mut completion: Completion) -> Completion {
    completion.cost = None;
    if let Outcome::Succeeded(activation) = &mut completion.outcome {
        *activation = Activation::new(activation.id.clone(), activation.outcome.clone());
    }
    completion
}

/// The key of a record, if it is a success.
fn key_of(replay: &Replay, path: &Path, at: u64, json: &[u8]) -> Result<Option<u128>> {
    if kind_of(json) != Some(kind::COMPLETED) {
        return Ok(None);
    }
    let Some(head) = head(json).filter(|head| head.verdict == Verdict::Succeeded) else {
        return Ok(None);
    };
    let planned = replay.plan.iter().flat_map(|plan| &plan.stages);
    let Some(stage) = planned.into_iter().find(|stage| stage.s == head.stage) else {
        return Ok(None);
    };
    let Completed { h, .. } = parse(path, at, json)?;
    Ok(Some(key_for(&stage.function.identity(), h)))
}

/// The key of a function, by its identity, and an argument.
fn key_for(identity: &str, argument: Argument) -> u128 {
    hash_of(&(identity, argument), &argument.0)
}
