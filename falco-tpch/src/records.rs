//! Records of numbers in the partitions of an exchange, and joins of them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{BufReader, Read};

use falco_function::data::{DataError, Groups, Output, Partitioned, Written};
use serde::Serialize;

use crate::failure::ScanError;

/// The result of a function that wrote partitions.
#[derive(Debug, Serialize)]
pub(crate) struct Wrote {
    /// The object.
    pub(crate) out: Written,
}

/// An output of records with `K` numbers each, which go to the partition of their first number.
#[derive(Debug)]
pub(crate) struct Records<const K: usize> {
    out: Partitioned,
    bytes: Vec<u8>,
}

impl<const K: usize> Records<K> {
    /// Begins an output.
    pub(crate) fn new(out: Output) -> Result<Self, DataError> {
        Ok(Self { out: out.partitioned()?, bytes: Vec::with_capacity(8 * K) })
    }

    /// Adds a record to the partition of `key`.
    pub(crate) fn add(&mut self, key: i64, record: [i64; K]) -> Result<(), DataError> {
        self.bytes.clear();
        self.bytes.extend(record.iter().flat_map(|number| number.to_le_bytes()));
        self.out.write(partition(key, self.out.count()), &self.bytes)
    }

    /// Writes the object.
    pub(crate) fn close(self) -> Result<Wrote, DataError> {
        Ok(Wrote { out: self.out.close()? })
    }
}

/// Spreads keys that are close to each other.
fn mixed(key: i64) -> u64 {
    (key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn partition(key: i64, count: usize) -> usize {
    // Not the bits that a map of these keys uses.
    ((mixed(key) >> 20) % count as u64) as usize
}

/// Calls `each` with every record of the call's partitions.
pub(crate) fn each_record<const K: usize>(
    parts: &Groups,
    mut each: impl FnMut([i64; K]) -> Result<(), ScanError>,
) -> Result<(), ScanError> {
    parts.for_each_part(|part| {
        let mut part = BufReader::with_capacity(1 << 16, part);
        let mut bytes = vec![0; 8 * K * 1024];
        loop {
            let filled = fill(&mut part, &mut bytes)?;
            for record in bytes[..filled].chunks_exact(8 * K) {
                let mut numbers = record
                    .chunks_exact(8)
                    .map(|number| number.try_into().map(i64::from_le_bytes).unwrap_or_default());
                each(std::array::from_fn(|_| numbers.next().unwrap_or_default()))?;
            }
            if filled % (8 * K) > 0 {
                return Err(ScanError::Content("a record of an exchange breaks off".to_owned()));
            }
            if filled < bytes.len() {
                return Ok(());
            }
        }
    })
}

/// Reads until the buffer is full or the part ends.
fn fill(part: &mut impl Read, buffer: &mut [u8]) -> Result<usize, DataError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match part.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// A map of the records of the call's partitions, with key and value as `pair` returns them.
pub(crate) fn mapped<V, const K: usize>(
    parts: &Groups,
    pair: impl Fn([i64; K]) -> (i64, V),
) -> Result<KeyMap<V>, ScanError> {
    let mut map = KeyMap::default();
    each_record(parts, |record| {
        map.extend([pair(record)]);
        Ok(())
    })?;
    Ok(map)
}

/// A map by keys of a table.
pub(crate) type KeyMap<V> = HashMap<i64, V, BuildHasherDefault<KeyHasher>>;

/// Hashes keys of tables, which nobody chooses to collide.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_i64(i64::from(*byte));
        }
    }

    fn write_i64(&mut self, key: i64) {
        // The map takes the highest and the lowest bits.
        let mixed = mixed(key ^ self.0 as i64);
        self.0 = mixed ^ (mixed >> 32);
    }
}
