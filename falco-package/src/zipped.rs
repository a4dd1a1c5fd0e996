//! Archives as zip files. The only module that knows the `zip` crate, whose major versions come fast.

mod native;

use std::io::{Cursor, Read, Write};

use bytes::Bytes;
use falco_core::{Error, ErrorKind, Result};
use zip::result::{ZipError, ZipResult};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipArchive, ZipWriter};

use crate::archive::{Archive, File};
use crate::cache::Cache;

/// How large an archive may become when it is unpacked, in bytes, unless the caller says otherwise: 1 GiB.
pub const DEFAULT_MAX_UNPACKED: u64 = 1 << 30;

/// Written out, so that the default of a library's next version does not change the bytes.
const LEVEL: i64 = 6;

/// Files and archives of this size are packed and unpacked once, however many functions they belong to, in bytes.
const LARGE: usize = 1 << 20;

/// The contents that each of the caches keeps, in bytes.
const KEPT: usize = 128 << 20;

/// Large files, each packed as an archive of its own.
static PACKED: Cache<Bytes> = Cache::new(KEPT);

/// Large archives, unpacked.
static UNPACKED: Cache<Archive> = Cache::new(KEPT);

impl Archive {
    /// The archive as a zip file; equal archives give equal bytes.
    ///
    /// A file of a megabyte or more is packed once: for another archive with the same file, its packed form is used again.
    ///
    /// Entries are sorted, their time is the first that zip knows (1 January 1980), and of the permissions only
    /// the executable bit is kept.
    ///
    /// # Errors
    ///
    /// `PayloadTooLarge` for what zip cannot hold; the error names the file.
    pub fn to_zip(&self) -> Result<Bytes> {
        self.packed(&PACKED, add)
    }

    /// The archive as a zip file, in which `add` packs each file that is not in the cache.
    fn packed(
        &self,
        cache: &Cache<Bytes>,
        mut add: impl FnMut(&mut Writer, &str, &File) -> ZipResult<()>,
    ) -> Result<Bytes> {
        let mut zip = writer();
        for (path, file) in self.files() {
            let added = if file.content.len() < LARGE {
                add(&mut zip, path, file)
            } else {
                let label = format!("{path} {}", file.executable);
                let alone = || {
                    let mut alone = writer();
                    add(&mut alone, path, file)?;
                    Ok(alone.finish()?.into_inner().into())
                };
                let packed = cache.get_or_make(&label, &file.content, alone);
                packed.and_then(|packed| {
                    let mut alone = ZipArchive::new(Cursor::new(packed))?;
                    zip.raw_copy_file(alone.by_index_raw(0)?)
                })
            };
            added.map_err(|e| {
                Error::new(ErrorKind::PayloadTooLarge, format!("{path:?} cannot be packed"))
                    .with_source(&e)
            })?;
        }
        let written = zip.finish().map_err(|e| {
            Error::new(ErrorKind::PayloadTooLarge, "the archive cannot be packed").with_source(&e)
        })?;
        Ok(written.into_inner().into())
    }

    /// Reads a zip file that unpacks to at most [`DEFAULT_MAX_UNPACKED`] bytes.
    ///
    /// # Errors
    ///
    /// As [`from_zip_within`](Self::from_zip_within).
    pub fn from_zip(zip: &[u8]) -> Result<Self> {
        Self::from_zip_within(zip, DEFAULT_MAX_UNPACKED)
    }

    /// Reads a zip file whose files have at most `max_unpacked` bytes together.
    ///
    /// The sizes that the file claims are not believed. Directories are not kept: they follow from the files.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for what is not a zip file, is damaged or encrypted, names a file twice or outside of the archive,
    /// or holds a symbolic link; `PayloadTooLarge` for what is too large. The error names the file.
    pub fn from_zip_within(zip: &[u8], max_unpacked: u64) -> Result<Self> {
        if zip.len() < LARGE {
            return unpacked(zip, max_unpacked);
        }
        UNPACKED.get_or_make(&max_unpacked.to_string(), zip, || unpacked(zip, max_unpacked))
    }
}

type Writer = ZipWriter<Cursor<Vec<u8>>>;

fn writer() -> Writer {
    ZipWriter::new(Cursor::new(Vec::new()))
}

/// Packs a file.
fn add(zip: &mut Writer, path: &str, file: &File) -> ZipResult<()> {
    zip.start_file(path, options(file.executable, file.content.len() as u64))?;
    Ok(zip.write_all(&file.content)?)
}

fn options(executable: bool, length: u64) -> SimpleFileOptions {
    SimpleFileOptions::default()
        .system(System::Unix)
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(LEVEL))
        .last_modified_time(DateTime::default())
        .unix_permissions(if executable { 0o755 } else { 0o644 })
        .large_file(u32::try_from(length).is_err())
}

fn unpacked(zip: &[u8], max_unpacked: u64) -> Result<Archive> {
    let mut archive = Archive::new();
    each_file(zip, max_unpacked, |path, executable, entry| {
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(|e| damaged(path, &e))?;
        let length = content.len() as u64;
        archive.insert(path, File { content: content.into(), executable })?;
        Ok(length)
    })?;
    Ok(archive)
}

/// Calls `take` with each file's path, whether it can be started, and its content, of which `take` returns the length.
fn each_file(
    zip: &[u8],
    max_unpacked: u64,
    mut take: impl FnMut(&str, bool, &mut dyn Read) -> Result<u64>,
) -> Result<()> {
    let mut zip = ZipArchive::new(Cursor::new(zip)).map_err(|e| unreadable(&e))?;
    if zip.has_duplicate_names() {
        return Err(Error::invalid_input("the archive names a file twice"));
    }
    let mut left = max_unpacked;
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).map_err(|e| unreadable(&e))?;
        let path = entry.name().map_err(|e| unreadable(&e))?.into_owned();
        if entry.is_dir() {
            continue;
        }
        if entry.is_symlink() {
            return Err(Error::invalid_input(format!("{path:?} is a symbolic link"))
                .with_hint("put the file itself into the archive"));
        }
        let executable = entry.unix_mode().is_some_and(|mode| mode & 0o111 != 0);
        // One byte more than allowed, to distinguish "exactly full" from "too large".
        let length = take(&path, executable, &mut entry.by_ref().take(left.saturating_add(1)))?;
        left = left.checked_sub(length).ok_or_else(|| {
            Error::new(
                ErrorKind::PayloadTooLarge,
                format!("the archive unpacks to more than {max_unpacked} bytes, at {path:?}"),
            )
        })?;
    }
    Ok(())
}

fn damaged(path: &str, error: &std::io::Error) -> Error {
    Error::invalid_input(format!("{path:?} in the archive is damaged")).with_source(error)
}

fn unreadable(error: &ZipError) -> Error {
    Error::invalid_input("the code is not a readable zip archive")
        .with_source(error)
        .with_hint("make it with zip, or with falco_package::Archive")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that no packer makes much smaller.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    #[test]
    fn an_executable_of_several_functions_is_packed_once() {
        let cache = Cache::new(KEPT);
        let executable = Bytes::from(noise(LARGE));
        let archive = |entry: &str| {
            Archive::new()
                .with_executable("exec", executable.clone())
                .and_then(|archive| archive.with_file("entry", entry.to_owned()))
                .unwrap()
        };
        let mut packed = Vec::new();
        let mut count = |zip: &mut Writer, path: &str, file: &File| {
            packed.push(path.to_owned());
            add(zip, path, file)
        };
        let one = archive("one").packed(&cache, &mut count).unwrap();
        let two = archive("two").packed(&cache, &mut count).unwrap();
        assert_eq!(packed, ["entry", "exec", "entry"]);
        assert_ne!(one, two);
        // The same bytes as from an empty cache, and the same files.
        assert_eq!(archive("two").packed(&Cache::new(0), add).unwrap(), two);
        assert_eq!(Archive::from_zip(&two).unwrap(), archive("two"));
        // A file with other content, another name or another bit is another file.
        let other = Archive::new().with_file("exec", executable.clone()).unwrap();
        let other = other.packed(&cache, &mut |zip: &mut Writer, path: &str, file: &File| {
            assert!(!file.executable);
            add(zip, path, file)
        });
        assert!(!Archive::from_zip(&other.unwrap()).unwrap().get("exec").unwrap().executable);
    }

    #[test]
    fn a_large_archive_is_unpacked_once_for_each_limit() {
        let archive = Archive::new().with_file("data", noise(2 * LARGE)).unwrap();
        let zip = archive.to_zip().unwrap();
        let data = |archive: &Archive| archive.get("data").unwrap().content.as_ptr();
        let (one, two) = (Archive::from_zip(&zip).unwrap(), Archive::from_zip(&zip).unwrap());
        assert_eq!(one, archive);
        assert_eq!(data(&one), data(&two), "the same memory");
        let error = Archive::from_zip_within(&zip, LARGE as u64).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
    }
}
