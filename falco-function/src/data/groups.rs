//! The input of a reducer.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::bound;
use super::error::DataError;
use super::fetch::{Entry, fetch, fetch_into};
use super::runs::{Piece, merged, step};

/// The keys and values that all mappers wrote for the partitions of a call.
#[derive(Clone, Debug)]
pub struct Groups {
    entries: Vec<Entry>,
    gzip: bool,
    bound: u64,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "falco:parts")]
    parts: Parts,
}

#[derive(Deserialize)]
struct Parts {
    until: Option<u64>,
    #[serde(default)]
    gzip: bool,
    groups: Vec<Group>,
}

/// Signed URLs with what they have in common.
#[derive(Deserialize)]
struct Group {
    head: String,
    mid: String,
    tail: String,
    parts: Vec<Vec<serde_json::Value>>,
}

impl<'de> Deserialize<'de> for Groups {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Parts { until, gzip, groups } = Wire::deserialize(deserializer)?.parts;
        let mut entries = Vec::new();
        for Group { head, mid, tail, parts } in groups {
            for part in parts {
                let [name, signature, bounds @ ..] = part.as_slice() else {
                    return Err(serde::de::Error::custom("a part has a name and a signature"));
                };
                let text = |value: &serde_json::Value| value.as_str().unwrap_or("").to_owned();
                let get = format!("{head}{}{mid}{}{tail}", text(name), text(signature));
                let bounds = bounds.iter().filter_map(serde_json::Value::as_u64).collect();
                entries.push(Entry { get, until, bounds });
            }
        }
        Ok(Self { entries, gzip, bound: bound() })
    }
}

/// The bytes of all entries, in memory or in one file.
enum Fetched {
    Memory(Vec<Vec<u8>>),
    File(File, Vec<u64>),
}

impl Groups {
    /// Calls `each` with every key and value, sorted by key: the values of a key follow one another. Memory stays bounded
    /// however many there are.
    ///
    /// # Errors
    ///
    /// When an object cannot be read, a value is not a `V`, or the temporary folder is full; and what `each` returns.
    pub fn for_each<V: DeserializeOwned, E: From<DataError>>(
        &self,
        mut each: impl FnMut(&str, V) -> Result<(), E>,
    ) -> Result<(), E> {
        let fetched = self.fetched()?;
        for partition in 0..self.partitions() {
            let mut lines = merged(self.slices(&fetched, partition), self.gzip);
            while let Some(line) = lines.next().map_err(DataError::from)? {
                let (key, value) = pair(line)?;
                each(&key, value)?;
            }
        }
        Ok(())
    }

    /// Calls `each` with what each mapper wrote for each partition of the call, in the order of the mappers: bytes of the
    /// function's own, which [`Partitioned`](super::Partitioned) wrote.
    ///
    /// # Errors
    ///
    /// When an object cannot be read, or the temporary folder is full; and what `each` returns.
    pub fn for_each_part<E: From<DataError>>(
        &self,
        mut each: impl FnMut(&mut dyn Read) -> Result<(), E>,
    ) -> Result<(), E> {
        let fetched = self.fetched()?;
        for partition in 0..self.partitions() {
            for piece in self.slices(&fetched, partition) {
                each(&mut piece.reader(self.gzip))?;
            }
        }
        Ok(())
    }

    fn partitions(&self) -> usize {
        self.entries.iter().map(|it| it.bounds.len()).max().unwrap_or(1).saturating_sub(1)
    }

    fn fetched(&self) -> Result<Fetched, DataError> {
        let total: u64 = self.entries.iter().map(Entry::len).sum();
        if total <= self.bound {
            return fetch(&self.entries).map(Fetched::Memory);
        }
        let file = tempfile::tempfile().map_err(|error| DataError::temporary(&error))?;
        let starts = fetch_into(&self.entries, &file)?;
        Ok(Fetched::File(file, starts))
    }

    /// The lines of a partition, of each mapper.
    fn slices<'a>(&self, fetched: &'a Fetched, partition: usize) -> Vec<Piece<'a>> {
        let step = step(self.bound, self.entries.len());
        let slices = self.entries.iter().enumerate().filter_map(|(at, entry)| {
            let [first, .., _] = *entry.bounds else { return None };
            let [from, to] = *entry.bounds.get(partition..partition + 2)? else { return None };
            let (from, to) = (from - first, to - first);
            (from < to).then(|| match fetched {
                Fetched::Memory(data) => Piece::memory(&data[at][from as usize..to as usize]),
                Fetched::File(file, starts) => {
                    Piece::file(file, starts[at] + from, starts[at] + to, step)
                }
            })
        });
        slices.collect()
    }
}

/// The key of most lines is in them as it is.
#[derive(Deserialize)]
#[serde(bound = "V: DeserializeOwned")]
struct Pair<'a, V>(#[serde(borrow)] Cow<'a, str>, V);

/// A line that `emit` wrote.
pub(super) fn pair<V: DeserializeOwned>(line: &[u8]) -> Result<(Cow<'_, str>, V), DataError> {
    let pair = serde_json::from_slice(line).map(|Pair(key, value)| (key, value));
    pair.map_err(|error| {
        let text = String::from_utf8_lossy(line).chars().take(80).collect::<String>();
        DataError::wrong(format!("{:?} is not a key and a value: {error}", text.trim_end()))
    })
}
