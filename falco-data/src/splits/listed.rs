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
            let name = meta.location.filename();
            if !name.is_some_and(|name| name.starts_with(['.', '_'])) {
                let url = store.url_of(&meta.location);
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
