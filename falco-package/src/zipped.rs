//! Archives as zip files. The only module that knows the `zip` crate, whose major versions come fast.

use std::io::{Cursor, Read, Write};

use bytes::Bytes;
use falco_core::{Error, ErrorKind, Result};
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipArchive, ZipWriter};

use crate::archive::{Archive, File};

/// How large an archive may become when it is unpacked, in bytes, unless the caller says otherwise: 1 GiB.
pub const DEFAULT_MAX_UNPACKED: u64 = 1 << 30;

/// Written out, so that the default of a library's next version does not change the bytes.
const LEVEL: i64 = 6;

impl Archive {
    /// The archive as a zip file; equal archives give equal bytes.
    ///
    /// Entries are sorted, their time is the first that zip knows (1 January 1980), and of the permissions only
    /// the executable bit is kept.
    ///
    /// # Errors
    ///
    /// `PayloadTooLarge` for what zip cannot hold; the error names the file.
    pub fn to_zip(&self) -> Result<Bytes> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (path, file) in self.files() {
            let options = SimpleFileOptions::default()
                .system(System::Unix)
                .compression_method(CompressionMethod::Deflated)
                .compression_level(Some(LEVEL))
                .last_modified_time(DateTime::default())
                .unix_permissions(if file.executable { 0o755 } else { 0o644 })
                .large_file(u32::try_from(file.content.len()).is_err());
            zip.start_file(path, options)
                .and_then(|()| Ok(zip.write_all(&file.content)?))
                .map_err(|e| {
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
        let mut zip = ZipArchive::new(Cursor::new(zip)).map_err(|e| unreadable(&e))?;
        if zip.has_duplicate_names() {
            return Err(Error::invalid_input("the archive names a file twice"));
        }
        let mut archive = Self::new();
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
            // One byte more than allowed, to distinguish "exactly full" from "too large".
            let mut content = Vec::new();
            entry.by_ref().take(left.saturating_add(1)).read_to_end(&mut content).map_err(|e| {
                Error::invalid_input(format!("{path:?} in the archive is damaged")).with_source(&e)
            })?;
            left = left.checked_sub(content.len() as u64).ok_or_else(|| {
                Error::new(
                    ErrorKind::PayloadTooLarge,
                    format!("the archive unpacks to more than {max_unpacked} bytes, at {path:?}"),
                )
            })?;
            let executable = entry.unix_mode().is_some_and(|mode| mode & 0o111 != 0);
            archive.insert(path, File { content: content.into(), executable })?;
        }
        Ok(archive)
    }
}

fn unreadable(error: &ZipError) -> Error {
    Error::invalid_input("the code is not a readable zip archive")
        .with_source(error)
        .with_hint("make it with zip, or with falco_package::Archive")
}
