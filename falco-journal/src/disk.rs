//! The few things that the journal asks of a file system, so that tests can let each of them fail.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// A file system.
pub(crate) trait Disk: Debug + Send + Sync {
    /// Creates a file that is not there yet.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Appender>>;

    /// Gives a file another name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
}

/// A file that grows.
pub(crate) trait Appender: Debug + Send + Sync {
    /// Writes some of `bytes` at the end, and says how many.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Makes what was written durable.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file back to `length` bytes.
    fn cut(&self, length: u64) -> io::Result<()>;
}

/// The file system of this machine. Files are readable by their owner only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Files;

impl Disk for Files {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Appender>> {
        let mut options = OpenOptions::new();
        options.append(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Box::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        // Elsewhere a directory cannot be opened, and its names are durable by other means.
        if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
    }
}

impl Appender for File {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(&mut &*self, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// Creates a directory and those above it, for their owner only.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
pub(crate) mod faulty {
    //! A file system whose operations fail as a test says.

    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use super::*;

    /// How the file system fails.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Fault {
        /// There is room for so many bytes: the write that reaches the limit is short, the next one fails.
        Full(u64),
        /// Each write writes at most so many bytes.
        ShortWrites(usize),
        /// Writes fail after so many.
        Writes(u64),
        /// Syncs fail after so many.
        Syncs(u64),
        /// Nothing can be created.
        ReadOnly,
    }

    /// A file system with a fault.
    #[derive(Clone, Debug)]
    pub(crate) struct Faulty {
        fault: Fault,
        done: Arc<Counters>,
    }

    #[derive(Debug, Default)]
    struct Counters {
        bytes: AtomicU64,
        writes: AtomicU64,
        syncs: AtomicU64,
    }

    impl Faulty {
        pub(crate) fn new(fault: Fault) -> Self {
            Self { fault, done: Arc::default() }
        }

        /// How many syncs of files were asked for.
        pub(crate) fn syncs(&self) -> u64 {
            self.done.syncs.load(SeqCst)
        }

        /// How many writes there were, where they [fail after some](Fault::Writes).
        pub(crate) fn writes(&self) -> u64 {
            self.done.writes.load(SeqCst)
        }
    }

    impl Disk for Faulty {
        fn create(&self, path: &Path) -> io::Result<Box<dyn Appender>> {
            if self.fault == Fault::ReadOnly {
                return Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem));
            }
            let file = Files.create(path)?;
            Ok(Box::new(FaultyFile { file, disk: self.clone() }))
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            Files.rename(from, to)
        }

        fn sync_directory(&self, path: &Path) -> io::Result<()> {
            Files.sync_directory(path)
        }
    }

    #[derive(Debug)]
    struct FaultyFile {
        file: Box<dyn Appender>,
        disk: Faulty,
    }

    impl Appender for FaultyFile {
        fn write(&self, bytes: &[u8]) -> io::Result<usize> {
            let done = &self.disk.done;
            let most = match self.disk.fault {
                Fault::Full(limit) => {
                    let left = limit.saturating_sub(done.bytes.load(SeqCst));
                    if left == 0 {
                        return Err(io::Error::from(io::ErrorKind::StorageFull));
                    }
                    left as usize
                }
                Fault::ShortWrites(most) => most,
                Fault::Writes(most) if done.writes.fetch_add(1, SeqCst) >= most => {
                    return Err(io::Error::other("the disk failed"));
                }
                _ => bytes.len(),
            };
            let written = self.file.write(&bytes[..bytes.len().min(most)])?;
            done.bytes.fetch_add(written as u64, SeqCst);
            Ok(written)
        }

        fn sync(&self) -> io::Result<()> {
            let earlier = self.disk.done.syncs.fetch_add(1, SeqCst);
            if matches!(self.disk.fault, Fault::Syncs(most) if earlier >= most) {
                return Err(io::Error::other("the disk failed"));
            }
            self.file.sync()
        }

        fn cut(&self, length: u64) -> io::Result<()> {
            self.file.cut(length)
        }
    }
}
