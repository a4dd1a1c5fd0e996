//! Directories that are read-only, and their removal.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Takes away the permission to write in a directory and below, from everybody. The superuser needs none.
pub(crate) fn make_read_only(directory: &Path) -> io::Result<()> {
    change_modes(directory, &|mode| mode & !0o222)
}

/// Removes a directory, read-only or not.
pub(crate) fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            change_modes(directory, &|mode| mode | 0o700)?;
            fs::remove_dir_all(directory)
        }
        done => done,
    }
}

fn change_modes(path: &Path, change: &dyn Fn(u32) -> u32) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?;
    if kind.is_symlink() {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(change(kind.permissions().mode())))?;
    if kind.is_dir() {
        for entry in fs::read_dir(path)? {
            change_modes(&entry?.path(), change)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_only_can_be_removed() {
        let base = tempfile::tempdir().unwrap();
        let tree = base.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("a/b/file"), "x").unwrap();
        make_read_only(&tree).unwrap();
        for path in ["a", "a/b", "a/b/file"] {
            let mode = fs::metadata(tree.join(path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o222, 0, "{path}");
        }
        remove(&tree).unwrap();
        assert!(!tree.exists());
    }
}
