//! Stores: places of objects, and the means to read, write and sign there.

mod folder;
mod list;
mod open;
mod write;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use falco_core::{BoxStream, Error, ErrorKind, Result};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::signer::{Method, Signer};
use object_store::{
    GetOptions, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};

use crate::failure::{changed, of_store};
use crate::object::{Object, Sink};
use crate::place::{Place, Scheme, join, lies_in, shown};

pub(crate) use list::whole_list;

/// A place of objects, a folder or a prefix in a bucket, and the right to read, write and sign there. A clone is the same
/// store.
///
/// | URL | store | feature | configured by |
/// |---|---|---|---|
/// | `file:///FOLDER` | a folder of this machine | | |
/// | `s3://BUCKET/PREFIX` | Amazon S3, and servers that speak its protocol | `aws` | `AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT` .. |
/// | `gs://BUCKET/PREFIX` | Google Cloud Storage | `gcp` | `GOOGLE_SERVICE_ACCOUNT` .. |
/// | `az://CONTAINER/PREFIX` | Azure Blob Storage | `azure` | `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY` .. |
///
/// The variables are those of the crate `object_store`. What they cannot say, [`new`](Self::new) takes as a built store.
///
/// # Examples
///
/// ```
/// use falco_data::Store;
///
/// let store = Store::open("file:///data/in")?;
/// assert_eq!(store.object("a.txt").url, "file:///data/in/a.txt");
/// assert!(Store::open("data/in").unwrap_err().to_string().contains("it has no scheme"));
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    place: Place,
    url: String,
    store: Arc<dyn ObjectStore>,
    signer: Arc<dyn Signer>,
}

/// A URL that needs no credentials, until it expires.
#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) url: String,
    /// Seconds since 1970; none for a folder, whose URLs do not expire.
    pub(crate) until: Option<u64>,
}

/// Requests to one store at once, of planning and of cleaning.
pub(crate) const AT_ONCE: usize = 64;

impl Store {
    /// Opens the store at `url`. It does no I/O: what is missing or forbidden shows when the store is used.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a URL without a known scheme, and for configuration that does not make a store;
    /// `Unsupported` when the crate was built without the store's feature.
    pub fn open(url: &str) -> Result<Self> {
        if url.contains('?') {
            let message = format!("invalid URL of a store {:?}: it has a query", shown(url));
            return Err(Error::invalid_input(message));
        }
        open::open(Place::parse(url)?)
    }

    /// Opens a folder of this machine, such as `data/in` or `../data`. It is made when something is written.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a path that is not UTF-8, or that cannot be made absolute.
    pub fn folder(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = folder::absolute(path.as_ref()).map_err(|error| {
            Error::invalid_input("the path of a folder is not valid").with_source(&error)
        })?;
        match path.to_str() {
            Some(path) => Self::open(&format!("file://{path}")),
            None => Err(Error::invalid_input(format!("the path {} is not UTF-8", path.display()))),
        }
    }

    /// A store at `url`, such as `s3://bucket/prefix`, behind a client of the crate `object_store` for that bucket.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a URL without a known scheme.
    pub fn new<S: ObjectStore + Signer>(url: &str, store: S) -> Result<Self> {
        let store = Arc::new(store);
        Self::of(Place::parse(url)?, store.clone(), store)
    }

    fn of(place: Place, store: Arc<dyn ObjectStore>, signer: Arc<dyn Signer>) -> Result<Self> {
        let url = place.url();
        path_of(&place.key, &url)?;
        Ok(Self(Arc::new(Inner { url, place, store, signer })))
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// Whether it is a folder of this machine, which functions elsewhere do not see.
    pub fn is_folder(&self) -> bool {
        self.0.place.scheme == Scheme::File
    }

    /// The object with this key below the store's URL. It does no I/O.
    pub fn object(&self, key: &str) -> Object {
        Object::new(join(self.url(), key))
    }

    /// A place for one object of each writer below the store's URL. Falco adds run, attempt, a random part and a hash of the
    /// run to the key: `part.csv` becomes `part-RUN-1-5f3a7c019e2b811c9dc5.csv`.
    pub fn sink(&self, key: &str) -> Sink {
        Sink::at(self.url(), key)
    }

    /// Reads an object, or its range, piece by piece.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an object of another store, `NotFound`, `Conflict` for one that has changed since it was
    /// planned, and what the store refuses; also later, in the stream.
    pub async fn read(&self, object: &Object) -> Result<BoxStream<'static, Result<Bytes>>> {
        let url = object.url.clone();
        let mut options = GetOptions::new().with_if_match(object.etag.clone());
        match object.range {
            Some((from, to)) if from >= to => return Ok(futures_util::stream::empty().boxed()),
            Some((from, to)) => options = options.with_range(Some(from..to)),
            None => {}
        }
        let got = self.got(&url, options).await?;
        Ok(got.into_stream().map_err(move |error| of_read(&url, &error)).boxed())
    }

    /// Whether `url` is that of the store, or of something below it.
    pub fn holds(&self, url: &str) -> bool {
        lies_in(url, self.url())
    }

    /// The path in the bucket.
    pub(crate) fn path(&self, url: &str) -> Result<Path> {
        if !self.holds(url) {
            let message = format!("{} is not an object of the store {}", shown(url), self.url());
            return Err(Error::invalid_input(message));
        }
        let place = Place::parse(url)?;
        if self.0.place.scheme == Scheme::Az
            && let Some(odd) = place.key.chars().find(|c| !signs_on_azure(*c))
        {
            let message = format!("{url}: names with {odd:?} cannot be signed on Azure");
            return Err(Error::unsupported(message)
                .with_hint("use letters, digits, '-', '_' and '.' in names of blobs"));
        }
        path_of(&place.key, url)
    }

    /// The URL of what a listing has found.
    pub(crate) fn url_of(&self, path: &Path) -> String {
        let root = Place { key: String::new(), ..self.0.place.clone() };
        join(&root.url(), path.as_ref())
    }

    /// Everything below `prefix`, in the order of the store. A listing that breaks off is an error: see [`whole_list`].
    pub(crate) fn list(&self, prefix: &str) -> Result<BoxStream<'static, Result<ObjectMeta>>> {
        let url = join(self.url(), prefix);
        let path = self.path(&url)?;
        let listed = self.0.store.list((!path.as_ref().is_empty()).then_some(&path));
        Ok(listed.map_err(move |error| of_store("list", &url, &error)).boxed())
    }

    /// Size and version of an object, if there is one.
    pub(crate) async fn head(&self, url: &str) -> Result<Option<ObjectMeta>> {
        let path = self.path(url)?;
        if path.as_ref().is_empty() {
            return Ok(None);
        }
        match self.0.store.head(&path).await {
            Ok(meta) => Ok(Some(meta)),
            // A bucket that is not there is an error of its own: it shows in the listing.
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(of_store("look at", url, &error)),
        }
    }

    /// Bytes of an object, as long as it is the version `etag`.
    pub(crate) async fn get_range(
        &self,
        url: &str,
        range: Range<u64>,
        etag: Option<String>,
    ) -> Result<Bytes> {
        let options = GetOptions::new().with_range(Some(range)).with_if_match(etag);
        let got = self.got(url, options).await?;
        got.bytes().await.map_err(|error| of_read(url, &error))
    }

    /// The beginning of an answer, as long as the object is the version that is asked for: not every store heeds `If-Match`.
    async fn got(&self, url: &str, options: GetOptions) -> Result<GetResult> {
        let (path, wanted) = (self.path(url)?, options.if_match.clone());
        let got = self.0.store.get_opts(&path, options).await.map_err(|e| of_read(url, &e))?;
        match (wanted, &got.meta.e_tag) {
            (Some(wanted), Some(found)) if version_of(&wanted) != version_of(found) => {
                Err(changed(url))
            }
            _ => Ok(got),
        }
    }

    /// A whole object.
    pub(crate) async fn get(&self, url: &str) -> Result<Bytes> {
        let got = self.0.store.get(&self.path(url)?).await.map_err(|e| of_read(url, &e))?;
        got.bytes().await.map_err(|error| of_read(url, &error))
    }

    pub(crate) async fn put(&self, url: &str, content: Bytes) -> Result<()> {
        let path = self.path(url)?;
        let put = self.0.store.put(&path, PutPayload::from_bytes(content)).await;
        put.map(drop).map_err(|error| of_store("write", url, &error))
    }

    /// Writes an object that is not there yet.
    ///
    /// # Errors
    ///
    /// `Conflict` when it is.
    pub(crate) async fn create(&self, url: &str, content: Bytes) -> Result<()> {
        let path = self.path(url)?;
        let options = PutOptions::from(PutMode::Create);
        let put = self.0.store.put_opts(&path, PutPayload::from_bytes(content), options).await;
        put.map(drop).map_err(|error| of_store("create", url, &error))
    }

    /// Deletes objects, many at once; what is gone already counts as deleted.
    pub(crate) async fn delete(&self, paths: Vec<Path>) -> Vec<(Path, Error)> {
        let deleted = futures_util::stream::iter(paths).map(|path| {
            let this = self.clone();
            async move {
                match this.0.store.delete(&path).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => None,
                    Err(error) => {
                        let error = of_store("delete", &this.url_of(&path), &error);
                        Some((path, error))
                    }
                }
            }
        });
        deleted.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await
    }

    /// A URL by which a function reads or writes, for as long as `lifetime`.
    pub(crate) async fn sign(
        &self,
        method: Method,
        url: &str,
        lifetime: Duration,
    ) -> Result<Signed> {
        let path = self.path(url)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let signed = self.0.signer.signed_url(method, &path, lifetime).await;
        let signed = signed.map_err(|error| of_store("sign", url, &error))?;
        let until = (!self.is_folder()).then(|| (now + lifetime).as_secs());
        Ok(Signed { url: signed.into(), until })
    }

    /// Headers that a write has to carry besides its signature.
    pub(crate) fn put_headers(&self) -> &'static [(&'static str, &'static str)] {
        match self.0.place.scheme {
            Scheme::Az => &[("x-ms-blob-type", "BlockBlob")],
            Scheme::File | Scheme::S3 | Scheme::Gs => &[],
        }
    }
}

/// The longest that a signed URL may live: the stores refuse more.
pub(crate) const LONGEST_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// `object_store` signs the encoded name where Azure checks the plain one: they have to be the same.
fn signs_on_azure(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/')
}

/// The version alone: listings and answers differ in quotes.
fn version_of(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}

fn path_of(key: &str, url: &str) -> Result<Path> {
    // Not `Path::from`, which encodes again what is encoded.
    Path::parse(key).map_err(|error| {
        Error::invalid_input(format!("invalid key in {}", shown(url))).with_source(&error)
    })
}

fn of_read(url: &str, error: &object_store::Error) -> Error {
    match error {
        object_store::Error::Precondition { .. } => changed(url),
        _ => of_store("read", url, error),
    }
}

/// The first of `stores` that is the closest to `url`.
pub(crate) fn store_of<'a>(stores: &'a [Store], url: &str) -> Result<&'a Store> {
    let holding = stores.iter().filter(|store| store.holds(url));
    holding.max_by_key(|store| store.url().len()).ok_or_else(|| {
        let known: Vec<_> = stores.iter().map(Store::url).collect();
        let message = format!("{} lies in none of the stores {}", shown(url), known.join(", "));
        Error::new(ErrorKind::InvalidInput, message).with_hint("add its store by Data::with_store")
    })
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.0.url).finish()
    }
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").field("url", &shown(&self.url)).finish_non_exhaustive()
    }
}
