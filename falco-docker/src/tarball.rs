//! Files as a tar archive, which the daemon unpacks in an image.

use std::io;

use bytes::Bytes;
use falco_core::{Error, ErrorKind, Result};
use falco_package::Archive;

/// The files of an archive as a tar archive, below `root`.
pub(crate) fn of(root: &str, files: &Archive) -> Result<Bytes> {
    let mut builder = tar::Builder::new(Vec::new());
    add(&mut builder, root, files)?;
    finish(builder)
}

/// Adds the files of an archive, below `root`.
pub(crate) fn add(builder: &mut tar::Builder<Vec<u8>>, root: &str, files: &Archive) -> Result<()> {
    for (path, file) in files.files() {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.content.len() as u64);
        header.set_mode(if file.executable { 0o755 } else { 0o644 });
        let path = format!("{root}/{path}");
        let path = path.trim_start_matches('/');
        builder.append_data(&mut header, path, &file.content[..]).map_err(|e| unpackable(&e))?;
    }
    Ok(())
}

pub(crate) fn finish(builder: tar::Builder<Vec<u8>>) -> Result<Bytes> {
    builder.into_inner().map(Bytes::from).map_err(|error| unpackable(&error))
}

fn unpackable(error: &io::Error) -> Error {
    Error::new(ErrorKind::InvalidInput, "the function's files cannot be packed").with_source(error)
}
