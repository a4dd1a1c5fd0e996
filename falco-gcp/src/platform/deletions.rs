//! Objects and tasks that nobody needs any more, until they are deleted.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Objects and tasks to delete, by function. `release` adds to them, `collect` deletes them.
#[derive(Debug, Default)]
pub(super) struct Deletions(Mutex<HashMap<String, BTreeSet<Deletion>>>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deletion {
    /// The name of an object.
    Object(String),
    /// The id of a task.
    Task(String),
}

impl Deletions {
    pub(super) fn add(&self, function: &str, deletions: impl IntoIterator<Item = Deletion>) {
        let mut all = self.lock();
        match all.get_mut(function) {
            Some(known) => known.extend(deletions),
            None => {
                all.insert(function.to_owned(), deletions.into_iter().collect());
            }
        }
    }

    /// Returns at most `n` deletions of a function. They stay until they are [`deleted`](Self::deleted).
    pub(super) fn some(&self, function: &str, n: usize) -> Vec<Deletion> {
        let all = self.lock();
        all.get(function).into_iter().flatten().take(n).cloned().collect()
    }

    pub(super) fn deleted(&self, function: &str, deletion: &Deletion) {
        if let Some(known) = self.lock().get_mut(function) {
            known.remove(deletion);
        }
    }

    /// Forgets all of a function's: it is removed with everything that it has.
    pub(super) fn forget(&self, function: &str) {
        self.lock().remove(function);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, BTreeSet<Deletion>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
