//! The input of a reducer.

use std::fs::File;
use std::io::{Cursor, Read, Seek};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::bound;
use super::error::DataError;
use super::http::Readable;
use super::runs::{Slice, merged};

/// The keys and values that all mappers wrote for the partitions of a call.
#[derive(Clone, Debug)]
pub struct Groups {
    entries: Vec<Entry>,
    bound: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    get: String,
    until: Option<u64>,
    bounds: Vec<u64>,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "falco:parts")]
    parts: Parts,
}

#[derive(Deserialize)]
struct Parts {
    until: Option<u64>,
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
        let Parts { until, groups } = Wire::deserialize(deserializer)?.parts;
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
        Ok(Self { entries, bound: bound() })
    }
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
        let total: u64 = self.entries.iter().map(Entry::len).sum();
        let partitions = self.entries.iter().map(|it| it.bounds.len()).max().unwrap_or(1) - 1;
        let mut file = if total > self.bound { Some(temporary()?) } else { None };
        let (mut memory, mut starts) = (Vec::new(), Vec::new());
        for entry in &self.entries {
            let mut data = entry.fetch()?;
            match &mut file {
                None => memory.push(data),
                Some(file) => {
                    let at = file.stream_position().map_err(|error| DataError::temporary(&error));
                    starts.push(at?);
                    let copied = std::io::copy(&mut Cursor::new(&mut data), file);
                    copied.map_err(|error| DataError::temporary(&error))?;
                }
            }
        }
        for partition in 0..partitions {
            let range = |entry: &Entry| {
                let first = entry.bounds.first().copied().unwrap_or(0);
                (entry.bounds[partition] - first, entry.bounds[partition + 1] - first)
            };
            let sources: Vec<Box<dyn Read>> = match &file {
                None => self
                    .entries
                    .iter()
                    .zip(&memory)
                    .map(|(entry, data)| {
                        let (from, to) = range(entry);
                        let data: &[u8] = &data[from as usize..to as usize];
                        Box::new(Cursor::new(data)) as Box<dyn Read>
                    })
                    .collect(),
                Some(file) => self
                    .entries
                    .iter()
                    .zip(&starts)
                    .map(|(entry, start)| {
                        let (from, to) = range(entry);
                        Box::new(Slice::new(file, start + from, start + to)) as Box<dyn Read>
                    })
                    .collect(),
            };
            for line in merged(sources) {
                let line = line.map_err(DataError::from)?;
                let (key, value): (String, V) = serde_json::from_slice(&line).map_err(|error| {
                    let text = String::from_utf8_lossy(&line).chars().take(80).collect::<String>();
                    DataError::wrong(format!(
                        "{:?} is not a key and a value: {error}",
                        text.trim_end()
                    ))
                })?;
                each(&key, value)?;
            }
        }
        Ok(())
    }
}

impl Entry {
    fn len(&self) -> u64 {
        match self.bounds.as_slice() {
            [first, .., last] => last - first,
            _ => 0,
        }
    }

    fn fetch(&self) -> Result<Vec<u8>, DataError> {
        let (Some(from), Some(to)) = (self.bounds.first(), self.bounds.last()) else {
            return Ok(Vec::new());
        };
        let mut data = Vec::with_capacity(usize::try_from(to - from).unwrap_or(0));
        if from < to {
            let range = Readable::range_of(self.get.clone(), self.until, *from, *to);
            range.open()?.read_to_end(&mut data)?;
        }
        Ok(data)
    }
}

fn temporary() -> Result<File, DataError> {
    tempfile::tempfile().map_err(|error| DataError::temporary(&error))
}
