//! Where the records of each invocation are: 16 bytes a record, sorted.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::record::Verdict;

/// Bits of the hash of stage and id, of the position, and of the kind.
const HASH: u32 = 128 - POSITION - KIND;
const POSITION: u32 = 48;
const KIND: u32 = 4;

/// New entries are sorted in when there are so many, at least.
const UNSORTED: usize = 128 * 1024;

/// The kinds of records that an invocation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Intent,
    NotRun,
    Submitted,
    Completed(Verdict),
}

impl Entry {
    fn code(self) -> u8 {
        match self {
            Self::Intent => 0,
            Self::NotRun => 1,
            Self::Submitted => 2,
            Self::Completed(Verdict::Succeeded) => 3,
            Self::Completed(Verdict::FunctionFailed) => 4,
            Self::Completed(Verdict::PlatformFailed) => 5,
            Self::Completed(Verdict::Unknown) => 6,
        }
    }

    fn of(code: u8) -> Self {
        match code {
            0 => Self::Intent,
            1 => Self::NotRun,
            2 => Self::Submitted,
            3 => Self::Completed(Verdict::Succeeded),
            4 => Self::Completed(Verdict::FunctionFailed),
            5 => Self::Completed(Verdict::PlatformFailed),
            _ => Self::Completed(Verdict::Unknown),
        }
    }
}

/// A place in the log: the number of the segment in the list of segments, and the byte in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) segment: u16,
    pub(crate) byte: u32,
}

impl Position {
    pub(crate) fn pack(self) -> u64 {
        u64::from(self.segment) << 32 | u64::from(self.byte)
    }

    fn unpack(packed: u64) -> Self {
        Self { segment: (packed >> 32) as u16, byte: packed as u32 }
    }
}

/// A key of 76 bits: two of a million invocations share one once in 10¹¹ runs.
pub(crate) fn key(stage: u32, id: &str) -> u128 {
    // A second hash of another kind is cheaper than a longer one of the same kind.
    keyed(&(stage, id), crc32c::crc32c(id.as_bytes()))
}

/// A key for anything that is looked up like an invocation.
pub(crate) fn hash_of(value: &(impl Hash + ?Sized), text: &[u8]) -> u128 {
    keyed(value, crc32c::crc32c(text))
}

fn keyed(value: &(impl Hash + ?Sized), other: u32) -> u128 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    u128::from(hasher.finish()) << (HASH - 64) | u128::from(other & ((1 << (HASH - 64)) - 1))
}

/// Where the records of each invocation are. Records before an invocation's last completion are dropped.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: Vec<u128>,
    sorted: usize,
}

impl Index {
    pub(crate) fn add(&mut self, key: u128, position: Position, entry: Entry) {
        let packed = u128::from(position.pack()) << KIND | u128::from(entry.code());
        let room = UNSORTED.max(self.sorted / 8);
        if self.entries.len() == self.entries.capacity() {
            // Doubling would hold three times the memory for a moment.
            self.entries.reserve_exact(room + 1);
        }
        self.entries.push(key << (POSITION + KIND) | packed);
        if self.entries.len() - self.sorted > room {
            self.settle();
        }
    }

    /// Sorts in what is new.
    pub(crate) fn settle(&mut self) {
        let new = &mut self.entries[self.sorted..];
        new.sort_unstable();
        let kept = without_superseded(new);
        self.entries.truncate(self.sorted + kept);
        self.merge();
        self.sorted = without_superseded(&mut self.entries);
        self.entries.truncate(self.sorted);
    }

    /// Merges the new entries, which are sorted among themselves, into the old ones: from the end, so that each moves once.
    fn merge(&mut self) {
        let Some(last) = self.sorted.checked_sub(1) else { return };
        let entries = &mut self.entries;
        if entries.get(self.sorted).is_none_or(|first| *first > entries[last]) {
            return;
        }
        let new = entries[self.sorted..].to_vec();
        let (mut old, mut place) = (self.sorted, entries.len());
        for entry in new.into_iter().rev() {
            while old > 0 && entries[old - 1] > entry {
                (old, place) = (old - 1, place - 1);
                entries[place] = entries[old];
            }
            place -= 1;
            entries[place] = entry;
        }
    }

    /// The records of an invocation since its last completion, that included, in the order of the log.
    ///
    /// It has to be [settled](Self::settle).
    pub(crate) fn get(&self, key: u128) -> impl Iterator<Item = (Position, Entry)> {
        let from = self.first_of(key);
        let group =
            self.entries[from..].iter().take_while(move |it| **it >> (POSITION + KIND) == key);
        group.map(|it| (position_of(*it), entry_of(*it)))
    }

    /// Where the entries of a key begin, or would.
    ///
    /// Keys are hashes, spread evenly: the place is guessed, and found in the neighbourhood, which is a few cache lines of the
    /// index instead of one at each step through all of it.
    fn first_of(&self, key: u128) -> usize {
        let (entries, length) = (&self.entries, self.entries.len());
        let is_before = |it: &u128| *it >> (POSITION + KIND) < key;
        let share = (key >> (HASH - 32)) as u64;
        let guess = ((share * length as u64) >> 32) as usize;
        let mut reach = length.isqrt() + 1;
        loop {
            let (from, to) = (guess.saturating_sub(reach), (guess + reach).min(length));
            let begins_before = from == 0 || is_before(&entries[from - 1]);
            let ends_after = to == length || !is_before(&entries[to]);
            if begins_before && ends_after {
                return from + entries[from..to].partition_point(is_before);
            }
            reach *= 4;
        }
    }

    /// The records of each invocation.
    pub(crate) fn groups(&self) -> impl Iterator<Item = impl Iterator<Item = (Position, Entry)>> {
        let same =
            |left: &u128, right: &u128| left >> (POSITION + KIND) == right >> (POSITION + KIND);
        let groups = self.entries.chunk_by(same);
        groups.map(|group| group.iter().map(|it| (position_of(*it), entry_of(*it))))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Drops the records before each invocation's last completion, and returns how many entries are left.
fn without_superseded(entries: &mut [u128]) -> usize {
    let (mut kept, mut at) = (0, 0);
    while let Some(first) = entries.get(at).copied() {
        let is_same = |it: &&u128| (**it ^ first) >> (POSITION + KIND) == 0;
        if entries.get(at + 1).filter(is_same).is_none() {
            // Nearly all invocations have one entry.
            entries[kept] = first;
            (kept, at) = (kept + 1, at + 1);
            continue;
        }
        let (mut from, mut end) = (at, at);
        while let Some(entry) = entries.get(end).filter(is_same) {
            if matches!(entry_of(*entry), Entry::Completed(_)) {
                from = end;
            }
            end += 1;
        }
        entries.copy_within(from..end, kept);
        kept += end - from;
        at = end;
    }
    kept
}

fn position_of(entry: u128) -> Position {
    Position::unpack((entry >> KIND) as u64 & ((1 << POSITION) - 1))
}

fn entry_of(entry: u128) -> Entry {
    Entry::of(entry as u8 & ((1 << KIND) - 1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_index_finds_what_a_map_finds(records in proptest::collection::vec((0u8..20, 0u8..7), 0..300)) {
            let (mut index, mut map) = (Index::default(), BTreeMap::<u8, Vec<_>>::new());
            for (at, (id, code)) in records.into_iter().enumerate() {
                let position = Position { segment: 1, byte: at as u32 };
                let entry = Entry::of(code);
                index.add(key(3, &id.to_string()), position, entry);
                let group = map.entry(id).or_default();
                if matches!(entry, Entry::Completed(_)) {
                    group.clear();
                }
                group.push((position, entry));
                if at % 50 == 0 {
                    index.settle();
                }
            }
            index.settle();
            for id in 0u8..20 {
                let found: Vec<_> = index.get(key(3, &id.to_string())).collect();
                prop_assert_eq!(found, map.remove(&id).unwrap_or_default());
            }
        }
    }
}
