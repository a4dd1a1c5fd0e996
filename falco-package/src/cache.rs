//! The last results of work on large files: an executable that holds several functions is packed once for all of them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// How many results are kept: one for each form in which an executable is packed in one run.
const KEPT: usize = 8;

/// Results by the content that they were made of. The oldest goes when there is no room.
pub(crate) struct Cache<T> {
    entries: Mutex<VecDeque<(Key, T)>>,
    /// The size of all results together that is kept, in bytes.
    room: usize,
}

/// The digest of a content.
pub(crate) type Key = [u8; 32];

/// The digest of these parts, one after the other.
pub(crate) fn key(parts: &[&[u8]]) -> Key {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

impl<T: Clone> Cache<T> {
    /// A cache that keeps `room` bytes at most.
    pub(crate) const fn new(room: usize) -> Self {
        Self { entries: Mutex::new(VecDeque::new()), room }
    }

    /// The result for a key: kept, or made now.
    ///
    /// # Errors
    ///
    /// As `make`; what has failed is not kept.
    pub(crate) fn get_or_make<E>(
        &self,
        key: Key,
        size: impl Fn(&T) -> usize,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        // Held while it is made, so that functions that are deployed at the same time wait for the one result.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = entries.iter().position(|(known, _)| *known == key)
            && let Some(entry) = entries.remove(at)
        {
            let result = entry.1.clone();
            entries.push_front(entry);
            return Ok(result);
        }
        let result = make()?;
        entries.push_front((key, result.clone()));
        entries.truncate(KEPT);
        while entries.iter().map(|(_, result)| size(result)).sum::<usize>() > self.room {
            entries.pop_back();
        }
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_result_is_made_once_and_kept_while_there_is_room() {
        let cache = Cache::new(100);
        let made = Cell::new(0);
        let get = |name: &str| {
            let make = || {
                made.set(made.get() + 1);
                Ok::<_, ()>(name.to_owned())
            };
            cache.get_or_make(key(&[name.as_bytes()]), String::len, make).unwrap()
        };
        assert_eq!((get("one"), get("one"), made.get()), ("one".into(), "one".into(), 1));
        get("two");
        get("one");
        assert_eq!(made.get(), 2);
        // It needs all the room, and what needs more is not kept at all.
        let (full, long) = ("x".repeat(100), "y".repeat(101));
        get(&full);
        get(&full);
        assert_eq!(made.get(), 3);
        get(&long);
        get(&long);
        get("one");
        assert_eq!(made.get(), 6);
    }

    #[test]
    fn what_has_failed_is_made_again() {
        let cache = Cache::new(100);
        assert_eq!(cache.get_or_make(key(&[b"a"]), |_| 1, || Err::<i32, _>("no")), Err("no"));
        assert_eq!(cache.get_or_make(key(&[b"a"]), |_| 1, || Ok::<_, ()>(7)), Ok(7));
    }

    #[test]
    fn contents_that_are_cut_elsewhere_differ() {
        assert_ne!(key(&[b"ab", b"c"]), key(&[b"a", b"bc"]));
    }
}
