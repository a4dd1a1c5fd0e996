//! The last results of work on large contents: an executable that holds several functions is packed once for all of them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// How many results are kept: one for each form in which an executable is packed in one run.
const KEPT: usize = 8;

/// Results by the content that they were made of. The oldest goes when there is no room.
pub(crate) struct Cache<T> {
    entries: Mutex<VecDeque<Entry<T>>>,
    /// The size of all contents together that is kept, in bytes.
    room: usize,
}

/// A result, and what it was made of. Contents are compared as they are: that takes a hundredth of packing them.
struct Entry<T> {
    label: String,
    content: Bytes,
    result: T,
}

impl<T: Clone> Cache<T> {
    /// A cache that keeps contents of `room` bytes at most.
    pub(crate) const fn new(room: usize) -> Self {
        Self { entries: Mutex::new(VecDeque::new()), room }
    }

    /// The result for a content under a label: kept, or made now.
    ///
    /// # Errors
    ///
    /// As `make`; what has failed is not kept.
    pub(crate) fn get_or_make<E>(
        &self,
        label: &str,
        content: &[u8],
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        // Held while it is made, so that functions that are deployed at the same time wait for the one result.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |entry: &Entry<T>| entry.label == label && entry.content == content;
        if let Some(at) = entries.iter().position(known)
            && let Some(entry) = entries.remove(at)
        {
            let result = entry.result.clone();
            entries.push_front(entry);
            return Ok(result);
        }
        let result = make()?;
        if content.len() <= self.room {
            let (label, content) = (label.to_owned(), Bytes::copy_from_slice(content));
            entries.push_front(Entry { label, content, result: result.clone() });
            entries.truncate(KEPT);
            while entries.iter().map(|entry| entry.content.len()).sum::<usize>() > self.room {
                entries.pop_back();
            }
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
        let get = |label: &str, content: &str| {
            let make = || {
                made.set(made.get() + 1);
                Ok::<_, ()>(format!("{label} {content}"))
            };
            cache.get_or_make(label, content.as_bytes(), make).unwrap()
        };
        assert_eq!(
            (get("a", "one"), get("a", "one"), made.get()),
            ("a one".into(), "a one".into(), 1)
        );
        assert_eq!(
            (get("b", "one"), get("a", "two"), made.get()),
            ("b one".into(), "a two".into(), 3)
        );
        get("a", "one");
        assert_eq!(made.get(), 3);
        // It needs all the room, and what needs more is not kept at all.
        let (full, long) = ("x".repeat(100), "y".repeat(101));
        get("a", &full);
        get("a", &full);
        assert_eq!(made.get(), 4);
        get("a", &long);
        get("a", &long);
        get("a", &full);
        get("a", "one");
        assert_eq!(made.get(), 7);
    }

    #[test]
    fn what_has_failed_is_made_again() {
        let cache = Cache::new(100);
        assert_eq!(cache.get_or_make("a", b"b", || Err::<i32, _>("no")), Err("no"));
        assert_eq!(cache.get_or_make("a", b"b", || Ok::<_, ()>(7)), Ok(7));
    }
}
