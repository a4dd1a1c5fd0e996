//! Installed packages by a hash of what they were made of.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use falco_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};

/// The folder of what `parts` describe; `install` fills a new one if there is none yet.
///
/// Threads and processes that install the same at once each fill a folder of their own, and the first one stays.
pub(super) fn folder_for(
    cache: &Path,
    parts: &[&str],
    install: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let key = digest(parts.iter().map(|part| part.as_bytes()));
    let folder = cache.join(&key);
    if folder.is_dir() {
        return Ok(folder);
    }
    // Threads share a process, and containers that share the cache may have equal numbers of processes.
    let being_made = cache.join(format!("{key}.{:016x}", fastrand::u64(..)));
    let failed = |error: io::Error| {
        let message = format!("cannot write to {}", being_made.display());
        Error::new(ErrorKind::Other, message).with_source(&error)
    };
    fs::create_dir_all(&being_made).map_err(failed)?;
    let filled = install(&being_made).and_then(|()| match fs::rename(&being_made, &folder) {
        Err(_) if folder.is_dir() => Ok(()),
        renamed => renamed.map_err(failed),
    });
    if being_made.exists() {
        // What is left of it is of no use to anybody.
        let _ = fs::remove_dir_all(&being_made);
    }
    filled.map(|()| folder)
}

/// A hash of all parts, in hexadecimal digits.
pub(super) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_installed_once_and_a_failure_leaves_nothing() {
        let cache = tempfile::tempdir().unwrap();
        let fill = |folder: &Path| {
            fs::write(folder.join("a"), "1").unwrap();
            Ok(())
        };
        let first = folder_for(cache.path(), &["numpy", "3.12"], fill).unwrap();
        let again = folder_for(cache.path(), &["numpy", "3.12"], |_| unreachable!()).unwrap();
        assert_eq!(first, again);
        assert_ne!(first, folder_for(cache.path(), &["numpy3", ".12"], fill).unwrap());
        let failed = folder_for(cache.path(), &["x"], |_| Err(Error::invalid_input("no")));
        assert!(failed.is_err());
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 2);
    }

    #[test]
    fn threads_that_install_the_same_at_once_all_get_a_whole_folder() {
        let cache = tempfile::tempdir().unwrap();
        let all = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (cache, all) = (cache.path(), &all);
                scope.spawn(move || {
                    let folder = folder_for(cache, &["numpy"], |folder| {
                        all.wait();
                        // A file that is there already is another thread's.
                        fs::File::create_new(folder.join("a")).unwrap();
                        all.wait();
                        Ok(())
                    });
                    assert!(folder.unwrap().join("a").is_file(), "{thread}");
                });
            }
        });
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1);
    }
}
