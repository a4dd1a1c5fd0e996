//! Folders sign, too: functions on this machine read and write files by their URLs.

use std::io;
use std::path::{Component, PathBuf};
use std::time::Duration;

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::signer::{Method, Signer, Url};

/// Makes the URL of a file.
#[derive(Debug)]
pub(super) struct FolderSigner(pub(super) LocalFileSystem);

#[async_trait::async_trait]
impl Signer for FolderSigner {
    async fn signed_url(&self, _: Method, path: &Path, _: Duration) -> object_store::Result<Url> {
        let file = self.0.path_to_filesystem(path)?;
        Url::from_file_path(&file).map_err(|()| object_store::Error::Generic {
            store: "LocalFileSystem",
            source: format!("{} has no URL", file.display()).into(),
        })
    }
}

/// The absolute path of a folder, which need not be there, without `..`: keys have none.
pub(super) fn absolute(path: &std::path::Path) -> io::Result<PathBuf> {
    let mut plain = PathBuf::new();
    for part in std::path::absolute(path)?.components() {
        if part == Component::ParentDir {
            // What is there may be a link to another folder.
            plain = plain.canonicalize().unwrap_or(plain);
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    Ok(plain)
}
