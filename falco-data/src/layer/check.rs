//! Whether the scratch store takes what functions will do, found out before anything is invoked.

use bytes::Bytes;
use falco_core::{AsyncPlatform, Error, ErrorKind, Result};
use futures_util::StreamExt;

use super::Data;
use crate::place::join;
use crate::store::Store;

const CONTENT: &[u8] = b"falco checks the store";

impl<P: AsyncPlatform> Data<P> {
    /// Writes and reads an object of the scratch store as functions do, by signed URLs, and deletes it. The first
    /// [`deploy`](falco_core::Platform::deploy) does so. It lists the other stores, which finds a missing bucket
    /// and a wrong region. A missing permission to list is not an error: functions may read without it.
    ///
    /// It runs here: it sees clock, region, permissions and the bucket, and not whether a function has a route to the
    /// store.
    ///
    /// # Errors
    ///
    /// `Forbidden` with the store's code, `NotFound` for a bucket that is not there, `InvalidInput` for a wrong region,
    /// `Unavailable` when nobody answers.
    pub async fn check(&self) -> Result<()> {
        let scratch = self.scratch();
        let url = join(scratch.url(), &format!("runs/check-{:012x}", fastrand::u64(..1 << 48)));
        let mut is_reached = false;
        let checked = if scratch.is_folder() {
            scratch.put(&url, Bytes::from_static(CONTENT)).await?;
            is_reached = true;
            scratch.get_range(&url, 6..12, None).await
        } else {
            self.check_signed(&url, &mut is_reached).await
        };
        let path = scratch.path(&url)?;
        // Where nobody listens nothing is left, and the client would try for long to delete it.
        let left = if is_reached { scratch.delete(vec![path]).await } else { Vec::new() };
        let hint = "functions write, read and list below the scratch store, and its driver deletes";
        let address = "check the address of the store, such as AWS_ENDPOINT, and the route to it";
        let read = checked.map_err(|error| match error.hint() {
            Some(_) => error,
            None if error.kind() == ErrorKind::Unavailable => error.with_hint(address),
            None => error.with_hint(hint),
        })?;
        if *read != CONTENT[6..12] {
            let message = format!("{} returned other bytes than were written", scratch.url());
            return Err(Error::new(ErrorKind::Protocol, message));
        }
        if let Some((_, error)) = left.into_iter().next() {
            return Err(error.with_hint(hint));
        }
        let others = self.stores[1..].iter().map(is_there);
        futures_util::future::try_join_all(others).await.map(drop)
    }

    #[cfg(not(feature = "cloud"))]
    async fn check_signed(&self, url: &str, is_reached: &mut bool) -> Result<Bytes> {
        // Without a client of our own the store's has to do.
        *is_reached = true;
        self.scratch().put(url, Bytes::from_static(CONTENT)).await?;
        self.scratch().get_range(url, 6..12, None).await
    }

    #[cfg(feature = "cloud")]
    async fn check_signed(&self, url: &str, is_reached: &mut bool) -> Result<Bytes> {
        use object_store::signer::Method;

        let scratch = self.scratch();
        let client = reqwest::Client::new();
        let lifetime = self.policy.url_lifetime;
        let put = scratch.sign(Method::PUT, url, lifetime).await?;
        let headers = scratch.put_headers().iter();
        let request = headers
            .fold(client.put(put.url), |request, (name, value)| request.header(*name, *value));
        answered("write", url, request.body(CONTENT), is_reached).await?;
        let get = scratch.sign(Method::GET, url, lifetime).await?;
        let request = client.get(get.url).header("Range", "bytes=6-11");
        answered("read", url, request, is_reached).await
    }
}

/// Whether the bucket of a store is there, as far as one may know it without writing.
async fn is_there(store: &Store) -> Result<()> {
    if store.is_folder() {
        // It is made when something is written.
        return Ok(());
    }
    match store.list("")?.next().await {
        Some(Err(error))
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

#[cfg(feature = "cloud")]
async fn answered(
    what: &str,
    url: &str,
    request: reqwest::RequestBuilder,
    is_reached: &mut bool,
) -> Result<Bytes> {
    let unavailable = |error: reqwest::Error| {
        // The URL of the error would show the signature.
        let message = format!("{what} {url}: the store did not answer");
        Error::new(ErrorKind::Unavailable, message).with_source(&error.without_url())
    };
    let response = request.send().await;
    *is_reached |= response.as_ref().err().is_none_or(|error| !error.is_connect());
    let response = response.map_err(unavailable)?;
    let status = response.status();
    let body = response.bytes().await.map_err(unavailable)?;
    if status.is_success() {
        return Ok(body);
    }
    let text = String::from_utf8_lossy(&body);
    let tag = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once('<').map(|(value, _)| value.to_owned())
    };
    let code = tag("Code").unwrap_or_default();
    let kind = match status.as_u16() {
        300..400 => ErrorKind::InvalidInput,
        400 if code == "AuthorizationHeaderMalformed"
            || code == "AuthorizationQueryParametersError" =>
        {
            ErrorKind::InvalidInput
        }
        400 | 401 | 403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        408 | 429 | 500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Other,
    };
    let error = Error::new(kind, format!("{what} {url} by a signed URL: {status} {code}"));
    let hint = match (kind, crate::failure::hint_of(&code)) {
        (ErrorKind::InvalidInput, _) => {
            Some("set the region of the bucket, such as with AWS_REGION")
        }
        (ErrorKind::NotFound, _) => Some("create the bucket, or correct its name"),
        (_, hint) => hint,
    };
    Err(match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    })
}
