//! Parts of many objects, fetched several at a time.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::error::{DataError, shown};
use super::http::{AT_ONCE, Readable};

/// Each of the threads holds a buffer of this length.
const BUFFER: usize = 256 << 10;

/// The object of one mapper, and the bounds of the partitions in it.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) get: String,
    pub(super) until: Option<u64>,
    pub(super) bounds: Vec<u64>,
}

/// The bytes of all entries.
pub(super) fn fetch(entries: &[Entry]) -> Result<Vec<Vec<u8>>, DataError> {
    let fetched: Vec<Mutex<Vec<u8>>> = entries.iter().map(|_| Mutex::default()).collect();
    at_once(entries, |at, entry| {
        let mut data = Vec::with_capacity(usize::try_from(entry.len()).unwrap_or(0));
        if let Some(range) = entry.range() {
            range.open()?.read_to_end(&mut data)?;
        }
        *fetched[at].lock().unwrap_or_else(PoisonError::into_inner) = data;
        Ok(())
    })?;
    let data = |it: Mutex<Vec<u8>>| it.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(fetched.into_iter().map(data).collect())
}

/// Writes the bytes of all entries into a file, and returns where each begins.
pub(super) fn fetch_into(entries: &[Entry], file: &File) -> Result<Vec<u64>, DataError> {
    let starts: Vec<u64> = entries
        .iter()
        .scan(0, |end, entry| {
            let start = *end;
            *end += entry.len();
            Some(start)
        })
        .collect();
    at_once(entries, |at, entry| {
        let Some(range) = entry.range() else { return Ok(()) };
        let (mut reader, mut position) = (range.open()?, starts[at]);
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let written = file.write_all_at(&buffer[..count], position);
            written.map_err(|error| DataError::temporary(&error))?;
            position += count as u64;
        }
    })?;
    Ok(starts)
}

/// Does the work for every entry, several at a time. The first failure ends it.
pub(super) fn at_once<T: Sync>(
    entries: &[T],
    work: impl Fn(usize, &T) -> Result<(), DataError> + Sync,
) -> Result<(), DataError> {
    let (next, is_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let worker = || -> Result<(), DataError> {
        while !is_failed.load(Relaxed) {
            let at = next.fetch_add(1, Relaxed);
            let Some(entry) = entries.get(at) else { return Ok(()) };
            work(at, entry).inspect_err(|_| is_failed.store(true, Relaxed))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads = AT_ONCE.min(entries.len()).saturating_sub(1);
        let others: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let own = worker();
        others.into_iter().fold(own, |outcome, other| {
            let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            outcome.and(other)
        })
    })
}

// The signed URL is a secret.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = shown(&self.get);
        f.debug_struct("Entry")
            .field("url", &url)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

impl Entry {
    pub(super) fn len(&self) -> u64 {
        match self.bounds.as_slice() {
            [first, .., last] => last - first,
            _ => 0,
        }
    }

    /// The range of all its partitions; none where they are empty.
    pub(super) fn range(&self) -> Option<Readable> {
        let (from, to) = (*self.bounds.first()?, *self.bounds.last()?);
        (from < to).then(|| Readable::range_of(self.get.clone(), self.until, from, to))
    }
}
