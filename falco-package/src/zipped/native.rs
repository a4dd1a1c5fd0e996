//! Executables that are packed from a file and unpacked to one, so that none is held in memory.

use std::fs;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use bytes::Bytes;
use falco_core::{Error, ErrorKind, Result};

use super::{DEFAULT_MAX_UNPACKED, add, damaged, each_file, options, writer};
use crate::archive::{Archive, File};
use crate::directory::{unreadable, unwritable};
use crate::executable::NewFile;
use crate::native::{NATIVE_EXECUTABLE, check_executable};
use crate::requirements::{Requirements, System};

/// The beginning of an executable that says what it is: an ELF header, or a line that names an interpreter.
const BEGINNING: u64 = 4096;

impl Archive {
    /// The zip file of a native function: the executable at `path`, as `exec`, beside the files of `others`. The same
    /// files give the same bytes; the executable is read piece by piece.
    ///
    /// # Errors
    ///
    /// As [`Archive::native`] and [`to_zip`](Self::to_zip); `Conflict` when `others` holds `exec`.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_package::Archive;
    ///
    /// let zip = Archive::zip_native(std::env::current_exe()?, &Archive::new())?;
    /// assert!(Archive::from_zip(&zip)?.contains("exec"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn zip_native(path: impl AsRef<Path>, others: &Self) -> Result<Bytes> {
        let path = path.as_ref();
        let failed = |error: &io::Error| unreadable(path, error);
        let mut executable = fs::File::open(path).map_err(|error| failed(&error))?;
        let mut beginning = Vec::new();
        let read = (&executable).take(BEGINNING).read_to_end(&mut beginning);
        read.and_then(|_| executable.rewind()).map_err(|error| failed(&error))?;
        check_executable(&path.display().to_string(), &beginning)?;
        let length = executable.metadata().map_err(|error| failed(&error))?.len();
        // It has the executable's place among the files.
        let files = others.clone().with_executable(NATIVE_EXECUTABLE, Bytes::new())?;
        let mut zip = writer();
        for (name, file) in files.files() {
            let added = if name == NATIVE_EXECUTABLE {
                let started = zip.start_file(name, options(true, length));
                started.and_then(|()| Ok(io::copy(&mut executable, &mut zip).map(drop)?))
            } else {
                add(&mut zip, name, file)
            };
            added.map_err(|error| cannot_be_packed(&error))?;
        }
        let written = zip.finish().map_err(|error| cannot_be_packed(&error))?;
        Ok(written.into_inner().into())
    }

    /// Unpacks the zip file of a native function into `directory`, which is made when it is not there, piece by piece, and checks
    /// it as [`check_native_on`](Self::check_native_on) does. After an error the directory holds a part of it. Executables are written
    /// by a process of their own: they can be started at once, whatever other threads start meanwhile.
    ///
    /// # Errors
    ///
    /// As [`from_zip`](Self::from_zip), [`check_native_on`](Self::check_native_on) and [`unpack_to`](Self::unpack_to).
    pub fn unpack_native(zip: &[u8], directory: impl AsRef<Path>, system: &System) -> Result<()> {
        let root = directory.as_ref();
        fs::create_dir_all(root).map_err(|error| unwritable(root, &error))?;
        // The beginnings of the files, to be checked as an archive is.
        let mut beginnings = Self::new();
        each_file(zip, DEFAULT_MAX_UNPACKED, |path, executable, content| {
            let mut beginning = Vec::new();
            let read = (&mut *content).take(BEGINNING).read_to_end(&mut beginning);
            read.map_err(|error| damaged(path, &error))?;
            let start = File::new(beginning.clone(), executable);
            // It refuses paths that lead out of the directory, before anything is written.
            beginnings.insert(path, start)?;
            let at = root.join(path);
            if let Some(parent) = at.parent() {
                fs::create_dir_all(parent).map_err(|error| unwritable(parent, &error))?;
            }
            let file = NewFile::create_new(&at, executable);
            let mut file = file.map_err(|error| unwritable(&at, &error))?;
            file.write_all(&beginning).map_err(|error| unwritable(&at, &error))?;
            let mut length = beginning.len() as u64;
            let mut piece = vec![0; 64 << 10];
            loop {
                let read = content.read(&mut piece).map_err(|error| damaged(path, &error))?;
                if read == 0 {
                    file.finish().map_err(|error| unwritable(&at, &error))?;
                    return Ok(length);
                }
                file.write_all(&piece[..read]).map_err(|error| unwritable(&at, &error))?;
                length += read as u64;
            }
        })?;
        beginnings.check_native()?;
        Requirements::of_file(root.join(NATIVE_EXECUTABLE))?.check(system)
    }
}

fn cannot_be_packed(error: &(dyn std::error::Error + 'static)) -> Error {
    Error::new(ErrorKind::PayloadTooLarge, "the executable cannot be packed").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_that_is_packed_from_its_file_is_unpacked_as_it_was() {
        let own = std::env::current_exe().unwrap();
        let others = Archive::new().with_executable("bootstrap", "#!/bin/sh\n").unwrap();
        let others = others.with_file("later.txt", "text").unwrap();
        let zip = Archive::zip_native(&own, &others).unwrap();
        let held = Archive::native(&own).unwrap().with_executable("bootstrap", "#!/bin/sh\n");
        let held = held.unwrap().with_file("later.txt", "text").unwrap();
        assert!(Archive::from_zip(&zip).unwrap() == held, "other files");
        assert!(zip == Archive::zip_native(&own, &others).unwrap(), "other bytes");

        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("function");
        Archive::unpack_native(&zip, &at, &System::current()).unwrap();
        assert!(Archive::from_directory(&at).unwrap() == held, "other files");
        // Nothing is written over.
        let error = Archive::unpack_native(&zip, &at, &System::current()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }

    #[test]
    fn what_is_not_a_native_function_is_refused_as_an_archive_is() {
        let script = |bytes: &'static [u8]| Archive::new().with_executable("exec", bytes);
        for archive in [
            script(b"#!/bin/sh\n"),
            script(b"neither"),
            script(b"#!/bin/sh\r\n"),
            script(b"\x7fELF\x02 damaged"),
            script(b"\x7fELF\x01 of 32 bits"),
            script(b""),
            Archive::new().with_file("exec", "#!/bin/sh\n"),
            Archive::new().with_file("other", ""),
        ] {
            let archive = archive.unwrap();
            let folder = tempfile::tempdir().unwrap();
            let zip = archive.to_zip().unwrap();
            let streamed = Archive::unpack_native(&zip, folder.path(), &System::current());
            let held = archive.check_native_on(&System::current());
            let text = |result: Result<()>| result.map_err(|error| error.to_string());
            assert_eq!(text(streamed), text(held), "{archive:?}");
        }
        let error = Archive::zip_native("Cargo.toml", &Archive::new()).unwrap_err();
        assert!(error.to_string().contains("Cargo.toml"), "{error}");
    }

    #[test]
    fn a_path_that_leads_out_of_the_directory_is_refused_before_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut zip = writer();
        zip.start_file("../outside", options(true, 1)).unwrap();
        zip.write_all(b"x").unwrap();
        let zip = zip.finish().unwrap().into_inner();
        let inside = folder.path().join("inside");
        let error = Archive::unpack_native(&zip, &inside, &System::current()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(!folder.path().join("outside").exists());
    }
}
