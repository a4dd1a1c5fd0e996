//! An object on its way into a store.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::error::DataError;
use super::http::Writable;
use super::runs::Piece;

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
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    gzip: bool,
}

impl Written {
    /// Sends the object, which `file` holds.
    pub(super) fn send(
        target: &Writable,
        mut file: File,
        size: u64,
        parts: Option<Vec<u64>>,
    ) -> Result<Self, DataError> {
        target.store(&mut file, size)?;
        let (url, gzip) = (target.url.clone(), target.gzip);
        Ok(Self { object: Fields { url, size, parts, gzip } })
    }

    /// Sends an object of partitions, each of which `write` writes.
    pub(super) fn send_partitions(
        target: &Writable,
        count: usize,
        mut write: impl FnMut(usize, &mut dyn Write) -> Result<(), DataError>,
    ) -> Result<Self, DataError> {
        let mut body = BufWriter::with_capacity(1 << 20, temporary()?);
        let mut lengths = Vec::with_capacity(count);
        for partition in 0..count {
            let mut counted = Counted { to: &mut body, length: 0 };
            if target.gzip {
                let mut member = Member { to: Some(&mut counted), encoder: None };
                write(partition, &mut member)?;
                member.finish().map_err(|error| DataError::temporary(&error))?;
            } else {
                write(partition, &mut counted)?;
            }
            lengths.push(counted.length);
        }
        let file = body.into_inner().map_err(|error| DataError::temporary(error.error()))?;
        Self::send(target, file, lengths.iter().sum(), Some(lengths))
    }
}

struct Counted<W> {
    to: W,
    length: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.to.write(data)?;
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A member of gzip. Without content there is none, so that an empty partition stays empty.
struct Member<W: Write> {
    to: Option<W>,
    encoder: Option<GzEncoder<W>>,
}

impl<W: Write> Member<W> {
    fn finish(self) -> io::Result<()> {
        self.encoder.map_or(Ok(()), |encoder| encoder.finish().map(drop))
    }
}

impl<W: Write> Write for Member<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if let Some(to) = self.to.take_if(|_| !data.is_empty()) {
            self.encoder = Some(GzEncoder::new(to, Compression::fast()));
        }
        self.encoder.as_mut().map_or(Ok(0), |encoder| encoder.write(data))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.as_mut().map_or(Ok(()), Write::flush)
    }
}

/// Sorted runs in one temporary file: what did not fit into memory.
#[derive(Debug, Default)]
pub(super) struct Runs {
    file: Option<File>,
    /// For each run, where its partitions begin, and where the last ends.
    bounds: Vec<Vec<u64>>,
    end: u64,
}

impl Runs {
    pub(super) fn len(&self) -> usize {
        self.bounds.len()
    }

    /// Adds a run of `count` partitions, each of which `write` writes.
    pub(super) fn add(
        &mut self,
        count: usize,
        mut write: impl FnMut(usize, &mut dyn Write) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(temporary()?),
        };
        let mut bounds = vec![self.end];
        // What an earlier run left unfinished lies behind the end.
        let mut writer = Counted { to: BufWriter::with_capacity(1 << 20, file), length: self.end };
        for partition in 0..count {
            write(partition, &mut writer)?;
            bounds.push(writer.length);
        }
        writer.flush().map_err(|error| DataError::temporary(&error))?;
        self.end = writer.length;
        self.bounds.push(bounds);
        Ok(())
    }

    /// The lines of a partition in all runs.
    pub(super) fn pieces(&self, partition: usize, step: usize) -> Vec<Piece<'_>> {
        let runs = self.file.iter().flat_map(|file| self.bounds.iter().map(move |it| (file, it)));
        let pieces = runs.filter_map(|(file, bounds)| {
            let (from, to) = (bounds[partition], bounds[partition + 1]);
            (from < to).then(|| Piece::file(file, from, to, step))
        });
        pieces.collect()
    }
}

pub(super) fn temporary() -> Result<File, DataError> {
    tempfile::tempfile().map_err(|error| DataError::temporary(&error))
}
