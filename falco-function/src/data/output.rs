//! The output of a function.

use std::fs::File;
use std::io::{BufWriter, Seek, Write};

use serde::{Deserialize, Deserializer, Serialize};

use super::bound;
use super::error::DataError;
use super::http::Writable;
use super::runs::{Bucket, Slice, merged};

/// One object to write. Without partitions it takes bytes; with partitions keys and values, for a shuffle.
///
/// # Examples
///
/// ```
/// use falco_function::data::{DataError, Input, Output, Written};
/// use serde::{Deserialize, Serialize};
/// use std::io::BufRead;
///
/// #[derive(Deserialize)]
/// struct Split { input: Input, out: Output }
///
/// #[derive(Serialize)]
/// struct Emitted { out: Written }
///
/// fn map(split: Split) -> Result<Emitted, DataError> {
///     let Split { input, mut out } = split;
///     for line in input.lines()?.lines() {
///         for word in line?.split_whitespace() {
///             out.emit(word, &1)?;
///         }
///     }
///     Ok(Emitted { out: out.close()? })
/// }
/// ```
#[derive(Debug)]
pub struct Output {
    target: Writable,
    bound: u64,
    held: u64,
    buckets: Vec<Bucket>,
    /// Sorted runs on disk: where each partition begins, and where the last ends.
    runs: Vec<Vec<u64>>,
    file: Option<File>,
    /// The bytes of an object without partitions.
    plain: Option<BufWriter<File>>,
}

/// A reference to an object that was written, for the result of the function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Written {
    #[serde(rename = "falco:object")]
    object: Fields,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Fields {
    url: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<Vec<u64>>,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "falco:sink")]
    sink: Writable,
}

impl<'de> Deserialize<'de> for Output {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let target = Wire::deserialize(deserializer)?.sink;
        let buckets = (0..target.partitions.unwrap_or(0)).map(|_| Bucket::default()).collect();
        let (runs, file, plain) = (Vec::new(), None, None);
        Ok(Self { target, bound: bound(), held: 0, buckets, runs, file, plain })
    }
}

impl Output {
    /// Adds bytes to an object without partitions.
    ///
    /// # Errors
    ///
    /// For an object with partitions, and when the temporary folder is full.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        if !self.buckets.is_empty() {
            return Err(DataError::wrong("this object has partitions: use emit"));
        }
        let file = match &mut self.plain {
            Some(file) => file,
            None => self.plain.insert(BufWriter::with_capacity(1 << 20, temporary()?)),
        };
        file.write_all(bytes).map_err(|error| DataError::temporary(&error))
    }

    /// Adds a value under a key.
    ///
    /// # Errors
    ///
    /// For an object without partitions, for a value without a JSON form, and when the temporary folder is full.
    pub fn emit<V: Serialize + ?Sized>(&mut self, key: &str, value: &V) -> Result<(), DataError> {
        if self.buckets.is_empty() {
            return Err(DataError::wrong("this object has no partitions: use write"));
        }
        let partition = crc32fast::hash(key.as_bytes()) as usize % self.buckets.len();
        let added = self.buckets[partition].push(key, value);
        self.held +=
            added.map_err(|error| DataError::wrong(format!("the value of {key:?}: {error}")))?;
        if self.held > self.bound {
            self.spill()?;
        }
        Ok(())
    }

    /// Moves what is in memory to a run on disk.
    fn spill(&mut self) -> Result<(), DataError> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(temporary()?),
        };
        let failed = |error: std::io::Error| DataError::temporary(&error);
        let mut end = file.seek(std::io::SeekFrom::End(0)).map_err(failed)?;
        let mut bounds = vec![end];
        let mut writer = BufWriter::with_capacity(1 << 20, file);
        for bucket in &mut self.buckets {
            end += bucket.drain_sorted(&mut writer).map_err(failed)?;
            bounds.push(end);
        }
        writer.flush().map_err(failed)?;
        self.runs.push(bounds);
        self.held = 0;
        Ok(())
    }

    /// Writes the object.
    ///
    /// # Errors
    ///
    /// When the store refuses it or does not answer, when its URL has expired, and when the temporary folder is full.
    pub fn close(mut self) -> Result<Written, DataError> {
        let failed = |error: std::io::Error| DataError::temporary(&error);
        if self.buckets.is_empty() {
            let plain = match self.plain.take() {
                Some(plain) => plain,
                None => BufWriter::new(temporary()?),
            };
            let mut file = plain.into_inner().map_err(|error| failed(error.into_error()))?;
            let size = file.stream_position().map_err(failed)?;
            self.target.store(&mut file, size)?;
            let (url, parts) = (self.target.url.clone(), None);
            return Ok(Written { object: Fields { url, size, parts } });
        }
        let mut body = BufWriter::with_capacity(1 << 20, temporary()?);
        let mut lengths = Vec::with_capacity(self.buckets.len());
        if !self.runs.is_empty() {
            self.spill()?;
        }
        for (partition, bucket) in self.buckets.iter_mut().enumerate() {
            let length = match &self.file {
                None => bucket.drain_sorted(&mut body).map_err(failed)?,
                Some(file) => {
                    let slice =
                        |run: &Vec<u64>| Slice::new(file, run[partition], run[partition + 1]);
                    let mut length = 0;
                    for line in merged(self.runs.iter().map(slice).collect()) {
                        let line = line.map_err(failed)?;
                        body.write_all(&line).map_err(failed)?;
                        length += line.len() as u64;
                    }
                    length
                }
            };
            lengths.push(length);
        }
        let size = lengths.iter().sum();
        let mut file = body.into_inner().map_err(|error| failed(error.into_error()))?;
        self.target.store(&mut file, size)?;
        let url = self.target.url.clone();
        Ok(Written { object: Fields { url, size, parts: Some(lengths) } })
    }
}

fn temporary() -> Result<File, DataError> {
    tempfile::tempfile().map_err(|error| DataError::temporary(&error))
}
