//! Lines that are longer than many splits.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use falco_core::BoxStream;
use falco_data::{Splits, Store};
use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::signer::{Method, Signer, Url};
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// Counts the bytes of ranges that are read.
#[derive(Debug)]
struct Counting {
    files: LocalFileSystem,
    read: Arc<AtomicU64>,
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counting")
    }
}

#[async_trait]
impl ObjectStore for Counting {
    async fn put_opts(&self, to: &Path, of: PutPayload, with: PutOptions) -> Result<PutResult> {
        self.files.put_opts(to, of, with).await
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        with: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.files.put_multipart_opts(to, with).await
    }

    async fn get_opts(&self, from: &Path, with: GetOptions) -> Result<GetResult> {
        if let Some(GetRange::Bounded(range)) = &with.range {
            self.read.fetch_add(range.end - range.start, SeqCst);
        }
        self.files.get_opts(from, with).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, with: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, with).await
    }
}

#[async_trait]
impl Signer for Counting {
    async fn signed_url(&self, _: Method, path: &Path, _: Duration) -> Result<Url> {
        Ok(Url::parse("file:///").unwrap().join(path.as_ref()).unwrap())
    }
}

#[tokio::test]
async fn no_byte_of_a_long_line_is_read_twice_to_find_its_end() {
    const LINE: usize = 3 << 20;
    let folder = tempfile::tempdir().unwrap();
    let text = [vec![b'x'; LINE], b"\n1\n2\n".to_vec(), vec![b'y'; LINE]].concat();
    std::fs::write(folder.path().join("a.txt"), &text).unwrap();
    let read = Arc::<AtomicU64>::default();
    let store = Counting { files: LocalFileSystem::new(), read: read.clone() };
    let store = Store::new(&format!("file://{}", folder.path().display()), store).unwrap();
    let splits = Splits::lines(&store, "a.txt").target(1 << 16).stream();
    let splits: Vec<_> = splits.try_collect().await.unwrap();
    let lengths: Vec<_> = splits.iter().map(|split| split.len()).collect();
    // Whole lines; both short ones belong to the same boundary, or to the end of the long one.
    assert_eq!(lengths.iter().sum::<u64>(), text.len() as u64);
    assert!(lengths.len() <= 4 && lengths[0] > LINE as u64, "{lengths:?}");
    assert!(read.load(SeqCst) <= text.len() as u64, "{} bytes were read", read.load(SeqCst));
}
