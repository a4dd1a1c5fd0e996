//! Directories that are read-only, and their removal.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Takes away the permission to write in a directory and below, from everybody. The superuser needs none.
pub(crate) fn make_read_only(directory: &Path) -> io::Result<()> {
    change_modes(directory, &|_, mode| mode & !0o222)
}

/// Makes a read-only directory of hard links to the files of another one.
pub(crate) fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            link(&entry.path(), &target)?;
        } else {
            fs::hard_link(entry.path(), target)?;
        }
    }
    let mode = fs::metadata(to)?.permissions().mode();
    fs::set_permissions(to, Permissions::from_mode(mode & !0o222))
}

/// Removes a directory, read-only or not.
pub(crate) fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // A file needs no permission to be removed, and may be one of another directory as well.
            change_modes(directory, &|is_dir, mode| if is_dir { mode | 0o700 } else { mode })?;
            fs::remove_dir_all(directory)
        }
        done => done,
    }
}

fn change_modes(path: &Path, change: &dyn Fn(bool, u32) -> u32) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?;
    if kind.is_symlink() {
        return Ok(());
    }
    let (is_dir, mode) = (kind.is_dir(), kind.permissions().mode());
    let changed = change(is_dir, mode);
    if changed != mode {
        fs::set_permissions(path, Permissions::from_mode(changed))?;
    }
    if is_dir {
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

    #[test]
    fn a_linked_directory_outlives_the_other_and_stays_read_only() {
        let base = tempfile::tempdir().unwrap();
        let (one, other) = (base.path().join("one"), base.path().join("other"));
        fs::create_dir_all(one.join("a")).unwrap();
        fs::write(one.join("a/file"), "x").unwrap();
        make_read_only(&one).unwrap();
        link(&one, &other).unwrap();
        remove(&one).unwrap();
        assert_eq!(fs::read_to_string(other.join("a/file")).unwrap(), "x");
        for path in ["", "a", "a/file"] {
            let mode = fs::metadata(other.join(path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o222, 0, "{path}");
        }
        remove(&other).unwrap();
    }
}
