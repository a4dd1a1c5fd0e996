//! The files of a version before they are put in their place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use falco_core::Result;
use falco_package::shim;
use tempfile::TempDir;

use super::{State, is_whole, unusable};
use crate::package::{Files, Package};
use crate::tree;

/// The files of a version in a directory of their own, which is removed unless they are put in their place.
pub(super) struct Unpacked(TempDir);

impl Unpacked {
    fn files(&self) -> PathBuf {
        self.0.path().join("files")
    }

    /// Gives the version its name, in the place of what a dead driver's worker may write there at the same time.
    pub(super) fn put(&self, target: &Path) -> io::Result<()> {
        const ATTEMPTS: u32 = 100;
        for _ in 1..ATTEMPTS {
            match fs::rename(self.files(), target) {
                // It may be written to meanwhile.
                Err(_) if target.exists() => drop(tree::remove(target)),
                done => return done,
            }
        }
        fs::rename(self.files(), target)
    }
}

impl State {
    /// Unpacks a package. The caller holds the lock.
    pub(super) fn unpack(&self, package: &Package) -> Result<Unpacked> {
        let failed = |error: io::Error| unusable(&self.deployments, &error);
        // No deployment has such a name, and rubbish is removed only under the lock.
        let directory = tempfile::Builder::new().prefix(".unpacked-").tempdir_in(&self.deployments);
        let unpacked = Unpacked(directory.map_err(failed)?);
        let files = unpacked.files();
        if self.link_last(package, &files) {
            return Ok(unpacked);
        }
        package.files.unpack_to(&files)?;
        // As on a provider: what writes beside its code fails here, too.
        tree::make_read_only(&files.join(shim::FUNCTION)).map_err(failed)?;
        Ok(unpacked)
    }

    /// Remembers where the files of a native function are, for its executable's other functions.
    pub(super) fn remember(&self, package: &Package, directory: PathBuf) {
        if matches!(package.files, Files::Native { .. }) {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some((package.version.clone(), directory));
        }
    }

    /// Links the files of a native function that are on disk already, and says whether that was possible.
    fn link_last(&self, package: &Package, files: &Path) -> bool {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some((version, directory)) = last else { return false };
        let is_same = matches!(package.files, Files::Native { .. }) && version == package.version;
        if !is_same || !is_whole(&directory) {
            return false;
        }
        let linked = tree::link(&directory.join(shim::FUNCTION), &files.join(shim::FUNCTION));
        if linked.is_err() {
            // On a file system without links.
            let _ = tree::remove(files);
        }
        linked.is_ok()
    }
}
