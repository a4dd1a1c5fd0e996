//! Long results: files beside the log, named by their SHA-256.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use falco_core::{Error, ErrorKind, Payload, Result};
use sha2::{Digest, Sha256};

use crate::disk::{Appender, Disk, create_directory};
use crate::record::hex;

/// Longer results are files of their own, in bytes.
pub(crate) const LONGEST_INLINE: usize = 64 * 1024;

/// The directory of long results of a run.
const DIRECTORY: &str = "blobs";

/// Distinguishes the files that this process writes before they have their names.
static NEXT_PARTIAL: AtomicU64 = AtomicU64::new(0);

/// A result that was stored, to be synced before the record that names it.
pub(crate) struct Blob {
    pub(crate) hash: String,
    pub(crate) file: Option<(Arc<dyn Appender>, PathBuf)>,
}

/// Stores a result, unless it is there already.
///
/// # Errors
///
/// `Other` when the disk fails.
pub(crate) fn store(disk: &dyn Disk, run: &Path, payload: &Payload) -> Result<Blob> {
    let hash = hex(&Sha256::digest(payload.as_str().as_bytes()));
    let path = path(run, &hash);
    if std::fs::metadata(&path).is_ok_and(|there| there.len() == payload.len() as u64) {
        // It may be torn, if an earlier process died before it was synced.
        if read(run, &hash).is_ok() {
            return Ok(Blob { hash, file: None });
        }
    }
    let failed = |error: std::io::Error| {
        let message = format!("the result {} cannot be written", path.display());
        Error::new(ErrorKind::Other, message).with_source(&error)
    };
    let directory = path.parent().unwrap_or(run);
    create_directory(directory).map_err(failed)?;
    // Two stages may have the same result at the same time.
    let number = NEXT_PARTIAL.fetch_add(1, Ordering::Relaxed);
    let partial = path.with_extension(format!("{}-{number}.partial", std::process::id()));
    // A process of this id may have left it behind.
    let _ = std::fs::remove_file(&partial);
    let written = (|| {
        let file = disk.create(&partial)?;
        let mut left = payload.as_str().as_bytes();
        while !left.is_empty() {
            match file.write(left)? {
                0 => return Err(std::io::Error::from(std::io::ErrorKind::WriteZero)),
                written => left = &left[written..],
            }
        }
        disk.rename(&partial, &path)?;
        Ok(file)
    })();
    let file = written.map_err(|error| {
        let _ = std::fs::remove_file(&partial);
        failed(error)
    })?;
    Ok(Blob { hash, file: Some((Arc::from(file), path)) })
}

/// Reads a result.
///
/// # Errors
///
/// `NotFound` when it is missing or damaged.
pub(crate) fn read(run: &Path, hash: &str) -> Result<Payload> {
    let path = path(run, hash);
    let bytes = std::fs::read(&path).map_err(|error| missing(&path).with_source(&error))?;
    if hex(&Sha256::digest(&bytes)) != hash {
        return Err(missing(&path));
    }
    Payload::from_bytes(bytes).map_err(|error| missing(&path).with_source(&error))
}

fn missing(path: &Path) -> Error {
    let message = format!("the result {} is missing or damaged", path.display());
    Error::new(ErrorKind::NotFound, message)
}

fn path(run: &Path, hash: &str) -> PathBuf {
    run.join(DIRECTORY).join(hash.get(..2).unwrap_or("xx")).join(hash)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Barrier;

    use super::*;
    use crate::disk::Files;

    /// A disk on which two files are renamed at the same time, when both are written.
    #[derive(Debug)]
    struct AtOnce(Barrier);

    impl Disk for AtOnce {
        fn create(&self, path: &Path) -> io::Result<Box<dyn Appender>> {
            Files.create(path)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.0.wait();
            Files.rename(from, to)
        }

        fn sync_directory(&self, path: &Path) -> io::Result<()> {
            Files.sync_directory(path)
        }
    }

    #[test]
    fn two_stages_store_the_same_result_at_the_same_time() {
        let run = tempfile::tempdir().unwrap();
        let payload = Payload::json(&"x".repeat(LONGEST_INLINE)).unwrap();
        let disk = AtOnce(Barrier::new(2));
        let store = || store(&disk, run.path(), &payload).map(|blob| blob.hash);
        let [one, other] = std::thread::scope(|scope| {
            [scope.spawn(store), scope.spawn(store)].map(|it| it.join().unwrap().unwrap())
        });
        assert_eq!(one, other);
        assert_eq!(read(run.path(), &one).unwrap(), payload);
    }
}
