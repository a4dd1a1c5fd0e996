//! The text files that an example reads.

mod chunks;
mod encoding;
mod frequency;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

pub use chunks::{Chunks, read_chunks, to_ascii};
pub use frequency::MostFrequent;

/// The texts that travel with the examples.
pub fn default_texts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/texts")
}

/// The files to read: each path as it is, or for a folder its regular files, sorted, not hidden and not deeper.
///
/// # Errors
///
/// When a path is not there, cannot be read, or holds no file, and when a file is compressed or not in an encoding that has
/// ASCII letters as bytes of their own: better now than after something was deployed.
pub fn find_texts(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        let kind = path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
        if kind.is_dir() {
            found.extend(files_in(path)?);
        } else {
            found.push(path.clone());
        }
    }
    // Opening a pipe only to close it again would end its writer.
    for file in &found {
        let unreadable = || format!("cannot read {}", file.display());
        if file.metadata().with_context(unreadable)?.is_file() {
            let mut beginning = Vec::new();
            let opened = File::open(file).with_context(unreadable)?;
            opened.take(encoding::SEEN).read_to_end(&mut beginning).with_context(unreadable)?;
            encoding::check(file, &beginning)?;
        }
    }
    ensure!(!found.is_empty(), "there is no file to read in {paths:?}");
    Ok(found)
}

fn files_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let unreadable = || format!("cannot read {}", folder.display());
    let mut files = Vec::new();
    for entry in folder.read_dir().with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        if is_hidden {
            continue;
        }
        // A link that leads nowhere is not a text that may be left out.
        let kind = path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
        if kind.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_folder_gives_its_visible_regular_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.txt", "a.txt", ".hidden"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        fs::create_dir(folder.path().join("deeper")).unwrap();
        let found = find_texts(&[folder.path().to_owned()]).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names, ["a.txt", "b.txt"]);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_named_unless_it_is_hidden() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.txt"), "x").unwrap();
        std::os::unix::fs::symlink("/nowhere", folder.path().join(".hidden")).unwrap();
        assert_eq!(find_texts(&[folder.path().to_owned()]).unwrap().len(), 1);
        let link = folder.path().join("c.txt");
        std::os::unix::fs::symlink("/nowhere", &link).unwrap();
        let error = find_texts(&[folder.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains(&link.display().to_string()), "{error}");
    }

    #[test]
    fn a_file_that_is_not_plain_text_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.txt");
        fs::write(&file, b"\x1f\x8b\x08\0").unwrap();
        let error = format!("{:#}", find_texts(&[folder.path().to_owned()]).unwrap_err());
        assert!(error.contains("a.txt") && error.contains("gunzip"), "{error}");
    }

    #[test]
    fn a_folder_without_a_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = find_texts(&[folder.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
    }
}
