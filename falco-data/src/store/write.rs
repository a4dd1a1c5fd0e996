//! Objects that a program makes itself.

use bytes::Bytes;
use falco_core::Result;

use super::Store;
use crate::object::Object;

impl Store {
    /// Writes an object below the store's URL, such as an input that the program makes itself. One that is there is replaced.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a key that is not valid, and what the store refuses.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new().unwrap();
    /// # let folder = tempfile::tempdir().unwrap();
    /// # runtime.block_on(async {
    /// use falco_data::Store;
    ///
    /// let store = Store::folder(folder.path())?;
    /// let object = store.write("seeds/a.txt", "1\n2\n").await?;
    /// assert_eq!(object.len(), Some(4));
    /// # Ok::<_, falco_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn write(&self, key: &str, content: impl Into<Bytes> + Send) -> Result<Object> {
        let (object, content) = (self.object(key), content.into());
        let size = content.len() as u64;
        self.put(&object.url, content).await?;
        Ok(object.with_size(size))
    }
}
