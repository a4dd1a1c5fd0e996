//! All calls of a trace, in few bytes each.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use falco_core::Result;
use falco_trace::{Call, Micros, Record, RunView, read_file};

/// A call.
#[derive(Clone, Copy, Debug)]
pub(super) struct OneCall {
    pub(super) at: Micros,
    pub(super) begun: Micros,
    pub(super) sent: Micros,
    pub(super) done: Micros,
    /// Queue, cold start and execution, as far as they are known.
    pub(super) parts: [u32; 3],
    /// A hash of the invocation's id.
    pub(super) id: u64,
    /// The index of the container's name, and `u32::MAX` where it is not known.
    pub(super) container: u32,
    pub(super) stage: u16,
    pub(super) attempt: u16,
    /// 0 for a success, 1 for one after a cold start, 2 for a failure.
    pub(super) kind: u8,
}

/// A trace that was read.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) view: RunView,
    /// In the order of the file.
    pub(super) calls: Vec<OneCall>,
    pub(super) containers: Vec<String>,
    hasher: RandomState,
}

impl Collected {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let mut all = Self {
            view: RunView::default(),
            calls: Vec::new(),
            containers: Vec::new(),
            hasher: RandomState::new(),
        };
        let mut names = HashMap::new();
        read_file(path, |record| {
            all.view.apply(&record);
            if let Record::Call(call) = &record {
                all.add(call, &mut names);
            }
        })?;
        Ok(all)
    }

    /// The number that stands for an id.
    pub(super) fn hash(&self, id: &str) -> u64 {
        self.hasher.hash_one(id)
    }

    fn add(&mut self, call: &Call<'_>, names: &mut HashMap<String, u32>) {
        let stage = self.view.stages.iter().position(|stage| stage.name == call.stage);
        let container = match call.container.as_deref() {
            None => u32::MAX,
            Some(name) => match names.get(name) {
                Some(index) => *index,
                None => {
                    let index = self.containers.len() as u32;
                    self.containers.push(name.to_owned());
                    names.insert(name.to_owned(), index);
                    index
                }
            },
        };
        let micros = |time: Option<Micros>| {
            time.map_or(0, |time| u32::try_from(time.0.max(0)).unwrap_or(u32::MAX))
        };
        let kind = match crate::state::class(call.outcome, call.cold == Some(true)) {
            "w" => 0,
            "c" => 1,
            _ => 2,
        };
        self.calls.push(OneCall {
            at: call.at,
            begun: call.begun_at(),
            sent: call.sent_at(),
            done: call.done,
            parts: [micros(call.queue), micros(call.init), micros(call.ran)],
            id: self.hash(&call.invocation),
            container,
            stage: stage.and_then(|stage| u16::try_from(stage).ok()).unwrap_or_default(),
            attempt: u16::try_from(call.attempt).unwrap_or(u16::MAX),
            kind,
        });
    }
}

/// The ids of some calls, by their place in the file: the names of a million are not kept in memory.
pub(super) fn ids_of(
    path: &Path,
    calls: impl Iterator<Item = usize>,
) -> Result<HashMap<usize, String>> {
    let wanted: HashSet<usize> = calls.collect();
    let (mut ids, mut place) = (HashMap::new(), 0);
    read_file(path, |record| {
        if let Record::Call(call) = record {
            if wanted.contains(&place) {
                ids.insert(place, call.invocation.into_owned());
            }
            place += 1;
        }
    })?;
    Ok(ids)
}
