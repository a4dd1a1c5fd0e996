//! A hash of identifiers that takes a few nanoseconds.

use std::hash::{BuildHasher, Hasher, RandomState};

/// An odd number with no pattern in its bits: the fraction of the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Builds hashers with a seed that differs in each run of a program, so that nobody can choose ids that collide.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seeded(u64);

impl Default for Seeded {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0_u8))
    }
}

impl BuildHasher for Seeded {
    type Hasher = Folding;

    fn build_hasher(&self) -> Folding {
        Folding(self.0)
    }
}

/// Folds eight bytes at a time, by a multiplication of which both halves are kept.
#[derive(Debug)]
pub(super) struct Folding(u64);

impl Folding {
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(FACTOR);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.fold(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        // Ids of eight characters are usual.
        if !rest.is_empty() {
            last[..rest.len()].copy_from_slice(rest);
        }
        self.fold(u64::from_le_bytes(last) ^ (bytes.len() as u64).rotate_left(56));
    }

    fn write_u8(&mut self, byte: u8) {
        // The end of a text, which its length marks already.
        self.0 ^= u64::from(byte);
    }

    fn finish(&self) -> u64 {
        let product = u128::from(self.0) * u128::from(FACTOR);
        (product as u64) ^ ((product >> 64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_that_count_up_spread_over_all_places() {
        let seeded = Seeded::default();
        let hashes: Vec<u64> = (0..20_000).map(|n| seeded.hash_one(format!("{n:08}"))).collect();
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());
        for shift in [0, 32, 57] {
            let mut places = [0_u32; 64];
            hashes.iter().for_each(|hash| places[(hash >> shift) as usize % 64] += 1);
            let (least, most) = (places.iter().min().unwrap(), places.iter().max().unwrap());
            assert!(*least > 150 && *most < 500, "shift {shift}: {least} to {most}");
        }
    }

    #[test]
    fn texts_that_differ_in_zeros_at_the_end_differ() {
        let seeded = Seeded::default();
        assert_ne!(seeded.hash_one("a"), seeded.hash_one("a\0"));
        assert_ne!(seeded.hash_one(""), seeded.hash_one("\0\0\0\0\0\0\0\0"));
    }
}
