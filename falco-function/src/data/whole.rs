//! The object that a split is a part of, read by ranges.

use std::io::Read;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::error::DataError;
use super::fetch::at_once;
use super::http::Readable;
use super::input::Input;

/// The object that a split belongs to, read by ranges: for formats with a footer, such as Parquet.
///
/// # Examples
///
/// ```
/// use falco_function::data::{DataError, Input};
///
/// /// The footer of a Parquet file ends with its own length and a magic word.
/// fn footer_length(split: &Input) -> Result<u32, DataError> {
///     let object = split.whole()?;
///     let tail = object.read(object.len() - 8..object.len())?;
///     Ok(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Whole {
    object: Readable,
    size: u64,
}

impl Input {
    /// The object that the split is a part of.
    ///
    /// # Errors
    ///
    /// For a split of several objects, for a compressed object, and for one whose size the argument does not say.
    pub fn whole(&self) -> Result<Whole, DataError> {
        let [object] = self.objects() else {
            return Err(DataError::wrong("the split is not a part of one object: read its lines"));
        };
        if object.gzip {
            return Err(DataError::wrong("a compressed object has no ranges: read it as a whole"));
        }
        let Some(size) = object.size else {
            return Err(DataError::wrong("the argument does not say how large the object is"));
        };
        Ok(Whole { object: object.clone(), size })
    }
}

impl Whole {
    /// The bytes of the whole object.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.size
    }

    /// Whether the object has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// The range of the split in the object.
    #[must_use]
    pub fn split(&self) -> Range<u64> {
        let (from, to) = self.object.range.unwrap_or((0, self.size));
        from..to
    }

    /// The bytes of a range, inside of the split or outside of it.
    ///
    /// # Errors
    ///
    /// For a range that ends behind the object, and when it cannot be read.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<u8>, DataError> {
        if range.end > self.size {
            let size = self.size;
            let message = format!("bytes {range:?} are not all in an object of {size} bytes");
            return Err(DataError::wrong(message));
        }
        let length = range.end.saturating_sub(range.start);
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        if length > 0 {
            self.object.at(range.start, range.end).open()?.read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }

    /// The bytes of several ranges, of which several are fetched at a time.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Vec<u8>>, DataError> {
        let read: Vec<Mutex<Vec<u8>>> = ranges.iter().map(|_| Mutex::default()).collect();
        at_once(ranges, |at, range| {
            *read[at].lock().unwrap_or_else(PoisonError::into_inner) = self.read(range.clone())?;
            Ok(())
        })?;
        let bytes = |it: Mutex<Vec<u8>>| it.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(read.into_iter().map(bytes).collect())
    }
}
