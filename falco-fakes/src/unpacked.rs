//! The files of a deployment, on the disk once for all instances.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use falco_package::Archive;
use tempfile::TempDir;

use crate::http::lock;

/// The files of a deployment, which are unpacked for its first instance. Each instance has a directory of its own, with links to
/// them: a large executable is unpacked once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unpacked(Arc<Mutex<Option<TempDir>>>);

impl Unpacked {
    /// Makes the directory of an instance. `archive` is asked for the files as long as they are not there.
    pub(crate) fn link_to(
        &self,
        directory: &Path,
        archive: impl FnOnce() -> io::Result<Archive>,
    ) -> io::Result<()> {
        let mut unpacked = lock(&self.0);
        let files = match &mut *unpacked {
            Some(files) => files,
            none => {
                let files = tempfile::tempdir()?;
                archive()?.unpack_to(files.path()).map_err(io::Error::other)?;
                none.insert(files)
            }
        };
        link(files.path(), directory)
    }
}

/// Makes a directory of links to the files of another one.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => link(&entry.path(), &target)?,
            false => std::fs::hard_link(entry.path(), target)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_unpacked_once_and_instances_have_directories_of_their_own() {
        let archive = Archive::new().with_file("a/b", "text").unwrap();
        let unpacked = Unpacked::default();
        let base = tempfile::tempdir().unwrap();
        let failed = unpacked.link_to(&base.path().join("0"), || Err(io::Error::other("no zip")));
        assert_eq!(failed.unwrap_err().to_string(), "no zip");
        let instances = ["1", "2"].map(|name| base.path().join(name));
        unpacked.link_to(&instances[0], || Ok(archive)).unwrap();
        unpacked.clone().link_to(&instances[1], || Err(io::Error::other("once"))).unwrap();
        std::fs::write(instances[0].join("a/own"), "").unwrap();
        assert!(!instances[1].join("a/own").exists());
        std::fs::remove_dir_all(&instances[0]).unwrap();
        assert_eq!(std::fs::read(instances[1].join("a/b")).unwrap(), b"text");
    }
}
