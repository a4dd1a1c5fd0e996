//! Where the records of an object begin, found by small reads.

use falco_core::{Error, Result};
use memchr::memchr;

use super::listed::Listed;
use crate::store::Store;

/// The first read for a boundary; each further one is four times as long.
const FIRST: u64 = 4 << 10;
const LONGEST: u64 = 1 << 20;

/// The nominal boundary `k` of `n` parts of the bytes from `from` to `to`.
pub(super) fn nominal(from: u64, to: u64, k: u64, n: u64) -> u64 {
    let part = u128::from(to - from) * u128::from(k) / u128::from(n.max(1));
    from + u64::try_from(part).unwrap_or(u64::MAX)
}

/// The first record that begins at `at` or after: the byte after the first line end at or after `at - 1`. None when there is
/// none before `next`, at which the search for the next boundary begins: both would find the same record, and reading a long
/// line for each of its boundaries would read it many times.
pub(super) async fn line_at(
    store: &Store,
    object: &Listed,
    from: u64,
    at: u64,
    next: u64,
) -> Result<Option<u64>> {
    if at <= from {
        return Ok(Some(from));
    }
    if at >= object.size {
        return Ok(Some(object.size));
    }
    let (mut position, mut length) = (at - 1, FIRST);
    while position < next - 1 {
        let end = (position + length).min(next - 1);
        let bytes = store.get_range(&object.url, position..end, object.etag.clone()).await?;
        if let Some(newline) = memchr(b'\n', &bytes) {
            return Ok(Some(position + newline as u64 + 1));
        }
        if bytes.len() as u64 != end - position {
            return Err(crate::failure::changed(&object.url));
        }
        position = end;
        length = (length * 4).min(LONGEST);
    }
    Ok(None)
}

/// The first line, without its line end and byte order mark, and where the second begins.
pub(super) async fn first_line(store: &Store, object: &Listed) -> Result<(String, u64)> {
    let mut length = FIRST;
    loop {
        let end = length.min(object.size);
        let bytes = store.get_range(&object.url, 0..end, object.etag.clone()).await?;
        let newline = memchr(b'\n', &bytes);
        if newline.is_none() && end < object.size && length < LONGEST {
            length *= 4;
            continue;
        }
        let line_end = match newline {
            Some(at) => at,
            None if end == object.size => bytes.len(),
            None => {
                let message =
                    format!("the header of {} is longer than {LONGEST} bytes", object.url);
                return Err(Error::invalid_input(message));
            }
        };
        let line = bytes[..line_end].strip_suffix(b"\r").unwrap_or(&bytes[..line_end]);
        let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        let header = String::from_utf8(line.to_vec()).map_err(|error| {
            Error::invalid_input(format!("the header of {} is not UTF-8", object.url))
                .with_source(&error)
        })?;
        return Ok((header, (line_end as u64 + 1).min(object.size)));
    }
}
