//! Values of a key folded into one before they are written.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::mem::{needs_drop, take};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::body::{Runs, Written};
use super::error::DataError;
use super::groups::pair;
use super::http::Writable;
use super::runs::{Bucket, line, merged, partition, step};

type Fold<V> = Box<dyn FnMut(V, V) -> V + Send>;

/// An output that holds one value for each key; see [`Output::combine`](super::Output::combine).
pub struct Combined<V> {
    target: Writable,
    bound: u64,
    held: u64,
    fold: Fold<V>,
    /// A value is missing only while it is folded.
    values: Vec<HashMap<String, Option<V>>>,
    runs: Runs,
}

impl<V: Serialize + DeserializeOwned> Combined<V> {
    pub(super) fn new(
        target: Writable,
        bound: u64,
        partitions: usize,
        fold: impl FnMut(V, V) -> V + Send + 'static,
    ) -> Self {
        let values = (0..partitions).map(|_| HashMap::new()).collect();
        Self { target, bound, held: 0, fold: Box::new(fold), values, runs: Runs::default() }
    }

    /// Adds a value under a key.
    ///
    /// # Errors
    ///
    /// For a value without a JSON form, and when the temporary folder is full.
    pub fn emit(&mut self, key: &str, value: V) -> Result<(), DataError> {
        let partition = partition(key, self.values.len())?;
        let size = size_of_value(key, &value)?;
        match self.values[partition].get_mut(key) {
            Some(slot) => {
                let folded = match slot.take() {
                    Some(held) => (self.fold)(held, value),
                    None => value,
                };
                *slot = Some(folded);
                // The folded value may have grown by as much.
                self.held += size;
            }
            None => {
                self.values[partition].insert(key.to_owned(), Some(value));
                self.held += size + size_of_entry::<V>(key);
            }
        }
        if self.held > self.bound { self.make_room() } else { Ok(()) }
    }

    /// Counts again where folding may have made less of it; else moves what is in memory to a run on disk.
    fn make_room(&mut self) -> Result<(), DataError> {
        if needs_drop::<V>() {
            self.held = 0;
            for (key, value) in self.values.iter().flatten() {
                let size = value.as_ref().map_or(Ok(0), |value| size_of_value(key, value))?;
                self.held += size + size_of_entry::<V>(key);
            }
        }
        if 2 * self.held > self.bound { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<(), DataError> {
        let values = &mut self.values;
        self.runs.add(values.len(), |partition, to| drain(take(&mut values[partition]), to))?;
        self.held = 0;
        Ok(())
    }

    /// Writes the object.
    ///
    /// # Errors
    ///
    /// As [`Output::close`](super::Output::close).
    pub fn close(mut self) -> Result<Written, DataError> {
        if self.runs.len() > 0 {
            self.spill()?;
        }
        let Self { target, bound, mut fold, mut values, runs, .. } = self;
        let step = step(bound, runs.len());
        Written::send_partitions(&target, values.len(), |partition, to| {
            // Without runs all is in memory, and with runs nothing.
            drain(take(&mut values[partition]), to)?;
            let mut lines = merged(runs.pieces(partition, step), false);
            let mut current: Option<(String, V)> = None;
            while let Some(line) = lines.next().map_err(|error| DataError::temporary(&error))? {
                let (key, value) = pair(line)?;
                current = Some(match current.take() {
                    Some((same, held)) if same == key => (same, fold(held, value)),
                    other => {
                        other.map_or(Ok(()), |(key, value)| write(&key, &value, to))?;
                        (key.into_owned(), value)
                    }
                });
            }
            current.map_or(Ok(()), |(key, value)| write(&key, &value, to))
        })
    }
}

/// Writes the lines of the values in order.
fn drain<V: Serialize>(
    values: HashMap<String, Option<V>>,
    to: &mut dyn Write,
) -> Result<(), DataError> {
    let mut bucket = Bucket::default();
    for (key, value) in values {
        if let Some(value) = value {
            bucket.push(&key, &value).map_err(|error| invalid(&key, &error))?;
        }
    }
    bucket.drain_sorted(to).map_err(|error| DataError::temporary(&error))
}

fn write<V: Serialize>(key: &str, value: &V, to: &mut dyn Write) -> Result<(), DataError> {
    let mut text = Vec::new();
    line(&mut text, key, value).map_err(|error| invalid(key, &error))?;
    to.write_all(&text).map_err(|error| DataError::temporary(&error))
}

fn invalid(key: &str, error: &serde_json::Error) -> DataError {
    DataError::wrong(format!("the value of {key:?}: {error}"))
}

/// The bytes of a key and its place.
fn size_of_entry<V>(key: &str) -> u64 {
    (key.len() + 2 * size_of::<(String, Option<V>)>()) as u64
}

/// The bytes that a value holds beside its place, about as many as its JSON has: numbers hold none.
fn size_of_value<V: Serialize>(key: &str, value: &V) -> Result<u64, DataError> {
    struct Count(u64);

    impl Write for Count {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0 += data.len() as u64;
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    if !needs_drop::<V>() {
        return Ok(0);
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).map_err(|error| invalid(key, &error))?;
    Ok(count.0)
}

impl<V> fmt::Debug for Combined<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Combined").field("target", &self.target).finish_non_exhaustive()
    }
}
