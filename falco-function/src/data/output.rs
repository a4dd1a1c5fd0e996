//! The output of a function.

use std::fs::File;
use std::io::{BufWriter, Seek, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::body::{Runs, Written, temporary};
use super::bound;
use super::combine::Combined;
use super::error::DataError;
use super::http::Writable;
use super::runs::{Bucket, merged, partition, step};

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
///     let mut counts = split.out.combine(|one: u64, other| one + other)?;
///     for line in split.input.lines()?.lines() {
///         for word in line?.split_whitespace() {
///             counts.emit(word, 1)?;
///         }
///     }
///     Ok(Emitted { out: counts.close()? })
/// }
/// ```
#[derive(Debug)]
pub struct Output {
    target: Writable,
    bound: u64,
    held: u64,
    buckets: Vec<Bucket>,
    runs: Runs,
    /// The bytes of an object without partitions.
    plain: Option<Plain>,
}

#[derive(Debug)]
enum Plain {
    AsIs(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
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
        let runs = Runs::default();
        Ok(Self { target, bound: bound(), held: 0, buckets, runs, plain: None })
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
        let plain = match &mut self.plain {
            Some(plain) => plain,
            None => self.plain.insert(Plain::new(self.target.gzip)?),
        };
        let written = match plain {
            Plain::AsIs(to) => to.write_all(bytes),
            Plain::Gzip(to) => to.write_all(bytes),
        };
        written.map_err(|error| DataError::temporary(&error))
    }

    /// Adds a value under a key.
    ///
    /// # Errors
    ///
    /// For an object without partitions, for a value without a JSON form, and when the temporary folder is full.
    pub fn emit<V: Serialize + ?Sized>(&mut self, key: &str, value: &V) -> Result<(), DataError> {
        let partition = partition(key, self.buckets.len())?;
        let added = self.buckets[partition].push(key, value);
        self.held +=
            added.map_err(|error| DataError::wrong(format!("the value of {key:?}: {error}")))?;
        if self.held > self.bound {
            self.spill()?;
        }
        Ok(())
    }

    /// Folds the values of a key into one as they come, which makes the object smaller. `fold` has to take them in any order.
    ///
    /// # Errors
    ///
    /// For an object without partitions, and after the first `emit`.
    pub fn combine<V: Serialize + DeserializeOwned>(
        self,
        fold: impl FnMut(V, V) -> V + Send + 'static,
    ) -> Result<Combined<V>, DataError> {
        let (target, bound, count) = self.unwritten("combine")?;
        Ok(Combined::new(target, bound, count, fold))
    }

    /// Target, memory and partitions of an output that nothing was written to yet.
    pub(super) fn unwritten(self, method: &str) -> Result<(Writable, u64, usize), DataError> {
        partition("", self.buckets.len())?;
        if self.held > 0 || self.runs.len() > 0 {
            return Err(DataError::wrong(format!("{method} has to come before the first emit")));
        }
        Ok((self.target, self.bound, self.buckets.len()))
    }

    /// Moves what is in memory to a run on disk.
    fn spill(&mut self) -> Result<(), DataError> {
        let buckets = &mut self.buckets;
        self.runs.add(buckets.len(), |partition, to| {
            buckets[partition].drain_sorted(to).map_err(|error| DataError::temporary(&error))
        })?;
        self.held = 0;
        Ok(())
    }

    /// Writes the object.
    ///
    /// # Errors
    ///
    /// When the store refuses it or does not answer, when its URL has expired, and when the temporary folder is full.
    pub fn close(mut self) -> Result<Written, DataError> {
        let count = self.buckets.len();
        if count == 0 {
            let plain = match self.plain.take() {
                Some(plain) => plain,
                None => Plain::new(self.target.gzip)?,
            };
            let mut file = plain.file()?;
            let size = file.stream_position().map_err(|error| DataError::temporary(&error))?;
            return Written::send(&self.target, file, size, None);
        }
        if self.runs.len() > 0 {
            self.spill()?;
        }
        let Self { target, bound, mut buckets, runs, .. } = self;
        let step = step(bound, runs.len());
        Written::send_partitions(&target, count, |partition, to| {
            let failed = |error: std::io::Error| DataError::temporary(&error);
            // Without runs all is in the bucket, and with runs nothing.
            buckets[partition].drain_sorted(to).map_err(failed)?;
            let mut lines = merged(runs.pieces(partition, step), false);
            while let Some(line) = lines.next().map_err(failed)? {
                to.write_all(line).map_err(failed)?;
            }
            Ok(())
        })
    }
}

impl Plain {
    fn new(gzip: bool) -> Result<Self, DataError> {
        let file = BufWriter::with_capacity(1 << 20, temporary()?);
        Ok(match gzip {
            true => Self::Gzip(Box::new(GzEncoder::new(file, Compression::fast()))),
            false => Self::AsIs(file),
        })
    }

    /// The file with all bytes, at its end.
    fn file(self) -> Result<File, DataError> {
        let file = match self {
            Self::AsIs(file) => file,
            Self::Gzip(encoder) => {
                encoder.finish().map_err(|error| DataError::temporary(&error))?
            }
        };
        file.into_inner().map_err(|error| DataError::temporary(error.error()))
    }
}
