//! The objects below a prefix.

use falco_core::{Error, ErrorKind, Result};
use futures_util::TryStreamExt;

use crate::object::Object;
use crate::place::join;
use crate::store::{Store, whole_list};

/// An object that a listing has found.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) url: String,
    pub(super) size: u64,
    pub(super) etag: Option<String>,
}

/// The objects below a prefix, sorted by key.
pub(super) async fn list(store: &Store, prefix: &str) -> Result<Vec<Listed>> {
    whole_list(|| list_once(store, prefix)).await
}

async fn list_once(store: &Store, prefix: &str) -> Result<Vec<Listed>> {
    let url = join(store.url(), prefix);
    let mut objects = Vec::new();
    // A folder's listing of a file is the file; a store's is what lies below that key.
    if store.is_folder() {
        objects.extend(single(store, prefix, &url).await?);
    }
    if objects.is_empty() {
        let mut listed = store.list(prefix)?;
        while let Some(meta) = listed.try_next().await? {
            let object = store.url_of(&meta.location);
            if !is_hidden(&object, &url) {
                let url = object;
                // An object that cannot be signed is refused here, and not when a function wants it.
                store.path(&url)?;
                objects.push(Listed { url, size: meta.size, etag: meta.e_tag });
            }
        }
    }
    if objects.is_empty() {
        objects.extend(single(store, prefix, &url).await?);
    }
    if objects.is_empty() {
        let what = if store.is_folder() { "file" } else { "object" };
        return Err(Error::new(ErrorKind::NotFound, format!("there is no {what} in {url}")));
    }
    objects.retain(|object| object.size > 0);
    objects.sort_unstable_by(|left, right| left.url.cmp(&right.url));
    Ok(objects)
}

/// Whether a name below the prefix says that it is not data: `_SUCCESS`, or a folder such as `_scratch` with all that is in it.
/// Folders such as `_year=2026` hold a column's value.
fn is_hidden(object: &str, prefix: &str) -> bool {
    let begins = |name: &str| name.starts_with(['.', '_']);
    let (folder, name) = object.rsplit_once('/').unwrap_or(("", object));
    let below = folder.strip_prefix(prefix).unwrap_or_default();
    begins(name) || below.split('/').any(|part| begins(part) && !part.contains('='))
}

/// The object that the prefix names, if it names one.
async fn single(store: &Store, prefix: &str, url: &str) -> Result<Option<Listed>> {
    if prefix.ends_with('/') {
        return Ok(None);
    }
    let meta = store.head(url).await?;
    Ok(meta.map(|meta| Listed { url: url.to_owned(), size: meta.size, etag: meta.e_tag }))
}

impl Listed {
    /// A reference to this version of it.
    pub(super) fn reference(&self) -> Object {
        Object::new(&*self.url).with_size(self.size).with_etag(self.etag.clone())
    }
}
