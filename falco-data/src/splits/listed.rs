//! The objects below a prefix.

use falco_core::{Error, ErrorKind, Result};
use futures_util::TryStreamExt;

use crate::object::Object;
use crate::place::join;
use crate::store::Store;

/// An object that a listing has found.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) url: String,
    pub(super) size: u64,
    pub(super) etag: Option<String>,
}

/// The objects below a prefix, sorted by key.
pub(super) async fn list(store: &Store, prefix: &str) -> Result<Vec<Listed>> {
    let url = join(store.url(), prefix);
    let mut objects = Vec::new();
    if !prefix.ends_with('/')
        && let Some(meta) = store.head(&url).await?
    {
        objects.push(Listed { url: url.clone(), size: meta.size, etag: meta.e_tag });
    } else {
        let mut listed = store.list(prefix)?;
        while let Some(meta) = listed.try_next().await? {
            let is_hidden =
                meta.location.filename().is_some_and(|name| name.starts_with(['.', '_']));
            if !is_hidden {
                let url = store.url_of(&meta.location);
                // An object that cannot be signed is refused here, and not when a function wants it.
                store.path(&url)?;
                objects.push(Listed { url, size: meta.size, etag: meta.e_tag });
            }
        }
    }
    if objects.is_empty() {
        let what = if store.is_folder() { "file" } else { "object" };
        return Err(Error::new(ErrorKind::NotFound, format!("there is no {what} in {url}")));
    }
    objects.retain(|object| object.size > 0);
    objects.sort_unstable_by(|left, right| left.url.cmp(&right.url));
    Ok(objects)
}

impl Listed {
    /// A reference to this version of it.
    pub(super) fn reference(&self) -> Object {
        Object::new(&*self.url).with_size(self.size).with_etag(self.etag.clone())
    }
}
