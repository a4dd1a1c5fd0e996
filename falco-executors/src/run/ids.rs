//! The invocation ids of a stage that were there already, in little memory.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

/// Digits of a numbered id; longer numbers have no leading zero. See [`falco_core::Input::numbered`].
const NUMBERED_DIGITS: usize = 8;

/// The ids that were seen. Numbered ones are exact and cost nothing where they come in order from zero on, and a few bits each
/// where they lie close together; others cost 16 bytes, a hash of 128 bits, by which a million ids collide once in 10²⁶ runs.
#[derive(Debug)]
pub(super) struct IdSet {
    /// So many entries from zero on are full, and not kept.
    full: u64,
    /// 64 consecutive numbers an entry.
    numbered: HashMap<u64, u64>,
    others: HashSet<u128>,
    hashers: [RandomState; 2],
}

impl IdSet {
    pub(super) fn new() -> Self {
        Self {
            full: 0,
            numbered: HashMap::new(),
            others: HashSet::new(),
            hashers: [RandomState::new(), RandomState::new()],
        }
    }

    /// Adds `id`; false when it was there.
    pub(super) fn insert(&mut self, id: &str) -> bool {
        match number_of(id) {
            Some(number) => self.insert_number(number),
            None => {
                let [high, low] = self.hashers.each_ref().map(|h| u128::from(h.hash_one(id)));
                self.others.insert(high << 64 | low)
            }
        }
    }

    fn insert_number(&mut self, number: u64) -> bool {
        let entry = number / 64;
        if entry < self.full {
            return false;
        }
        let bits = self.numbered.entry(entry).or_default();
        let bit = 1 << (number % 64);
        let is_new = *bits & bit == 0;
        *bits |= bit;
        while self.numbered.get(&self.full) == Some(&u64::MAX) {
            self.numbered.remove(&self.full);
            self.full += 1;
        }
        is_new
    }
}

/// The sequence number of an id, when it is written as numbered inputs are: the same number has one spelling only.
pub(crate) fn number_of(id: &str) -> Option<u64> {
    let padded =
        id.len() == NUMBERED_DIGITS || (id.len() > NUMBERED_DIGITS && !id.starts_with('0'));
    if !padded || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    id.parse().ok()
}

#[cfg(test)]
mod tests {
    use falco_core::{Input, Payload};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbered_ids_are_distinguished_from_lookalikes() {
        for index in [0, 1, 4_096, 99_999_999, 100_000_000] {
            let id = Input::numbered(index, Payload::empty()).id;
            assert_eq!(number_of(id.as_str()), Some(index as u64));
        }
        for id in
            ["", "1", "0000001", "012345678", "+1234567", "0000000a", "99999999999999999999999"]
        {
            assert_eq!(number_of(id), None, "{id}");
        }
    }

    #[test]
    fn numbers_that_come_about_in_order_are_known_and_take_no_memory() {
        let mut set = IdSet::new();
        let id = |number: u64| format!("{number:08}");
        // Of each two the later one comes first.
        for number in (0..100_000).map(|number| number ^ 1) {
            assert!(set.insert(&id(number)), "{number}");
        }
        assert!(set.numbered.len() <= 1, "{}", set.numbered.len());
        assert!(set.insert(&id(200_000)));
        for number in [0, 63, 64, 99_999, 200_000] {
            assert!(!set.insert(&id(number)), "{number}");
        }
        assert!(set.insert(&id(100_000)));
    }

    proptest! {
        #[test]
        fn an_id_is_new_exactly_once(ids in proptest::collection::vec("[0-9]{7,9}|[a-c]{0,2}", 0..200)) {
            let (mut set, mut model) = (IdSet::new(), HashSet::new());
            for id in ids {
                prop_assert_eq!(set.insert(&id), model.insert(id.clone()), "{}", id);
            }
        }
    }
}
