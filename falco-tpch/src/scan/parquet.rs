//! Columns of the row groups in a split of a Parquet file.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes, buf};
use falco_function::data::{Input, Whole};
use parquet::column::reader::{get_column_reader, get_typed_column_reader};
use parquet::data_type::{DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

use super::{no_column, not_asked_for};
use crate::codes::Codes;
use crate::failure::{ScanError, corrupt};

/// The bytes at the end of a file that are read first: enough for the footer of most files.
const TAIL: u64 = 64 << 10;

/// Columns that lie so close to each other are read by one request.
const GAP: u64 = 64 << 10;

/// Calls `each` with the columns of every row group whose middle lies in the split.
pub(super) fn scan(
    input: &Input,
    columns: &[&str],
    mut each: impl FnMut(Group) -> Result<(), ScanError>,
) -> Result<(), ScanError> {
    let object = input.whole()?;
    let metadata = footer(&object)?;
    for group in metadata.row_groups() {
        if object.split().contains(&middle(group)) {
            each(Group::fetch(&object, group, columns)?)?;
        }
    }
    Ok(())
}

fn footer(object: &Whole) -> Result<ParquetMetaData, ScanError> {
    let short = || ScanError::Content("the object is too short for a Parquet file".to_owned());
    let size = object.len();
    let tail = object.read(size.saturating_sub(TAIL)..size)?;
    let magic = tail.len().checked_sub(8).ok_or_else(short)?;
    let length = (&tail[magic..]).get_u32_le() as usize;
    if &tail[magic + 4..] != b"PAR1" {
        let text = "the object is not a Parquet file: it does not end with PAR1".to_owned();
        return Err(ScanError::Content(text));
    }
    let end = size - 8;
    let from = end.checked_sub(length as u64).ok_or_else(short)?;
    Ok(match magic.checked_sub(length) {
        Some(at) => ParquetMetaDataReader::decode_metadata(&tail[at..magic])?,
        None => ParquetMetaDataReader::decode_metadata(&object.read(from..end)?)?,
    })
}

/// The middle of a row group in the file, as other readers of splits count it.
fn middle(group: &RowGroupMetaData) -> u64 {
    let ranges = group.columns().iter().map(range_of);
    let (from, to) =
        ranges.fold((u64::MAX, 0), |(from, to), range| (from.min(range.start), to.max(range.end)));
    from.saturating_add(to) / 2
}

fn range_of(column: &ColumnChunkMetaData) -> Range<u64> {
    let (from, length) = column.byte_range();
    from..from.saturating_add(length)
}

/// Some columns of a row group, as they are in the file.
#[derive(Debug)]
pub(crate) struct Group {
    rows: usize,
    columns: Vec<ColumnChunkMetaData>,
    bytes: Arc<Pieces>,
}

impl Group {
    fn fetch(object: &Whole, group: &RowGroupMetaData, names: &[&str]) -> Result<Self, ScanError> {
        let columns: Vec<_> =
            names.iter().map(|name| column(group, name).cloned()).collect::<Result<_, _>>()?;
        let mut ranges: Vec<_> = columns.iter().map(range_of).collect();
        ranges.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start <= last.end + GAP => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        let read = object.read_ranges(&merged)?;
        let starts = merged.iter().map(|range| range.start);
        let pieces = starts.zip(read.into_iter().map(Bytes::from)).collect();
        let rows = usize::try_from(group.num_rows()).map_err(|_| corrupt("negative rows"))?;
        Ok(Self { rows, columns, bytes: Arc::new(Pieces { pieces, size: object.len() }) })
    }

    /// The number of rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// A column of 64-bit numbers; decimals without their point.
    pub(super) fn int64(&self, name: &str) -> Result<Vec<i64>, ScanError> {
        self.values::<Int64Type>(name)
    }

    /// A column of 32-bit numbers; dates as days since 1970.
    pub(super) fn int32(&self, name: &str) -> Result<Vec<i32>, ScanError> {
        self.values::<Int32Type>(name)
    }

    /// A column of text with few different values, as numbers of a dictionary.
    pub(super) fn codes(&self, name: &str) -> Result<Codes, ScanError> {
        let mut codes = Codes::with_capacity(self.rows);
        for page in self.pages(name)? {
            codes.read(&page?)?;
        }
        self.complete(name, codes.codes.len())?;
        Ok(codes)
    }

    fn values<T: DataType>(&self, name: &str) -> Result<Vec<T::T>, ScanError> {
        let column = self.chunk(name)?;
        if column.column_type() != T::get_physical_type() {
            let text = format!("the column {name} is of the type {}", column.column_type());
            return Err(ScanError::Content(text));
        }
        let pages = Box::new(self.pages(name)?);
        let reader = get_column_reader(column.column_descr_ptr(), pages);
        let mut values = Vec::with_capacity(self.rows);
        get_typed_column_reader::<T>(reader).read_records(self.rows, None, None, &mut values)?;
        self.complete(name, values.len())?;
        Ok(values)
    }

    fn pages(&self, name: &str) -> Result<SerializedPageReader<Pieces>, ScanError> {
        let column = self.chunk(name)?;
        if column.column_descr().max_def_level() > 0 {
            let text = format!("the column {name} is not required: it may hold NULL");
            return Err(ScanError::Content(text));
        }
        Ok(SerializedPageReader::new(self.bytes.clone(), column, self.rows, None)?)
    }

    fn chunk(&self, name: &str) -> Result<&ColumnChunkMetaData, ScanError> {
        let found = self.columns.iter().find(|column| column.column_path().string() == name);
        found.ok_or_else(|| not_asked_for(name))
    }

    fn complete(&self, name: &str, values: usize) -> Result<(), ScanError> {
        let rows = self.rows;
        if values == rows {
            return Ok(());
        }
        let text = format!("the column {name} has {values} values, and the row group {rows} rows");
        Err(ScanError::Content(text))
    }
}

fn column<'a>(
    group: &'a RowGroupMetaData,
    name: &str,
) -> Result<&'a ColumnChunkMetaData, ScanError> {
    let found = group.columns().iter().find(|column| column.column_path().string() == name);
    found.ok_or_else(|| no_column(name))
}

/// Pieces of a file that were fetched, each with its offset.
#[derive(Debug)]
struct Pieces {
    pieces: Vec<(u64, Bytes)>,
    size: u64,
}

impl Pieces {
    fn held_from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let held = self.pieces.iter().find_map(|(offset, bytes)| {
            let at = usize::try_from(start.checked_sub(*offset)?).ok()?;
            (at < bytes.len()).then(|| bytes.slice(at..))
        });
        held.ok_or_else(|| ParquetError::EOF(format!("byte {start} was not fetched")))
    }
}

impl Length for Pieces {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Pieces {
    type T = buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.held_from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let held = self.held_from(start)?;
        if length > held.len() {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} were not fetched")));
        }
        Ok(held.slice(..length))
    }
}
